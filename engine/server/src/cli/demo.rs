//! `twn demo`

use std::path::PathBuf;

use clap::Args;

use super::{ModelArgs, Outcome, Session, model, serve::EngineArgs};
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
    /// Which model runs, and how.
    #[command(flatten)]
    pub model: ModelArgs,
}

impl DemoArgs {
    /// The settings that the flags change.
    pub fn flags(&self) -> Vec<Flag> {
        EngineArgs { data: self.data.clone(), model: self.model.clone() }.flags()
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
