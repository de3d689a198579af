//! `twn train`

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use twn_encoder::{
    Encoder,
    adapter::{Adapters, StoredType},
    keep_freed_memory, open_device,
};
use twn_train::{
    Beir,
    learn::{
        CalibrateOptions, Calibration, RecipeChange, RunEnd, TrainEvent, TrainOptions, calibrate,
        plot_run, train,
    },
};

use super::{Outcome, Session, model, train_ablate, train_data, train_lexicon};
use crate::{
    config::Flag,
    output::{Output, Progress},
};

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
    /// The run's folder holds checkpoints, log.jsonl, curves/ and, at the end, adapters/,
    /// which `twn serve --adapters` takes. Killed at any moment, the same command goes on from
    /// the last checkpoint and ends with the same adapters.
    Run(RunArgs),
    /// Fit the gate of trained adapters, and choose its threshold
    ///
    /// Every query of the test collection is embedded directly and after a thought; the
    /// gate learns on some of them which thoughts widen the positive's lead, and the
    /// others choose the threshold. Use queries that nothing was trained on.
    Gate(GateArgs),
    /// Give trained adapters a lexicon: which words weigh how much
    ///
    /// Tokens weigh by their rarity in the files' documents, and both parts of the embedding
    /// are turned onto their principal components. The gate's threshold has to be chosen anew
    /// afterwards: `twn train gate --fitted`.
    Lexicon(train_lexicon::LexiconArgs),
    /// Draw a run's log as SVG, as far as it is
    ///
    /// Writes RUN/curves, a picture for each stage: losses, learning rate, reward, length
    /// of thoughts, divergence and held-out quality. `twn train run` does so when it ends.
    Plot(PlotArgs),
    /// Train and evaluate one recipe in several variants, and print the table
    ///
    /// What is finished in the run's folder is not done again: the same command goes on.
    Ablate(train_ablate::AblateArgs),
}

/// Which run to draw.
#[derive(Debug, Clone, Args)]
pub struct PlotArgs {
    /// The run's folder
    run: PathBuf,
}

/// Which adapters' gate to fit, and to what.
#[derive(Debug, Clone, Args)]
pub struct GateArgs {
    /// A test collection in BEIR's layout
    folder: PathBuf,
    /// The adapters
    #[arg(long, value_name = "FOLDER")]
    adapters: PathBuf,
    /// Write them here, with the gate
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Tokens that adaptive thinking may take, as a share of always thinking
    #[arg(long, default_value_t = 0.5)]
    token_share: f64,
    /// A thought helps when it widens the positive's lead by more than this
    #[arg(long, default_value_t = 0.0)]
    gain: f64,
    /// After how many of the model's layers the gate reads the query states, in place of where
    /// the gate that the adapters have does
    #[arg(long, value_name = "LAYERS", conflicts_with = "fitted")]
    depth: Option<usize>,
    /// Keep the gate that the adapters have, and only choose its threshold, on all queries
    #[arg(long)]
    fitted: bool,
    /// Store the adapters in two bytes a value
    #[arg(long)]
    f16: bool,
    /// Name of a pulled model, a GGUF file, or a Hugging Face folder
    #[arg(long, value_name = "NAME or PATH")]
    model: Option<String>,
}

/// What to train, and where.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The recipe, a TOML file
    recipe: PathBuf,
    /// Change the recipe, for example `stage.embedding.steps=50` or `stage.policy.skip=true`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<RecipeChange>,
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
        let model = match self {
            Self::Data(_) | Self::Plot(_) => &None,
            Self::Ablate(arguments) => &arguments.model,
            Self::Run(arguments) => &arguments.model,
            Self::Gate(arguments) => &arguments.model,
            Self::Lexicon(arguments) => &arguments.model,
        };
        model.iter().flat_map(|name| model::flags(name)).collect()
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
        TrainCommand::Gate(arguments) => return gate(arguments, session).await,
        TrainCommand::Lexicon(arguments) => return train_lexicon::run(arguments, session).await,
        TrainCommand::Plot(arguments) => {
            let files = plot_run(&arguments.run)?;
            let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            output.either(&serde_json::json!({ "curves": names }), || names.join("\n"))?;
            return Ok(Outcome::Done);
        }
        TrainCommand::Ablate(arguments) => return train_ablate::run(arguments, session).await,
        TrainCommand::Run(arguments) => arguments,
    };
    let model = model::locate(session, arguments.pull).await?;
    let options = TrainOptions {
        recipe: arguments.recipe,
        changes: arguments.changes,
        model,
        adapters: arguments.from,
        run: arguments.run,
        seconds_max: arguments.seconds,
    };
    let folder = options.run.clone();
    keep_freed_memory();
    let device = open_device(&arguments.device)?.autodiff();
    let training = tokio::task::spawn_blocking(move || {
        let mut shown = Shown::new(output);
        train(&options, &device, &mut |event| shown.event(event))
    });
    let end = training.await.context("training panicked")??;
    let (state, words) = match end {
        RunEnd::Complete => ("complete", format!("trained: {}", folder.join("adapters").display())),
        RunEnd::Paused => ("paused", "paused; the same command goes on".to_owned()),
    };
    let curves = plot_run(&folder)?;
    let report = serde_json::json!({ "state": state, "run": folder, "curves": curves });
    output.either(&report, || words)?;
    Ok(Outcome::Done)
}

