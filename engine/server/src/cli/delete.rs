//! `twn delete`

use clap::Args;
use serde_json::json;
use twn_protos::v1 as pb;

use super::{Outcome, ServerArg, Session};
use crate::client::patiently;

/// Ids that one request may have.
const BATCH: usize = 1_000;

/// Which documents to delete.
#[derive(Debug, Clone, Args)]
pub struct DeleteArgs {
    /// The documents' ids
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// Where they are
    #[arg(long, short, value_name = "NAME")]
    pub collection: String,
    /// Whom to ask.
    #[command(flatten)]
    pub server: ServerArg,
}

/// Runs the command.
///
/// # Errors
/// Fails with the server's refusal.
pub async fn run(args: DeleteArgs, session: &Session) -> anyhow::Result<Outcome> {
    let client = session.connect().await?.ingest();
    let mut deleted = 0;
    for ids in args.ids.chunks(BATCH) {
        let request = pb::DeleteRequest { collection: args.collection.clone(), ids: ids.to_vec() };
        let answer = patiently(async || client.clone().delete(request.clone()).await).await?;
        deleted += u64::from(answer.deleted);
    }
    let asked = args.ids.len();
    let json = json!({"asked": asked, "deleted": deleted});
    session.output.either(&json, || format!("{deleted} of {asked} existed and are deleted"))?;
    Ok(Outcome::Done)
}
