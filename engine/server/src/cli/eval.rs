//! `twn eval`

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use twn_encoder::{Encoder, ReasoningMode, model::default_home};
use twn_train::{
    Beir, DataSummary, EvalOptions, Evaluation, Report, Row, Stage, evaluate, evaluate_bm25,
};

use super::{ModelArgs, Outcome, Session, model};
use crate::{
    config::Flag,
    output::{Output, Progress, figures, table},
};

/// Folder of document embeddings below `TWN_HOME`.
const CACHE: &str = "eval";

/// Measure how well an encoder retrieves
#[derive(Debug, Clone, Subcommand)]
pub enum EvalCommand {
    /// Rank a test collection in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/test.tsv
    ///
    /// Every document is compared with every query, without an index. Document embeddings
    /// are kept below TWN_HOME, so that another mode costs its queries only and a run that
    /// was broken off goes on where it stopped.
    Beir(BeirArgs),
}

/// What to evaluate, and how.
#[derive(Debug, Clone, Args)]
pub struct BeirArgs {
    /// The test collection
    folder: PathBuf,
    /// When queries think; several modes give several rows
    #[arg(long, value_enum, value_delimiter = ',', default_value = "never")]
    mode: Vec<EvalMode>,
    /// A system without an encoder to stand beside them
    #[arg(long, value_enum)]
    baseline: Option<Baseline>,
    /// Take only the first so many queries
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit_queries: Option<u32>,
    /// With `adaptive`: think when the gate's score is above this, from 0 to 1
    #[arg(long)]
    threshold: Option<f32>,
    /// Tokens that a thought may have at most
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    budget: Option<u32>,
    /// When documents think
    #[arg(long, value_enum, default_value = "never")]
    document_mode: EvalMode,
    /// Cut documents to so many tokens [default: what the context holds]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    max_document_tokens: Option<u32>,
    /// Instruction of the queries, instead of the encoder's own
    #[arg(long, value_name = "TEXT")]
    query_instruction: Option<String>,
    /// Instruction of the documents, instead of the encoder's own
    #[arg(long, value_name = "TEXT")]
    document_instruction: Option<String>,
    /// Keep document embeddings here [default: eval in TWN_HOME]
    #[arg(long, value_name = "FOLDER", conflicts_with = "no_cache")]
    cache: Option<PathBuf>,
    /// Neither use nor keep document embeddings
    #[arg(long)]
    no_cache: bool,
    /// Pull the model first if it is not there
    #[arg(long)]
    pull: bool,
    #[command(flatten)]
    model: ModelArgs,
}

/// When an input thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
enum EvalMode {
    /// Embed directly.
    Never,
    /// The gate decides for every input.
    #[value(alias = "auto")]
    Adaptive,
    /// Think, then embed.
    Always,
}

/// A system without an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Baseline {
    /// Okapi BM25 with k1 0.9 and b 0.4, without stemming.
    Bm25,
}

impl EvalMode {
    fn reasoning(self) -> ReasoningMode {
        match self {
            Self::Never => ReasoningMode::Never,
            Self::Adaptive => ReasoningMode::Auto,
            Self::Always => ReasoningMode::Always,
        }
    }
}

impl EvalCommand {
    /// The settings that the flags change.
    pub fn flags(&self) -> Vec<Flag> {
        let Self::Beir(arguments) = self;
        arguments.model.flags()
    }
}

impl BeirArgs {
    fn options(&self) -> anyhow::Result<EvalOptions> {
        let cache = match (&self.cache, self.no_cache) {
            (_, true) => None,
            (Some(folder), false) => Some(folder.clone()),
            (None, false) => Some(default_home()?.join(CACHE)),
        };
        Ok(EvalOptions {
            threshold: self.threshold,
            token_budget: self.budget,
            document_mode: self.document_mode.reasoning(),
            max_document_tokens: self.max_document_tokens.map(|tokens| tokens as usize),
            limit_queries: self.limit_queries.map(|queries| queries as usize),
            query_instruction: self.query_instruction.clone(),
            document_instruction: self.document_instruction.clone(),
            cache,
            ..EvalOptions::default()
        })
    }

    /// The modes asked for, each once.
    fn modes(&self) -> Vec<ReasoningMode> {
        let mut seen = HashSet::new();
        let modes = self.mode.iter().filter(|mode| seen.insert(**mode));
        modes.map(|mode| mode.reasoning()).collect()
    }
}