/// A training as a progress bar for each stage.
pub(super) struct Shown {
    output: Output,
    bar: Option<(String, Progress)>,
    /// The last evaluation, in words.
    held_out: String,
}

impl Shown {
    pub(super) fn new(output: Output) -> Self {
        Self { output, bar: None, held_out: String::new() }
    }

    pub(super) fn event(&mut self, event: &TrainEvent<'_>) {
        match event {
            TrainEvent::HeldOut(line) => {
                let seen = &line.held_out;
                self.held_out = format!(", held-out nDCG@10 {:.3}", seen.direct.ndcg_at_10);
                if let Some(own) = &seen.own {
                    self.held_out += &format!(" ({:.3} after thoughts)", own.scores.ndcg_at_10);
                }
            }
            TrainEvent::Step(line) => {
                if self.bar.as_ref().is_none_or(|(stage, _)| stage != line.stage) {
                    let bar = Progress::items(self.output, line.steps as u64);
                    self.bar = Some((line.stage.to_owned(), bar));
                }
                if let Some((stage, bar)) = &self.bar {
                    bar.say(format!("{stage}: loss {:.4}{}", line.loss, self.held_out));
                    bar.reach(line.step as u64);
                }
            }
        }
    }
}

/// Fits a gate.
async fn gate(arguments: GateArgs, session: &Session) -> anyhow::Result<Outcome> {
    let output = session.output;
    let model = model::locate(session, false).await?;
    let mut load = session.config().model.load_options(&model);
    load.adapters = Some(arguments.adapters.clone());
    let fitting = tokio::task::spawn_blocking(move || -> anyhow::Result<Calibration> {
        let data = Beir::read(&arguments.folder)?;
        let checkpoint = twn_encoder::model::open(&model)?;
        let device = open_device("flex")?;
        let mut adapters = Adapters::read(&arguments.adapters, &checkpoint, &device)?;
        let layers = checkpoint.config.layers;
        if let Some(depth) = arguments.depth.filter(|depth| !(1..=layers).contains(depth)) {
            bail!("--depth is {depth}, the model has 1 to {layers} layers");
        }
        load.context_tokens = load.context_tokens.min(checkpoint.config.max_positions);
        let mut encoder = Encoder::load(&load)?;
        let mut options = CalibrateOptions {
            token_share: arguments.token_share,
            gain_min: arguments.gain,
            depth: arguments.depth,
            ..CalibrateOptions::default()
        };
        if arguments.fitted {
            options.fit = None;
        }
        let seen = calibrate(&mut encoder, &mut adapters, &data, &options, &mut |_| {})?;
        let stored = if arguments.f16 { StoredType::F16 } else { StoredType::F32 };
        adapters.write(&arguments.out, stored)?;
        Ok(seen)
    });
    let seen = fitting.await.context("fitting the gate panicked")??;
    output.either(&seen, || {
        format!(
            "threshold {:.3}: thinks for {:.0} % of {} held-out queries, {:.1} tokens a query, \
             and for {:.1} % of documents",
            seen.threshold,
            100.0 * seen.think_rate,
            seen.held_out,
            seen.reasoning_tokens_per_query,
            100.0 * seen.document_think_rate
        )
    })?;
    Ok(Outcome::Done)
}
