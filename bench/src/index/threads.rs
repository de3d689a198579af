//! Two threads beside one, in one snapshot.

use super::contestant::{HITS, Round, timed};
use crate::{
    floor::f32_operations_per_s,
    rows::{Row, Target, median},
};
use anyhow::Context;
use std::{sync::Barrier, thread, time::Instant};
use twn_index::{SearchOptions, Snapshot, UnitVector};

/// How long a round takes at least: long beside what the system needs to give each thread a
/// core of its own.
const ROUND_SECONDS: f64 = 1.0;

/// How many more rounds than of other rows: a spell of the host that slows one of two cores
/// lasts for some rounds, and what two threads cost each other must not be read off it.
const MORE_ROUNDS: usize = 3;

/// Measures how many more queries two threads answer than one.
///
/// By the clock, or where something else runs on the machine too by the processor time
/// that a query takes: what it takes more beside a second thread is what the two cost each
/// other, in memory bandwidth, shared cache lines and locks that spin.
pub(crate) fn measure(
    set: &str,
    snapshot: &Snapshot,
    queries: &[UnitVector],
    ef: usize,
    rounds: usize,
    by_cpu: bool,
) -> anyhow::Result<Row> {
    let options = SearchOptions { ef: Some(ef), ..SearchOptions::new(HITS) };
    let searches = Searches { snapshot, queries, options, by_cpu };
    let passes = (ROUND_SECONDS * searches.rate(1, 1)? / queries.len() as f64).ceil() as usize;
    let (mut one, mut two, mut machine) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds * MORE_ROUNDS {
        one.push(searches.rate(1, passes)?);
        two.push(searches.rate(2, passes)?);
        machine.push(f32_operations_per_s(2) / f32_operations_per_s(1));
    }
    let row = Row::compare(
        format!("{set}: two threads vs one, ef {ef}"),
        "QPS",
        &two,
        &one,
        Some(Target::at_least(1.8)),
    );
    // A virtual machine's cores may be two sides of one, or be taken away for a while.
    let ratios = one.iter().zip(&two).map(|(one, two)| format!("{:.2}", two / one));
    let ratios = ratios.collect::<Vec<_>>().join(", ");
    let machine = median(&machine).context("no round was run")?;
    let by_cpu = if by_cpu { "by processor time a query; " } else { "" };
    let note = format!(
        "{by_cpu}by round {ratios}; two threads that multiply in registers do {machine:.2} of one"
    );
    Ok(row.with_note(note))
}

struct Searches<'a> {
    snapshot: &'a Snapshot,
    queries: &'a [UnitVector],
    options: SearchOptions,
    by_cpu: bool,
}

impl Searches<'_> {
    /// Has each of some threads go through all queries some times, and returns how many all
    /// of them together answer in a second.
    fn rate(&self, threads: usize, passes: usize) -> anyhow::Result<f64> {
        let barrier = Barrier::new(threads);
        let turns = thread::scope(|scope| {
            let turns: Vec<_> = (0..threads)
                .map(|number| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        self.turn(number * self.queries.len() / threads, passes, barrier)
                    })
                })
                .collect();
            let turns = turns.into_iter().map(|turn| turn.join().ok());
            turns.collect::<Option<Vec<_>>>().context("a searching thread panicked")
        })?;
        let turns = turns.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let seconds = match self.by_cpu {
            true => turns.iter().map(|turn| turn.round.cpu_seconds).sum::<f64>() / threads as f64,
            false => {
                let (start, end) =
                    (turns.iter().map(|turn| turn.start), turns.iter().map(Turn::end));
                let (start, end) = start.min().zip(end.max()).context("no thread searched")?;
                (end - start).as_secs_f64()
            }
        };
        Ok((threads * passes * self.queries.len()) as f64 / seconds)
    }

    /// Goes through all queries, from the one at `first` on: once to get ready, and when all
    /// threads are, so many times that count.
    fn turn(&self, first: usize, passes: usize, barrier: &Barrier) -> anyhow::Result<Turn> {
        let (front, back) = self.queries.split_at(first);
        let pass = || -> anyhow::Result<()> {
            for query in back.iter().chain(front) {
                std::hint::black_box(self.snapshot.rank(query, &self.options)?);
            }
            Ok(())
        };
        let ready = pass();
        barrier.wait();
        ready?;
        let start = Instant::now();
        let round = timed(|| (0..passes).try_for_each(|_| pass()))?;
        Ok(Turn { start, round })
    }
}

/// What one thread did of a round.
struct Turn {
    start: Instant,
    round: Round,
}

impl Turn {
    fn end(&self) -> Instant {
        self.start + std::time::Duration::from_secs_f64(self.round.seconds)
    }
}
