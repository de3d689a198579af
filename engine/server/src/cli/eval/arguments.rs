//! What to evaluate, and how.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use anyhow::bail;
use clap::{Args, ValueEnum};
use twn_encoder::{ReasoningMode, model::default_home};
use twn_train::{EvalOptions, LocalOptions, ReportOptions};

use crate::{
    cli::{ModelArgs, ServerArg},
    config::Flag,
};

/// Folder of document embeddings below `TWN_HOME`.
const CACHE: &str = "eval";
const BM25: &str = "bm25";

/// What to evaluate, and how.
#[derive(Debug, Clone, Args)]
pub struct BeirArgs {
    /// The test collection
    folder: PathBuf,
    /// When queries think; several modes give several rows
    #[arg(long, value_enum, value_delimiter = ',', default_value = "never")]
    mode: Vec<EvalMode>,
    /// Systems to stand beside the encoder: `bm25`, or files that `twn eval beir --json` or
    /// bench/peers/minilm_beir.py wrote
    #[arg(long, value_name = "bm25 or FILE", value_delimiter = ',', value_parser = baseline)]
    baseline: Vec<Baseline>,
    /// Name of the encoder in the table, instead of its model's
    #[arg(long, value_name = "NAME")]
    system: Option<String>,
    /// Take only the first so many queries
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit_queries: Option<u32>,
    /// With `adaptive`: think when the gate's score is above this, from 0 to 1
    #[arg(long)]
    threshold: Option<f32>,
    /// Choose the threshold that gives the best nDCG@10 for this share of the tokens of
    /// always thinking, from 0 to 1, and print it
    #[arg(long, value_name = "SHARE", value_parser = share)]
    token_share: Option<f64>,
    /// Tokens that a thought may have at most
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    budget: Option<u32>,
    /// When documents think
    #[arg(long, value_enum, default_value = "never")]
    document_mode: EvalMode,
    /// Cut documents to so many tokens [default: what the context holds]
    #[arg(long, value_name = "TOKENS", conflicts_with = "server", value_parser = clap::value_parser!(u32).range(1..))]
    max_document_tokens: Option<u32>,
    /// Instruction of the queries, instead of the encoder's own
    #[arg(long, value_name = "TEXT")]
    query_instruction: Option<String>,
    /// Instruction of the documents, instead of the encoder's own
    #[arg(long, value_name = "TEXT")]
    document_instruction: Option<String>,
    /// Report recall at these cut-offs too
    #[arg(long, value_name = "K", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    recall_at: Vec<u32>,
    /// Queries that are embedded once more, one at a time, for their latency
    #[arg(long, value_name = "N", default_value_t = 16)]
    latency_queries: u32,
    /// Write every query's result into the rows (with --json), so that this run can be
    /// another one's --baseline
    #[arg(long)]
    per_query: bool,
    /// Draw quality against thought tokens into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Write the frontier of quality against thought tokens into this JSON file
    #[arg(long, value_name = "FILE")]
    frontier: Option<PathBuf>,
    /// Thoughts that are decoded together
    #[arg(long, value_name = "N", conflicts_with = "server", value_parser = clap::value_parser!(u32).range(1..=1024))]
    thoughts: Option<u32>,
    /// Keep document embeddings here [default: eval in TWN_HOME]
    #[arg(long, value_name = "FOLDER", conflicts_with = "no_cache")]
    cache: Option<PathBuf>,
    /// Neither use nor keep document embeddings
    #[arg(long)]
    no_cache: bool,
    /// Pull the model first if it is not there
    #[arg(long, conflicts_with = "server")]
    pull: bool,
    /// Let the server at this address embed, instead of an encoder in this process
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
}

/// When an input thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub(super) enum EvalMode {
    /// Embed directly.
    Never,
    /// The gate decides for every input.
    #[value(alias = "auto")]
    Adaptive,
    /// Think, then embed.
    Always,
}

/// A system beside the encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Baseline {
    /// Okapi BM25 with k1 0.9 and b 0.4, without stemming.
    Bm25,
    /// What another run has measured.
    File(PathBuf),
}

/// What is written beside the report.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Files {
    pub(super) plot: Option<PathBuf>,
    pub(super) frontier: Option<PathBuf>,
}

impl EvalMode {
    pub(super) fn reasoning(self) -> ReasoningMode {
        match self {
            Self::Never => ReasoningMode::Never,
            Self::Adaptive => ReasoningMode::Auto,
            Self::Always => ReasoningMode::Always,
        }
    }
}

