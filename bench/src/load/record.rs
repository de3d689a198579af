//! Collects samples into histograms by route, on a thread of its own.
//!
//! Invariant: every measured request is counted in exactly one of direct, reasoned and
//! failed. A failed one is recorded with the time until it failed or was given up, which
//! for those that were given up is a lower bound of what a user would have waited.

use std::{
    collections::BTreeMap,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use anyhow::{Context, anyhow};
use hdrhistogram::{
    Histogram,
    serialization::{
        V2DeflateSerializer,
        interval_log::{IntervalLogWriter, IntervalLogWriterBuilder, Tag},
    },
};
use tokio::sync::mpsc;

use super::client::Outcome;

/// Histograms reach from 1 ns to this, with three significant digits.
const MAX_NANOSECONDS: u64 = 48 * 3_600 * 1_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;
/// A request sent later than this after it was due counts as late.
const LATE_AFTER: Duration = Duration::from_millis(10);
const INTERVAL: Duration = Duration::from_secs(1);
const QUEUE: usize = 65_536;

/// One request. Moments count from the start of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// When it was due; in a closed loop, when it was sent.
    pub(crate) due: Duration,
    pub(crate) sent: Duration,
    pub(crate) finished: Duration,
    pub(crate) outcome: Outcome,
}

/// Latencies of one route, in nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Split {
    /// From the due moment to the answer.
    pub(crate) latency: Histogram<u64>,
    /// From sending to the answer.
    pub(crate) service: Histogram<u64>,
    pub(crate) reasoning_tokens: u64,
}

/// Everything measured, without the warm-up.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub(crate) direct: Split,
    pub(crate) reasoned: Split,
    pub(crate) failed: Split,
    /// Failed requests by code.
    pub(crate) errors: BTreeMap<&'static str, u64>,
    pub(crate) unfinished: u64,
    pub(crate) dropped: u64,
    /// Requests sent more than 10 ms after they were due.
    pub(crate) late: u64,
    /// The longest time between due and sent.
    pub(crate) max_lag: Duration,
    /// When the last answer came.
    pub(crate) last_finished: Duration,
}

impl Split {
    pub(crate) fn new() -> Self {
        Self { latency: histogram(), service: histogram(), reasoning_tokens: 0 }
    }

    fn record(&mut self, sample: &Sample) {
        let since = |start: Duration| nanoseconds(sample.finished.saturating_sub(start));
        self.latency.saturating_record(since(sample.due));
        self.service.saturating_record(since(sample.sent));
        if let Outcome::Reasoned { tokens } = sample.outcome {
            self.reasoning_tokens += u64::from(tokens);
        }
    }

    /// Both routes together.
    pub(crate) fn merged(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        // Equal bounds on both sides: adding cannot fail.
        sum.latency += &other.latency;
        sum.service += &other.service;
        sum.reasoning_tokens += other.reasoning_tokens;
        sum
    }
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            direct: Split::new(),
            reasoned: Split::new(),
            failed: Split::new(),
            errors: BTreeMap::new(),
            unfinished: 0,
            dropped: 0,
            late: 0,
            max_lag: Duration::ZERO,
            last_finished: Duration::ZERO,
        }
    }

    /// Counts a sample once.
    pub(crate) fn record(&mut self, sample: &Sample) {
        let lag = sample.sent.saturating_sub(sample.due);
        self.max_lag = self.max_lag.max(lag);
        if sample.outcome != Outcome::Dropped {
            self.late += u64::from(lag > LATE_AFTER);
        }
        self.last_finished = self.last_finished.max(sample.finished);
        match sample.outcome {
            Outcome::Direct => self.direct.record(sample),
            Outcome::Reasoned { .. } => self.reasoned.record(sample),
            Outcome::Failed { code } => {
                *self.errors.entry(code).or_default() += 1;
                self.failed.record(sample);
            }
            Outcome::Unfinished => {
                self.unfinished += 1;
                self.failed.record(sample);
            }
            Outcome::Dropped => {
                self.dropped += 1;
                self.failed.record(sample);
            }
        }
    }
}

/// The thread that counts.
pub(crate) struct Recorder {
    samples: mpsc::Sender<Sample>,
    thread: JoinHandle<anyhow::Result<Tally>>,
}

