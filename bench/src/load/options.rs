//! The command line of `twn-bench load`, and what it means once checked.

use std::{path::PathBuf, time::Duration};

use anyhow::{bail, ensure};
use clap::{Args, ValueEnum};
use twn_protos::v1;

use super::schedule::Arrivals;

/// Requests per second.
const MAX_RATE: f64 = 1_000_000.0;
const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);
const MAX_CONNECTIONS: usize = 1_024;
const MAX_IN_FLIGHT: usize = 100_000;

/// Sends searches to a running server and reports latency, split by route.
///
/// Open loop by default: `--rate` requests a second are sent whatever the server does,
/// and latency counts from the moment a request was due. `--closed` waits for each answer
/// before asking again; its latencies leave out the waiting that a stall causes.
#[derive(Args)]
pub(crate) struct LoadArguments {
    /// Query file: one query a line, or JSONL with a `text` field (BEIR's queries.jsonl).
    pub(crate) queries: PathBuf,
    /// Collection to search.
    #[arg(long, short)]
    collection: String,
    /// The server.
    #[arg(
        long = "server",
        value_name = "URL",
        default_value = "http://127.0.0.1:50871",
        env = "TWN__CLIENT__SERVER"
    )]
    address: String,

    /// Requests per second (open loop).
    #[arg(long, default_value_t = 10.0, conflicts_with = "closed")]
    rate: f64,
    /// How requests are spread over time (open loop).
    #[arg(long, value_enum, default_value_t = Spread::Poisson, conflicts_with = "closed")]
    arrivals: Spread,
    /// Requests in flight at most (open loop); more wait, and their waiting counts.
    #[arg(long, default_value_t = 1_024, conflicts_with = "closed")]
    max_in_flight: usize,
    /// Closed loop: each client asks again when it has its answer.
    #[arg(long)]
    closed: bool,
    /// Clients of the closed loop.
    #[arg(long, default_value_t = 1, requires = "closed")]
    concurrency: usize,
    /// Connections that requests are dealt to in turn.
    #[arg(long, default_value_t = 1)]
    connections: usize,

    /// Time measured, for example 500ms, 30s, 5m.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    duration: Duration,
    /// Time before that with the same load, left out of the figures.
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    warmup: Duration,
    /// Time after that in which answers may still come.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    drain: Duration,
    /// Seed of the Poisson arrivals.
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// When the server thinks before it embeds a query.
    #[arg(long, value_enum, default_value_t = Mode::Auto)]
    mode: Mode,
    /// AUTO thinks when the gate's score is above this, in 0 to 1; by default the server's own.
    #[arg(long)]
    threshold: Option<f32>,
    /// Thought tokens at most; by default the server's own.
    #[arg(long)]
    budget: Option<u32>,
    /// Hits per search.
    #[arg(long, default_value_t = 10)]
    limit: u32,
    /// Candidate list of the graph search; by default the collection's own.
    #[arg(long, default_value_t = 0)]
    ef: u32,
    /// Compare with every document instead of walking the graph.
    #[arg(long)]
    exact: bool,
    /// Deadline of each request.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    deadline: Duration,

    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write an HdrHistogram interval log: nanoseconds, one interval a second, tags
    /// `direct`, `reasoned` and `failed`, all answers together untagged.
    #[arg(long, value_name = "PATH")]
    hdr_log: Option<PathBuf>,
}

/// How requests are spread over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Spread {
    /// Random gaps, as from many independent users.
    Poisson,
    /// Equal gaps.
    Fixed,
}

/// When the server thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// The gate decides.
    Auto,
    /// Embed directly.
    Never,
    /// Think, then embed.
    Always,
}

/// Which loop drives the load.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Loop {
    /// Requests come when they are due.
    Open {
        /// When they are due.
        arrivals: Arrivals,
        /// More wait.
        max_in_flight: usize,
    },
    /// Each client waits for its answer.
    Closed {
        /// Clients.
        concurrency: usize,
    },
}

/// A checked command line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    pub(crate) address: String,
    pub(crate) queries: PathBuf,
    pub(crate) kind: Loop,
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
    pub(crate) warmup: Duration,
    pub(crate) drain: Duration,
    pub(crate) deadline: Duration,
    pub(crate) hdr_log: Option<PathBuf>,
    /// What every request asks; only the query differs.
    pub(crate) template: v1::SearchRequest,
}

impl Options {
    /// Checks the bounds of every value.
    pub(crate) fn new(arguments: &LoadArguments) -> anyhow::Result<Self> {
        let connections = arguments.connections;
        ensure!(
            (1..=MAX_CONNECTIONS).contains(&connections),
            "--connections is {connections}, it must be 1 to {MAX_CONNECTIONS}"
        );
        for (name, value, least) in [
            ("--duration", arguments.duration, Duration::from_millis(1)),
            ("--warmup", arguments.warmup, Duration::ZERO),
            ("--drain", arguments.drain, Duration::ZERO),
            ("--deadline", arguments.deadline, Duration::from_millis(1)),
        ] {
            ensure!(
                (least..=MAX_DURATION).contains(&value),
                "{name} is {value:?}, it must be {least:?} to {MAX_DURATION:?}"
            );
        }
        let address = if arguments.address.contains("://") {
            arguments.address.clone()
        } else {
            format!("http://{}", arguments.address)
        };
        Ok(Self {
            address,
            queries: arguments.queries.clone(),
            kind: arguments.kind()?,
            connections,
            duration: arguments.duration,
            warmup: arguments.warmup,
            drain: arguments.drain,
            deadline: arguments.deadline,
            hdr_log: arguments.hdr_log.clone(),
            template: arguments.template()?,
        })
    }