/// Runs the command.
///
/// # Errors
/// Fails when the data can't be read, the model is missing or the encoder fails.
pub async fn run(command: EvalCommand, session: &Session) -> anyhow::Result<Outcome> {
    let EvalCommand::Beir(arguments) = command;
    let output = session.output;
    let options = arguments.options()?;
    // Data that can't be read is said before a model is loaded or pulled.
    let data = read(&arguments.folder).await?;
    let model = model::locate(session, arguments.pull).await?;
    let load = session.config().model.load_options(&model);

    let report = tokio::task::spawn_blocking(move || -> anyhow::Result<Report> {
        let mut evaluations = Vec::new();
        if arguments.baseline == Some(Baseline::Bm25) {
            evaluations.push(evaluate_bm25(&data, &options));
        }
        let mut encoder = Encoder::load(&load).context("cannot load the encoder")?;
        for mode in arguments.modes() {
            evaluations.push(evaluate_mode(output, &mut encoder, &data, mode, &options)?);
        }
        let summary = DataSummary::new(&data, options.queries(&data));
        Ok(Report::new(summary, evaluations)?)
    });
    let report = report.await.context("evaluating panicked")??;
    output.either(&report, || written(&report))?;
    Ok(Outcome::Done)
}

async fn read(folder: &Path) -> anyhow::Result<Beir> {
    let folder = folder.to_owned();
    let reading = tokio::task::spawn_blocking(move || Beir::read(&folder));
    Ok(reading.await.context("reading the test collection panicked")??)
}

fn evaluate_mode(
    output: Output,
    encoder: &mut Encoder,
    data: &Beir,
    mode: ReasoningMode,
    options: &EvalOptions,
) -> anyhow::Result<Evaluation> {
    let mut shown: Option<(Stage, Progress)> = None;
    let mut show = |progress: twn_train::Progress| {
        if shown.as_ref().is_none_or(|(stage, _)| *stage != progress.stage) {
            let bar = Progress::items(output, progress.total as u64);
            let what = match progress.stage {
                Stage::Documents => "documents",
                Stage::Queries => "queries",
            };
            bar.say(format!("{}: {what}", twn_train::mode_name(mode)));
            shown = Some((progress.stage, bar));
        }
        if let Some((_, bar)) = &shown {
            bar.reach(progress.done as u64);
        }
    };
    Ok(evaluate(encoder, data, mode, options, &mut show)?)
}

/// Writes the report for people.
fn written(report: &Report) -> String {
    let data = &report.data;
    let heading = format!(
        "{}: {} documents, {} queries",
        data.name,
        figures(data.documents as u64),
        figures(data.queries as u64)
    );
    let header = [
        "system",
        "mode",
        "nDCG@10",
        "recall@10",
        "MRR@10",
        "hit@1",
        "think rate",
        "tokens/query",
        "seconds",
    ];
    let rows = report.rows.iter().map(row).collect();
    let mut text = format!("{heading}\n{}", table(&header, &[2, 3, 4, 5, 6, 7, 8], rows));
    for one in &report.comparisons {
        let s = &one.significance;
        text += &format!(
            "\n{} - {}: nDCG@10 {:+.3} ({:+.3} to {:+.3}, p = {:.4})",
            one.a, one.b, s.difference, s.low, s.high, s.p_value
        );
    }
    if report.rows.iter().any(|row| row.trained == Some(false)) {
        text += "\nThe encoder is untrained: its adapters are freshly initialised.";
    }
    text
}

fn row(row: &Row) -> Vec<String> {
    let share = |value: f64| format!("{value:.3}");
    let optional = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.2}"));
    vec![
        row.system.clone(),
        row.mode.unwrap_or("-").to_owned(),
        share(row.scores.ndcg_at_10),
        share(row.scores.recall_at_10),
        share(row.scores.mrr_at_10),
        share(row.scores.hit_at_1),
        optional(row.think_rate),
        optional(row.reasoning_tokens_per_query),
        format!("{:.1}", row.seconds),
    ]
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: EvalCommand,
    }

    fn parse(line: &str) -> Result<BeirArgs, clap::Error> {
        let words = std::iter::once("eval").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|Line { command: EvalCommand::Beir(arguments) }| arguments)
    }

    #[test]
    fn options_are_read() {
        let line = "beir data --mode never,adaptive,always,auto --baseline bm25 --limit-queries 5 \
                    --budget 32 --threshold 0.5 --max-document-tokens 256 --cache c --model m.gguf";
        let arguments = parse(line).unwrap();
        let modes = [ReasoningMode::Never, ReasoningMode::Auto, ReasoningMode::Always];
        assert_eq!(arguments.modes(), modes);
        let options = arguments.options().unwrap();
        assert_eq!((options.limit_queries, options.token_budget), (Some(5), Some(32)));
        assert_eq!((options.threshold, options.max_document_tokens), (Some(0.5), Some(256)));
        assert_eq!(options.cache, Some(PathBuf::from("c")));
        assert!(!EvalCommand::Beir(arguments).flags().is_empty());
        assert_eq!(parse("beir data --no-cache").unwrap().options().unwrap().cache, None);
    }

    #[test]
    fn unusable_options_are_refused() {
        for line in [
            "beir",
            "beir data --mode sometimes",
            "beir data --baseline bm26",
            "beir data --limit-queries 0",
            "beir data --budget 0",
            "beir data --cache c --no-cache",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
