//! `twn demo`

use std::path::PathBuf;

use clap::Args;

use super::{Outcome, Session, model, serve::EngineArgs};
use crate::{config::Flag, demo};

/// What to demonstrate.
#[derive(Debug, Clone, Default, Args)]
pub struct DemoArgs {
    /// Take the plain text files of this folder instead of cargo's crates
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// Documents to ingest at most
    #[arg(long, default_value_t = 240, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub documents: u32,
    /// Seconds after which no more documents are ingested
    #[arg(long, default_value_t = 90)]
    pub seconds: u64,
    /// Keep the data in this folder instead of throwing it away
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Name of a model, a GGUF file, or a Hugging Face folder
    #[arg(long, value_name = "NAME or PATH")]
    pub model: Option<String>,
    /// Adapter folder; without one the adapters are fresh and untrained
    #[arg(long, value_name = "FOLDER")]
    pub adapters: Option<PathBuf>,
    /// `cpu`, or `cuda:0` in a build that has it
    #[arg(long)]
    pub device: Option<String>,
    /// Tokens that prompt, thought and queries may have together
    #[arg(long, value_name = "TOKENS")]
    pub context_tokens: Option<usize>,
}

impl DemoArgs {
    /// The settings that the flags change.
    pub fn flags(&self) -> Vec<Flag> {
        let DemoArgs { data, model, adapters, device, context_tokens, .. } = self.clone();
        EngineArgs { data, model, adapters, device, context_tokens }.flags()
    }
}

/// Runs the command.
///
/// # Errors
/// Fails with what to do when the model can't be had, there is nothing to ingest, or the
/// server fails.
pub async fn run(args: DemoArgs, session: &Session) -> anyhow::Result<Outcome> {
    let model = model::locate(session, true).await?;
    let plan = demo::Plan {
        folder: args.folder,
        documents: args.documents as usize,
        seconds: args.seconds,
        data: args.data,
        model,
    };
    demo::run(&plan, session).await?;
    Ok(Outcome::Done)
}
