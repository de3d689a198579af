//! `twn train`

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use twn_encoder::open_device;
use twn_train::learn::{LogLine, RunEnd, TrainOptions, train};

use super::{Outcome, Session, model, train_data};
use crate::{config::Flag, output::Progress};

/// Train adapters for a backbone
#[derive(Debug, Clone, Subcommand)]
pub enum TrainCommand {
    /// Make training files and evaluation sets
    ///
    /// Resolving queries are generated; the other kinds come from files of packages that
    /// have been unpacked, and are left out where no folder is named. The same inputs and
    /// seed give the same files.
    Data(train_data::DataArgs),
    /// Train by a recipe, or go on with a run that was broken off
    ///
    /// The run's folder holds checkpoints, log.jsonl and, at the end, adapters/, which
    /// `twn serve --adapters` takes. Killed at any moment, the same command goes on from
    /// the last checkpoint and ends with the same adapters.
    Run(RunArgs),
}

/// What to train, and where.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The recipe, a TOML file
    recipe: PathBuf,
    /// Folder of checkpoints, log and result
    #[arg(long, value_name = "FOLDER")]
    run: PathBuf,
    /// Begin from these adapters instead of fresh ones
    #[arg(long, value_name = "FOLDER")]
    from: Option<PathBuf>,
    /// Name of a pulled model, a GGUF file, or a Hugging Face folder
    #[arg(long, value_name = "NAME or PATH")]
    model: Option<String>,
    /// `flex` (the CPU), or `cuda:0` in a build that has it
    #[arg(long, default_value = "flex")]
    device: String,
    /// Stop at a checkpoint after so many seconds; the same command goes on later
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Pull the model first if it is not there
    #[arg(long)]
    pull: bool,
}

impl TrainCommand {
    /// The settings that the flags change.
    pub fn flags(&self) -> Vec<Flag> {
        let Self::Run(arguments) = self else { return Vec::new() };
        arguments.model.iter().flat_map(|name| model::flags(name)).collect()
    }
}

/// Runs the command.
///
/// # Errors
/// Fails when recipe, data or model cannot be used, or the training fails.
pub async fn run(command: TrainCommand, session: &Session) -> anyhow::Result<Outcome> {
    let output = session.output;
    let arguments = match command {
        TrainCommand::Data(arguments) => {
            let making = tokio::task::spawn_blocking(move || train_data::run(arguments, output));
            return making.await.context("making data panicked")?;
        }
        TrainCommand::Run(arguments) => arguments,
    };
    let model = model::locate(session, arguments.pull).await?;
    let options = TrainOptions {
        recipe: arguments.recipe,
        model,
        adapters: arguments.from,
        run: arguments.run,
        seconds_max: arguments.seconds,
    };
    let folder = options.run.clone();
    let device = open_device(&arguments.device)?.autodiff();
    let training = tokio::task::spawn_blocking(move || {
        let mut shown: Option<(String, Progress)> = None;
        let mut show = |line: &LogLine<'_>| {
            if shown.as_ref().is_none_or(|(stage, _)| stage != line.stage) {
                let bar = Progress::items(output, line.steps as u64);
                shown = Some((line.stage.to_owned(), bar));
            }
            if let Some((stage, bar)) = &shown {
                bar.say(format!("{stage}: loss {:.4}", line.loss));
                bar.reach(line.step as u64);
            }
        };
        train(&options, &device, &mut show)
    });
    let end = training.await.context("training panicked")??;
    let (state, words) = match end {
        RunEnd::Complete => ("complete", format!("trained: {}", folder.join("adapters").display())),
        RunEnd::Paused => ("paused", "paused; the same command goes on".to_owned()),
    };
    let report = serde_json::json!({ "state": state, "run": folder });
    output.either(&report, || words)?;
    Ok(Outcome::Done)
}
