//! Two threads beside one, in one snapshot.

use super::contestant::{HITS, Round, timed};
use crate::rows::{Row, Target};
use anyhow::Context;
use std::{thread, time::Instant};
use twn_index::{SearchOptions, Snapshot, UnitVector};

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
    let ask = |queries: &[UnitVector]| -> anyhow::Result<Round> {
        timed(|| {
            for query in queries {
                std::hint::black_box(snapshot.rank(query, &options)?);
            }
            Ok(())
        })
    };
    let count = queries.len() as f64;
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let alone = ask(queries)?;
        one.push(count / if by_cpu { alone.cpu_seconds } else { alone.seconds });
        // Both go through all queries, in other orders.
        let (front, back) = queries.split_at(queries.len() / 2);
        let orders = [[front, back], [back, front]];
        let start = Instant::now();
        let cpu_seconds = thread::scope(|scope| {
            let threads = orders.map(|order| {
                scope.spawn(move || -> anyhow::Result<f64> {
                    let rounds = [ask(order[0])?, ask(order[1])?];
                    Ok(rounds.iter().map(|round| round.cpu_seconds).sum())
                })
            });
            let mut sum = 0.0;
            for thread in threads {
                sum += thread.join().ok().context("a searching thread panicked")??;
            }
            anyhow::Ok(sum)
        })?;
        let seconds = if by_cpu { cpu_seconds / 2.0 } else { start.elapsed().as_secs_f64() };
        two.push(2.0 * count / seconds);
    }
    let row = Row::compare(
        format!("{set}: two threads vs one, ef {ef}"),
        "QPS",
        &two,
        &one,
        Some(Target::at_least(1.8)),
    );
    Ok(if by_cpu { row.with_note("by processor time a query") } else { row })
}