impl Recorder {
    /// Starts counting samples that are due after `warmup`, with an interval log at `log`.
    pub(crate) fn start(log: Option<&Path>, warmup: Duration) -> anyhow::Result<Self> {
        let (samples, inbox) = mpsc::channel(QUEUE);
        let log: Option<(PathBuf, fs_err::File)> = match log {
            Some(path) => Some((path.to_owned(), fs_err::File::create(path)?)),
            None => None,
        };
        let thread = std::thread::Builder::new().name("recorder".into()).spawn(move || {
            let count = |log: Option<&mut Log<'_, '_, _>>| count(inbox, warmup, log);
            match log {
                None => count(None),
                Some((path, file)) => {
                    write_log(file, count).with_context(|| format!("writing {}", path.display()))
                }
            }
        })?;
        Ok(Self { samples, thread })
    }

    /// Where samples are sent.
    pub(crate) fn sender(&self) -> mpsc::Sender<Sample> {
        self.samples.clone()
    }

    /// Waits for the last sample; every other sender must have been dropped.
    pub(crate) async fn finish(self) -> anyhow::Result<Tally> {
        drop(self.samples);
        let thread = self.thread;
        let joined = tokio::task::spawn_blocking(move || thread.join()).await?;
        joined.map_err(|_| anyhow!("the recorder thread panicked"))?
    }
}

/// Counts until every sender is gone.
fn count<W: Write>(
    mut inbox: mpsc::Receiver<Sample>,
    warmup: Duration,
    mut log: Option<&mut Log<'_, '_, W>>,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::new();
    while let Some(sample) = inbox.blocking_recv() {
        if sample.due < warmup {
            continue;
        }
        tally.record(&sample);
        if let Some(log) = &mut log {
            log.record(&sample)?;
        }
    }
    if let Some(log) = log {
        log.flush()?;
    }
    Ok(tally)
}

/// Opens the log's writer around `work`, which the writer's borrows ask for.
fn write_log(
    file: fs_err::File,
    work: impl FnOnce(Option<&mut Log<'_, '_, BufWriter<fs_err::File>>>) -> anyhow::Result<Tally>,
) -> anyhow::Result<Tally> {
    let mut output = BufWriter::new(file);
    let mut serializer = V2DeflateSerializer::new();
    let now = SystemTime::now();
    let writer = IntervalLogWriterBuilder::new()
        .add_comment(concat!("twn-bench load ", env!("CARGO_PKG_VERSION"), ", latency in ns"))
        .with_start_time(now)
        .with_base_time(now)
        // The maximum column is for people: milliseconds, as other writers do.
        .with_max_value_divisor(1e6)
        .begin_log_with(&mut output, &mut serializer)?;
    let mut log = Log { writer, start: Duration::ZERO, interval: Tally::new() };
    let tally = work(Some(&mut log))?;
    drop(log);
    output.flush()?;
    Ok(tally)
}

/// The interval log under way.
struct Log<'a, 'b, W: Write> {
    writer: IntervalLogWriter<'a, 'b, W, V2DeflateSerializer>,
    /// Of the interval under way.
    start: Duration,
    interval: Tally,
}

impl<W: Write> Log<'_, '_, W> {
    fn record(&mut self, sample: &Sample) -> anyhow::Result<()> {
        // Samples come in the order in which they finish, but for some microseconds.
        if sample.finished >= self.start + INTERVAL {
            self.flush()?;
            let whole = sample.finished.as_secs() / INTERVAL.as_secs() * INTERVAL.as_secs();
            self.start = Duration::from_secs(whole);
        }
        self.interval.record(sample);
        Ok(())
    }

    /// Writes the interval, unless nothing happened in it.
    fn flush(&mut self) -> anyhow::Result<()> {
        let interval = std::mem::replace(&mut self.interval, Tally::new());
        let all = interval.direct.merged(&interval.reasoned);
        for (tag, split) in [
            (None, &all),
            (Some("direct"), &interval.direct),
            (Some("reasoned"), &interval.reasoned),
            (Some("failed"), &interval.failed),
        ] {
            if split.latency.is_empty() {
                continue;
            }
            self.writer
                .write_histogram(&split.latency, self.start, INTERVAL, tag.and_then(Tag::new))
                .map_err(|error| anyhow!("interval log: {error}"))?;
        }
        Ok(())
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_NANOSECONDS, SIGNIFICANT_DIGITS)
        .expect("the bounds are constants that the histogram takes")
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(1)
}
