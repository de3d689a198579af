//! The command line of `twn-bench encoder`, and what it means once checked.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use clap::Args;
use glob::Pattern;

use twn_encoder::Isa;

use super::{drive::Rounds, own::Effort, texts};
use crate::load::queries;

/// Threads at most; nobody here computes with more.
const MAX_THREADS: usize = 256;
const MAX_REPEAT: usize = 1_000;
/// Texts whose embeddings are compared.
const MAX_TEXTS: usize = 500;
const REST: Duration = Duration::from_millis(100);

/// Times the encoder beside llama.cpp and PyTorch, in turn, and compares the medians.
///
/// The peers are set up once with bench/peers/setup.sh. Close what else uses the machine:
/// the report says how much of it others had, but cannot undo it.
#[derive(Args)]
pub(crate) struct EncoderArguments {
    /// Prints JSON: {rows, environment}.
    #[arg(long)]
    pub(crate) json: bool,
    /// Fewer runs and texts: shows that everything works; the figures are coarse.
    #[arg(long)]
    quick: bool,
    /// Timed runs of each workload by each contestant [default: 5, quick: 2].
    #[arg(long, value_name = "N")]
    repeat: Option<usize>,
    /// Threads of each contestant.
    #[arg(long, value_name = "N", default_value_t = 2)]
    threads: usize,
    /// Keeps to these vector instructions where the processor has more. avx2: everybody, with
    /// --peers set up by INSTRUCTIONS=avx2 bench/peers/setup.sh. portable: us alone.
    #[arg(long, value_name = "NAME")]
    instructions: Option<String>,
    /// Our model [default: the default model in the home folder].
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Where setup.sh put the peers.
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    peers: PathBuf,
    /// Only the rows whose names match, for example 'prefill*q4_0'.
    #[arg(long, value_name = "ROW-GLOB")]
    only: Option<String>,
    /// Waits this long in all for quiet moments, and repeats runs that others disturbed.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    patience: u32,
    /// Texts to embed, one a line or JSONL with a `text` field; the first 500 are taken
    /// [default: this repository's documentation, paragraph by paragraph].
    #[arg(long, value_name = "FILE")]
    texts: Option<PathBuf>,
}

/// The command line, checked.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) threads: usize,
    pub(crate) isa: Option<Isa>,
    pub(crate) model: Option<PathBuf>,
    pub(crate) peers: PathBuf,
    pub(crate) rounds: Rounds,
    pub(crate) effort: Effort,
    only: Option<Pattern>,
}

impl Options {
    /// Checks the arguments and reads the texts.
    pub(crate) fn new(arguments: &EncoderArguments) -> anyhow::Result<Self> {
        let repeat = arguments.repeat.unwrap_or(if arguments.quick { 2 } else { 5 });
        let threads = arguments.threads;
        ensure!((1..=MAX_REPEAT).contains(&repeat), "--repeat {repeat} is not 1 to {MAX_REPEAT}");
        ensure!(
            (1..=MAX_THREADS).contains(&threads),
            "--threads {threads} is not 1 to {MAX_THREADS}"
        );
        let find = |name: &String| {
            Isa::find(name).with_context(|| format!("--instructions {name} is not to be had here"))
        };
        let isa = arguments.instructions.as_ref().map(find).transpose()?;
        let only = arguments.only.as_deref();
        let only = only.map(Pattern::new).transpose().context("--only is not a pattern")?;
        let mut texts = match &arguments.texts {
            Some(path) => queries::read(path).context("--texts")?,
            None => texts::of_this_repository(),
        };
        texts.truncate(if arguments.quick { MAX_TEXTS / 10 } else { MAX_TEXTS });
        Ok(Self {
            quick: arguments.quick,
            threads,
            isa,
            model: arguments.model.clone(),
            peers: arguments.peers.clone(),
            rounds: Rounds {
                repeat,
                rest: REST,
                patience: Duration::from_secs(arguments.patience.into()),
            },
            effort: Effort {
                repeat,
                direct_requests: if arguments.quick { 20 } else { 100 },
                texts,
            },
            only,
        })
    }

    /// Whether a row is asked for.
    pub(crate) fn wants(&self, what: &str) -> bool {
        self.only.as_ref().is_none_or(|pattern| pattern.matches(what))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: EncoderArguments,
    }

    fn options(line: &[&str]) -> anyhow::Result<Options> {
        let words = ["twn-bench"].iter().chain(line);
        Options::new(&Line::try_parse_from(words)?.arguments)
    }

    #[test]
    fn defaults_are_five_runs_on_two_threads() {
        let plain = options(&[]).unwrap();
        assert_eq!((plain.rounds.repeat, plain.effort.repeat, plain.threads), (5, 5, 2));
        assert_eq!(options(&["--quick"]).unwrap().rounds.repeat, 2);
        assert_eq!(options(&["--quick", "--repeat", "9"]).unwrap().rounds.repeat, 9);
    }

    #[test]
    fn rows_are_chosen_by_name() {
        let what = "prefill 1x128: ours 4-bit vs llama.cpp q4_0";
        for pattern in ["*", "prefill*", "*q4_0", "*1x128*llama*", what] {
            assert!(options(&["--only", pattern]).unwrap().wants(what), "{pattern}");
        }
        for pattern in ["decode*", "prefill", "*q8_0"] {
            assert!(!options(&["--only", pattern]).unwrap().wants(what), "{pattern}");
        }
        assert!(options(&[]).unwrap().wants(what));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for line in [
            ["--repeat", "0"],
            ["--threads", "0"],
            ["--only", "***"],
            ["--texts", "/no"],
            ["--instructions", "mmx"],
        ] {
            assert!(options(&line).is_err(), "{line:?}");
        }
    }
}
