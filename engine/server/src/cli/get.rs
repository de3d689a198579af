//! `twn get`

use clap::Args;
use serde_json::json;
use twn_protos::v1 as pb;

use super::{Outcome, ServerArg, Session, model::lines};
use crate::{client::patiently, output};

/// Which documents to read.
#[derive(Debug, Clone, Args)]
pub struct GetArgs {
    /// The documents' ids
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// Where they are
    #[arg(long, short, value_name = "NAME")]
    pub collection: String,
    /// Return the vectors as well
    #[arg(long)]
    pub vector: bool,
    /// Return how each document was encoded
    #[arg(long)]
    pub usage: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub server: ServerArg,
}

/// Runs the command.
///
/// # Errors
/// Fails with the server's refusal.
pub async fn run(args: GetArgs, session: &Session) -> anyhow::Result<Outcome> {
    let mask = pb::DocumentMask {
        include_vector: args.vector,
        include_usage: args.usage,
        ..pb::DocumentMask::default()
    };
    let request = pb::GetRequest { collection: args.collection, ids: args.ids, mask: Some(mask) };
    let client = session.connect().await?.search();
    let answer = patiently(async || client.clone().get(request.clone()).await).await?;

    let documents: Vec<_> = answer.documents.iter().map(output::document).collect();
    let missing = &answer.missing_ids;
    let json = json!({"documents": documents, "missing_ids": missing});
    session
        .output
        .either(&json, || documents.iter().map(lines).collect::<Vec<_>>().join("\n\n"))?;
    for id in missing {
        session.output.note(format_args!("`{id}` does not exist"));
    }
    Ok(if missing.is_empty() { Outcome::Done } else { Outcome::Failed })
}