    /// The time in which requests are due: warm-up and measurement.
    pub(crate) fn window(&self) -> Duration {
        self.warmup + self.duration
    }
}

impl LoadArguments {
    fn kind(&self) -> anyhow::Result<Loop> {
        let within = |name: &str, value: usize| {
            ensure!(
                (1..=MAX_IN_FLIGHT).contains(&value),
                "{name} is {value}, it must be 1 to {MAX_IN_FLIGHT}"
            );
            Ok(value)
        };
        if self.closed {
            return Ok(Loop::Closed { concurrency: within("--concurrency", self.concurrency)? });
        }
        if !(self.rate > 0.0 && self.rate <= MAX_RATE) {
            bail!("--rate is {}, it must be above 0 and at most {MAX_RATE}", self.rate);
        }
        let arrivals = match self.arrivals {
            Spread::Poisson => Arrivals::Poisson { rate: self.rate, seed: self.seed },
            Spread::Fixed => Arrivals::Fixed { rate: self.rate },
        };
        let max_in_flight = within("--max-in-flight", self.max_in_flight)?;
        Ok(Loop::Open { arrivals, max_in_flight })
    }

    fn template(&self) -> anyhow::Result<v1::SearchRequest> {
        if let Some(threshold) = self.threshold {
            ensure!(
                (0.0..=1.0).contains(&threshold),
                "--threshold is {threshold}, it must be 0 to 1"
            );
        }
        let mode = match self.mode {
            Mode::Auto => v1::ReasoningMode::Auto,
            Mode::Never => v1::ReasoningMode::Never,
            Mode::Always => v1::ReasoningMode::Always,
        };
        Ok(v1::SearchRequest {
            collection: self.collection.clone(),
            limit: self.limit,
            ef_search: self.ef,
            exact: self.exact,
            reasoning: Some(v1::ReasoningPolicy {
                mode: mode.into(),
                threshold: self.threshold,
                token_budget: self.budget,
                ..Default::default()
            }),
            ..Default::default()
        })
    }
}

/// Reads `250ms`, `30s`, `1.5m` or `2h`; a bare number is seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds_each = match unit.trim() {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        other => return Err(format!("unit {other:?} is not ms, s, m or h")),
    };
    let number: f64 =
        number.parse().map_err(|_| format!("{text:?} does not start with a number"))?;
    Duration::try_from_secs_f64(number * seconds_each).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: LoadArguments,
    }

    fn options(words: &[&str]) -> anyhow::Result<Options> {
        let base = ["load", "queries.txt", "--collection", "docs"];
        let line = Line::try_parse_from(base.iter().chain(words))?;
        Options::new(&line.arguments)
    }

    #[test]
    fn defaults_are_an_open_loop_of_poisson_arrivals() {
        let got = options(&[]).unwrap();
        let arrivals = Arrivals::Poisson { rate: 10.0, seed: 0 };
        assert_eq!(got.kind, Loop::Open { arrivals, max_in_flight: 1_024 });
        assert_eq!(got.window(), Duration::from_secs(35));
        assert_eq!(got.template.collection, "docs");
    }

    #[test]
    fn flags_reach_the_request() {
        let words = "--closed --concurrency 4 --mode always --budget 32 --threshold 0.25 \
                     --limit 3 --ef 99 --exact --server localhost:1";
        let got = options(&words.split_whitespace().collect::<Vec<_>>()).unwrap();
        assert_eq!(got.kind, Loop::Closed { concurrency: 4 });
        assert_eq!(got.address, "http://localhost:1");
        let request = got.template;
        assert_eq!((request.limit, request.ef_search, request.exact), (3, 99, true));
        let policy = request.reasoning.unwrap();
        assert_eq!(policy.mode(), v1::ReasoningMode::Always);
        assert_eq!((policy.threshold, policy.token_budget), (Some(0.25), Some(32)));
    }

    #[test]
    fn values_out_of_bounds_are_refused_with_their_value() {
        for (words, want) in [
            (&["--rate", "0"][..], "--rate is 0"),
            (&["--rate", "NaN"], "--rate is NaN"),
            (&["--threshold", "1.5"], "--threshold is 1.5"),
            (&["--connections", "0"], "--connections is 0"),
            (&["--duration", "0s"], "--duration is 0ns"),
            (&["--max-in-flight", "0"], "--max-in-flight is 0"),
            (&["--closed", "--concurrency", "0"], "--concurrency is 0"),
            (&["--closed", "--rate", "5"], "cannot be used with"),
            (&["--concurrency", "5"], "--closed"),
        ] {
            let message = options(words).unwrap_err().to_string();
            assert!(message.contains(want), "{words:?} gave {message:?}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("7"), Ok(Duration::from_secs(7)));
        for wrong in ["", "s", "1d", "-1s", "1e400s", "1.2.3s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?}");
        }
    }
}
