//! The figures of a load run.
//!
//! As JSON: `{setup, result: {…, routes: {all, direct, reasoned, failed}}, environment}`,
//! the fields being those of the structs below. `all` is direct and reasoned together,
//! never the failed: pooling those in would make a fast refusal look like a fast search.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;
use twn_protos::v1;

use super::{
    drive::Driven,
    options::{Loop, Options},
    record::{Split, Tally},
    schedule::Arrivals,
};
use crate::environment::Environment;

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) setup: Setup,
    pub(crate) result: Outcomes,
    pub(crate) environment: Environment,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Setup {
    /// `open` or `closed`.
    #[serde(rename = "loop")]
    pub(crate) kind: &'static str,
    /// From when latency counts: `due` (open loop) or `sent` (closed loop).
    pub(crate) latency_from: &'static str,
    /// `poisson` or `fixed`; absent in a closed loop.
    pub(crate) arrivals: Option<&'static str>,
    /// Absent in a closed loop.
    pub(crate) rate_per_s: Option<f64>,
    /// Absent but for Poisson arrivals.
    pub(crate) seed: Option<u64>,
    /// Absent in a closed loop.
    pub(crate) max_in_flight: Option<usize>,
    /// Absent in an open loop.
    pub(crate) concurrency: Option<usize>,
    pub(crate) connections: usize,
    pub(crate) warmup_s: f64,
    pub(crate) duration_s: f64,
    pub(crate) drain_s: f64,
    pub(crate) deadline_ms: f64,
    pub(crate) collection: String,
    /// `auto`, `never` or `always`.
    pub(crate) mode: &'static str,
    /// Absent where the server's own is used, as for the two after it.
    pub(crate) threshold: Option<f32>,
    pub(crate) token_budget: Option<u32>,
    pub(crate) ef_search: Option<u32>,
    pub(crate) limit: u32,
    pub(crate) exact: bool,
    pub(crate) query_file: String,
    /// Distinct lines of the file; they are asked in turn, again and again.
    pub(crate) queries: usize,
}

/// What came of it. All counts leave out the warm-up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Outcomes {
    /// From the end of the warm-up to the end of the load or the last answer.
    pub(crate) measured_s: f64,
    /// Requests that were due: answered, failed, unfinished and dropped ones.
    pub(crate) requests: u64,
    pub(crate) answered: u64,
    /// Answered with an error.
    pub(crate) failed: u64,
    /// Sent, but without an answer when the run ended.
    pub(crate) unfinished: u64,
    /// Never sent: too many were in flight until the run ended.
    pub(crate) dropped: u64,
    /// Sent more than 10 ms after they were due. Their latency counts the wait.
    pub(crate) late: u64,
    pub(crate) max_lag_ms: f64,
    /// Share of the requests that were not answered.
    pub(crate) error_rate: f64,
    /// Failed requests by gRPC code.
    pub(crate) errors: BTreeMap<&'static str, u64>,
    /// Share of the answers that came after a thought; absent without answers.
    pub(crate) think_rate: Option<f64>,
    /// Ended by Ctrl-C before its time.
    pub(crate) interrupted: bool,
    pub(crate) routes: Routes,
}

/// The same figures for each way a request can go.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Routes {
    /// Direct and reasoned together.
    pub(crate) all: Figures,
    pub(crate) direct: Figures,
    pub(crate) reasoned: Figures,
    /// Failed, unfinished and dropped; the times of the last two are lower bounds.
    pub(crate) failed: Figures,
}

/// The figures of one route.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) samples: u64,
    pub(crate) throughput_per_s: f64,
    /// From when the request was due (closed loop: sent); absent without samples.
    pub(crate) latency_ms: Option<Percentiles>,
    /// From when it was sent; equal to the latency in a closed loop.
    pub(crate) service_ms: Option<Percentiles>,
    pub(crate) reasoning_tokens: u64,
    /// Absent without samples.
    pub(crate) reasoning_tokens_per_query: Option<f64>,
}

/// A distribution in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) max: f64,
    pub(crate) mean: f64,
}

