//! `twn eval`

mod arguments;
mod mmeb;
mod mmeb_show;
mod remote;
mod show;

use std::path::Path;

use anyhow::Context;
use clap::Subcommand;
use twn_encoder::Encoder;
use twn_train::{
    Beir, EncoderEvaluation, EvalOptions, LocalSource, Report, Source, Stage, evaluate,
    evaluate_bm25, frontier_svg, read_baseline,
};

pub use arguments::BeirArgs;
pub use mmeb::MmebArgs;

use self::{
    arguments::{Baseline, Files},
    remote::RemoteSource,
};
use super::{Outcome, Session, model};
use crate::{
    config::Flag,
    output::{Output, Progress},
};

/// Measure how well an encoder retrieves
#[derive(Debug, Clone, Subcommand)]
pub enum EvalCommand {
    /// Rank a test collection in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/test.tsv
    ///
    /// Every document is compared with every query, without an index. Modes share one run:
    /// the corpus is embedded once, and each query once directly and once after a thought.
    /// Document embeddings are kept below TWN_HOME, so that a run that was broken off goes
    /// on where it stopped.
    Beir(Box<BeirArgs>),
    /// Run tasks of MMEB-V2: images, videos and document pages
    ///
    /// Scores hit@1 for images and videos and linear NDCG@5 for documents, as the public
    /// harness does, with tokens and time beside. Modes share one run. The result of each
    /// finished task is kept below TWN_HOME, so that a run that was broken off goes on where
    /// it stopped. docs/mmeb.md has the layouts.
    Mmeb(Box<MmebArgs>),
}

impl EvalCommand {
    /// The settings that the flags change.
    pub fn flags(&self) -> Vec<Flag> {
        match self {
            Self::Beir(arguments) => arguments.flags(),
            Self::Mmeb(arguments) => arguments.flags(),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Fails when the data can't be read, the model is missing or the encoder fails.
pub async fn run(command: EvalCommand, session: &Session) -> anyhow::Result<Outcome> {
    let arguments = match command {
        EvalCommand::Beir(arguments) => arguments,
        EvalCommand::Mmeb(arguments) => return mmeb::run(*arguments, session).await,
    };
    let output = session.output;
    let options = arguments.options()?;
    let files = arguments.files()?;
    // Data that can't be read is said before a model is loaded or pulled.
    let (data, baselines) = read(&arguments, &options).await?;

    let evaluating = if arguments.is_remote() {
        let client = session.connect().await?;
        let mut source = RemoteSource::new(client, tokio::runtime::Handle::current()).await?;
        tokio::task::spawn_blocking(move || {
            let done = measure(output, &mut source, &data, &options);
            (done, data)
        })
    } else {
        let model = model::locate(session, arguments.pull()).await?;
        let load = session.config().model.load_options(&model);
        let local = arguments.local_options();
        tokio::task::spawn_blocking(move || {
            let done =
                Encoder::load(&load).context("cannot load the encoder").and_then(|mut encoder| {
                    let mut source = LocalSource::new(&mut encoder, local)?;
                    measure(output, &mut source, &data, &options)
                });
            (done, data)
        })
    };
    let (done, data) = evaluating.await.context("evaluating panicked")?;
    let report = Report::new(&data, baselines, done?, arguments.report_options())?;
    output.either(&report, || show::written(&report))?;
    write_files(&files, &report)?;
    Ok(Outcome::Done)
}

/// Reads the data, and the baselines that stand beside the encoder.
async fn read(
    arguments: &BeirArgs,
    options: &EvalOptions,
) -> anyhow::Result<(Beir, Vec<twn_train::Evaluation>)> {
    let (folder, wanted) = (arguments.folder().to_owned(), arguments.baselines().to_vec());
    let options = options.clone();
    let reading = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        let data = Beir::read(&folder)?;
        let mut baselines = Vec::new();
        for baseline in wanted {
            match baseline {
                Baseline::Bm25 => baselines.push(evaluate_bm25(&data, &options)),
                Baseline::File(path) => baselines.extend(read_baseline(&path, &data, &options)?),
            }
        }
        Ok((data, baselines))
    });
    reading.await.context("reading the test collection panicked")?
}

/// Evaluates an encoder under a progress bar.
fn measure(
    output: Output,
    source: &mut dyn Source,
    data: &Beir,
    options: &EvalOptions,
) -> anyhow::Result<EncoderEvaluation> {
    let mut shown: Option<(Stage, Progress)> = None;
    let mut show = |progress: twn_train::Progress| {
        if shown.as_ref().is_none_or(|(stage, _)| *stage != progress.stage) {
            let bar = Progress::items(output, progress.total as u64);
            bar.say(match progress.stage {
                Stage::Documents => "documents",
                Stage::Queries => "queries",
                Stage::Latency => "latency",
            });
            shown = Some((progress.stage, bar));
        }
        if let Some((_, bar)) = &shown {
            bar.reach(progress.done as u64);
        }
    };
    Ok(evaluate(source, data, options, &mut show)?)
}

/// Writes what was asked for beside the report.
fn write_files(files: &Files, report: &Report) -> anyhow::Result<()> {
    if let Some(path) = &files.plot {
        write(path, frontier_svg(report)?)?;
    }
    if let Some(path) = &files.frontier {
        write(path, serde_json::to_string_pretty(&report.frontier)?)?;
    }
    Ok(())
}

fn write(path: &Path, text: String) -> anyhow::Result<()> {
    fs_err::write(path, text).context("the evaluation is done, but")
}
