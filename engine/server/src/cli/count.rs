//! `twn count`

use clap::Args;
use serde_json::json;
use twn_protos::v1 as pb;

use super::{Outcome, ServerArg, Session, filter};
use crate::client::patiently;

/// What to count.
#[derive(Debug, Clone, Args)]
pub struct CountArgs {
    /// Where they are
    #[arg(long, short, value_name = "NAME")]
    pub collection: String,
    /// Only documents whose payload satisfies this
    #[arg(long, short, long_help = filter::HELP, value_parser = filter::parse)]
    pub filter: Vec<pb::Filter>,
    /// Whom to ask.
    #[command(flatten)]
    pub server: ServerArg,
}

/// Runs the command.
///
/// # Errors
/// Fails with the server's refusal.
pub async fn run(args: CountArgs, session: &Session) -> anyhow::Result<Outcome> {
    let filter = filter::all(&args.filter);
    let request = pb::CountRequest { collection: args.collection, filter };
    let client = session.connect().await?.search();
    let answer = patiently(async || client.clone().count(request.clone()).await).await?;
    session.output.either(&json!({"count": answer.count}), || answer.count)?;
    Ok(Outcome::Done)
}