impl Setup {
    /// Describes a run of `queries` distinct queries.
    pub(crate) fn new(options: &Options, queries: usize) -> Self {
        let (arrivals, rate_per_s, seed, max_in_flight, concurrency) = match &options.kind {
            Loop::Open { arrivals: Arrivals::Fixed { rate }, max_in_flight } => {
                (Some("fixed"), Some(*rate), None, Some(*max_in_flight), None)
            }
            Loop::Open { arrivals: Arrivals::Poisson { rate, seed }, max_in_flight } => {
                (Some("poisson"), Some(*rate), Some(*seed), Some(*max_in_flight), None)
            }
            Loop::Closed { concurrency } => (None, None, None, None, Some(*concurrency)),
        };
        let is_open = arrivals.is_some();
        let template = &options.template;
        let policy = template.reasoning.unwrap_or_default();
        Self {
            kind: if is_open { "open" } else { "closed" },
            latency_from: if is_open { "due" } else { "sent" },
            arrivals,
            rate_per_s,
            seed,
            max_in_flight,
            concurrency,
            connections: options.connections,
            warmup_s: options.warmup.as_secs_f64(),
            duration_s: options.duration.as_secs_f64(),
            drain_s: options.drain.as_secs_f64(),
            deadline_ms: milliseconds(options.deadline),
            collection: template.collection.clone(),
            mode: match policy.mode() {
                v1::ReasoningMode::Never => "never",
                v1::ReasoningMode::Always => "always",
                v1::ReasoningMode::Auto | v1::ReasoningMode::Unspecified => "auto",
            },
            threshold: policy.threshold,
            token_budget: policy.token_budget,
            ef_search: (template.ef_search > 0).then_some(template.ef_search),
            limit: template.limit,
            exact: template.exact,
            query_file: options.queries.display().to_string(),
            queries,
        }
    }
}

impl Report {
    /// Sums up a run.
    pub(crate) fn new(
        setup: Setup,
        driven: &Driven,
        tally: &Tally,
        environment: Environment,
    ) -> Self {
        let warmup = Duration::try_from_secs_f64(setup.warmup_s).unwrap_or_default();
        let end = driven.load_end.max(tally.last_finished);
        let measured = end.saturating_sub(warmup);
        let all = tally.direct.merged(&tally.reasoned);
        let answered = all.latency.len();
        let requests = answered + tally.failed.latency.len();
        let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let result = Outcomes {
            measured_s: measured.as_secs_f64(),
            requests,
            answered,
            failed: tally.errors.values().sum(),
            unfinished: tally.unfinished,
            dropped: tally.dropped,
            late: tally.late,
            max_lag_ms: milliseconds(tally.max_lag),
            error_rate: share(requests - answered, requests).unwrap_or(0.0),
            errors: tally.errors.clone(),
            think_rate: share(tally.reasoned.latency.len(), answered),
            interrupted: driven.interrupted,
            routes: Routes {
                all: Figures::new(&all, measured),
                direct: Figures::new(&tally.direct, measured),
                reasoned: Figures::new(&tally.reasoned, measured),
                failed: Figures::new(&tally.failed, measured),
            },
        };
        Self { setup, result, environment }
    }
}

impl Figures {
    fn new(split: &Split, measured: Duration) -> Self {
        let samples = split.latency.len();
        let seconds = measured.as_secs_f64();
        Self {
            samples,
            throughput_per_s: if seconds > 0.0 { samples as f64 / seconds } else { 0.0 },
            latency_ms: Percentiles::of(&split.latency),
            service_ms: Percentiles::of(&split.service),
            reasoning_tokens: split.reasoning_tokens,
            reasoning_tokens_per_query: (samples > 0)
                .then(|| split.reasoning_tokens as f64 / samples as f64),
        }
    }
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e6;
        (!histogram.is_empty()).then(|| Self {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p99_9: at(0.999),
            max: histogram.max() as f64 / 1e6,
            mean: histogram.mean() / 1e6,
        })
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