impl BeirArgs {
    /// The settings that the flags change.
    pub(super) fn flags(&self) -> Vec<Flag> {
        let mut flags = self.model.flags();
        flags.extend(ServerArg { server: self.server.clone() }.flags());
        flags
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn baselines(&self) -> &[Baseline] {
        &self.baseline
    }

    pub(super) fn pull(&self) -> bool {
        self.pull
    }

    /// Whether a server embeds.
    pub(super) fn is_remote(&self) -> bool {
        self.server.is_some()
    }

    pub(super) fn local_options(&self) -> LocalOptions {
        let default = LocalOptions::default();
        let thoughts = self.thoughts.map_or(default.thoughts, |thoughts| thoughts as usize);
        LocalOptions { thoughts, ..default }
    }

    pub(super) fn report_options(&self) -> ReportOptions {
        ReportOptions { token_share: self.token_share, per_query: self.per_query }
    }

    pub(super) fn options(&self) -> anyhow::Result<EvalOptions> {
        if self.is_remote() && !self.model.flags().is_empty() {
            bail!("the server of `--server` has its own model: leave the model's flags out");
        }
        let cache = match (&self.cache, self.no_cache) {
            (_, true) => None,
            (Some(folder), false) => Some(folder.clone()),
            (None, false) => Some(default_home()?.join(CACHE)),
        };
        let needs_frontier =
            self.token_share.is_some() || self.plot.is_some() || self.frontier.is_some();
        Ok(EvalOptions {
            modes: self.modes(),
            judge_gate: needs_frontier,
            system: self.system.clone(),
            threshold: self.threshold,
            token_budget: self.budget,
            document_mode: self.document_mode.reasoning(),
            max_document_tokens: self.max_document_tokens.map(|tokens| tokens as usize),
            limit_queries: self.limit_queries.map(|queries| queries as usize),
            recall_at: self.recall_at.iter().map(|k| *k as usize).collect(),
            latency_queries: self.latency_queries as usize,
            query_instruction: self.query_instruction.clone(),
            document_instruction: self.document_instruction.clone(),
            cache,
        })
    }

    /// The files to write; a folder that is not there is said before anything runs.
    pub(super) fn files(&self) -> anyhow::Result<Files> {
        for path in self.plot.iter().chain(&self.frontier) {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if folder.is_some_and(|folder| !folder.is_dir()) {
                bail!("there is no folder for `{}`", path.display());
            }
        }
        Ok(Files { plot: self.plot.clone(), frontier: self.frontier.clone() })
    }

    /// The modes asked for, each once.
    fn modes(&self) -> Vec<ReasoningMode> {
        each_once(&self.mode)
    }
}

/// Modes without those that come twice.
pub(super) fn each_once(modes: &[EvalMode]) -> Vec<ReasoningMode> {
    let mut seen = HashSet::new();
    let modes = modes.iter().filter(|mode| seen.insert(**mode));
    modes.map(|mode| mode.reasoning()).collect()
}

fn baseline(text: &str) -> Result<Baseline, String> {
    match text {
        BM25 => Ok(Baseline::Bm25),
        path if Path::new(path).is_file() => Ok(Baseline::File(path.into())),
        _ => Err(format!("`{text}` is neither `{BM25}` nor a file")),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(format!("{share} is outside 0 to 1")) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: BeirArgs,
    }

    fn parse(line: &str) -> Result<BeirArgs, clap::Error> {
        let words = std::iter::once("beir").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.arguments)
    }

    #[test]
    fn options_are_read() {
        let line = "data --mode never,adaptive,always,auto --baseline bm25,Cargo.toml \
                    --limit-queries 5 --budget 32 --threshold 0.5 --max-document-tokens 256 \
                    --cache c --model m.gguf --recall-at 20,100 --thoughts 4";
        let arguments = parse(line).unwrap();
        let options = arguments.options().unwrap();
        let modes = [ReasoningMode::Never, ReasoningMode::Auto, ReasoningMode::Always];
        assert_eq!(options.modes, modes);
        assert_eq!((options.limit_queries, options.token_budget), (Some(5), Some(32)));
        assert_eq!((options.threshold, options.max_document_tokens), (Some(0.5), Some(256)));
        assert_eq!((options.cache, options.judge_gate), (Some(PathBuf::from("c")), false));
        assert_eq!((options.recall_at, arguments.local_options().thoughts), (vec![20, 100], 4));
        assert_eq!(arguments.baselines(), [Baseline::Bm25, Baseline::File("Cargo.toml".into())]);
        assert!(!arguments.flags().is_empty() && !arguments.is_remote());
        assert_eq!(parse("data --no-cache").unwrap().options().unwrap().cache, None);
    }

    #[test]
    fn a_frontier_makes_every_query_think() {
        for line in ["data --token-share 0.5", "data --plot f.svg", "data --frontier f.json"] {
            let arguments = parse(line).unwrap();
            assert!(arguments.options().unwrap().judge_gate, "{line}");
            assert!(arguments.files().is_ok(), "{line}");
        }
        let nowhere = parse("data --plot nowhere/f.svg").unwrap().files().unwrap_err();
        assert!(nowhere.to_string().contains("nowhere/f.svg"), "{nowhere}");
    }

    #[test]
    fn a_server_has_its_own_model() {
        let arguments = parse("data --server http://127.0.0.1:1").unwrap();
        assert!(arguments.is_remote() && arguments.options().is_ok());
        let both = parse("data --server http://127.0.0.1:1 --model m.gguf").unwrap();
        assert!(both.options().unwrap_err().to_string().contains("its own model"));
    }

    #[test]
    fn unusable_options_are_refused() {
        for line in [
            "",
            "data --mode sometimes",
            "data --baseline bm26",
            "data --limit-queries 0",
            "data --budget 0",
            "data --cache c --no-cache",
            "data --token-share 1.5",
            "data --recall-at 0",
            "data --thoughts 0",
            "data --server http://127.0.0.1:1 --max-document-tokens 9",
            "data --server http://127.0.0.1:1 --pull",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
