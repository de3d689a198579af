//! Filtered search: what is found, and how fast beside the unfiltered.

use super::{
    contestant::{HITS, recall, rows, timed},
    own::draw,
    vectors::Vectors,
};
use crate::rows::{Row, Target};
use rayon::{ThreadPool, prelude::*};
use twn_index::{Filter, Filtering, SearchOptions, Snapshot, UnitVector};

/// How often a round asks each query: scans of few rows are soon over.
const TIMES: usize = 10;

const SHARES: [f64; 4] = [0.5, 0.1, 0.01, 0.001];

/// What filtered searches are asked to find too, in the place of a width.
const RECALL_TARGET: f32 = 0.95;

/// Measures filters that admit some shares of the rows, drawn at random or from
/// one end of an axis of the vectors, at the width of the unfiltered search.
pub(crate) fn measure(
    set: &str,
    snapshot: &Snapshot,
    base: &Vectors,
    queries: &[UnitVector],
    ef: usize,
    pool: &ThreadPool,
) -> anyhow::Result<Vec<Row>> {
    let plain = SearchOptions { ef: Some(ef), ..SearchOptions::new(HITS) };
    let mut draws: Vec<f64> = (0..base.rows()).map(draw).collect();
    let mut axes: Vec<f64> = base.iter().map(|vector| f64::from(vector[0])).collect();
    draws.sort_by(f64::total_cmp);
    axes.sort_by(f64::total_cmp);
    let mut found = Vec::new();
    for (kind, field, values) in [("random", "draw", &draws), ("correlated", "axis", &axes)] {
        for share in SHARES {
            let cut = values.len() - (values.len() as f64 * share) as usize;
            let filter = Filter::Range {
                field: field.to_owned(),
                gt: None,
                gte: Some(values[cut.min(values.len() - 1)]),
                lt: None,
                lte: None,
            };
            let options = SearchOptions { filter: Some(filter), ..plain.clone() };
            let exact = SearchOptions { exact: true, ..options.clone() };
            let ask = |options: &SearchOptions| -> anyhow::Result<Vec<Vec<u64>>> {
                pool.install(|| {
                    queries.par_iter().map(|query| rows(snapshot, query, options)).collect()
                })
            };
            let promised =
                SearchOptions { ef: None, recall_target: Some(RECALL_TARGET), ..options.clone() };
            let truth = ask(&exact)?;
            let (at_width, at_target) =
                (recall(&truth, &ask(&options)?), recall(&truth, &ask(&promised)?));
            let way = snapshot.rank(&queries[0], &options)?.plan.filtering;
            // Turn about, so that both meet the same machine.
            let (mut filtered, mut unfiltered) = (Vec::new(), Vec::new());
            for _ in 0..3 {
                filtered.push(seconds(snapshot, queries, &options)?);
                unfiltered.push(seconds(snapshot, queries, &plain)?);
            }
            let qps = |seconds: &[f64]| -> Vec<f64> {
                seconds.iter().map(|seconds| queries.len() as f64 / seconds).collect()
            };
            let what = format!("{set}: filter of {}%, {kind}", share * 100.0);
            let way = match way {
                Some(Filtering::Scan) => "scan of the matching rows",
                Some(Filtering::Probe) => "probe of partitions",
                Some(Filtering::Gated) => "gated walk",
                Some(Filtering::Mixed) | None => "mixed",
            };
            let note = format!("{way}, ef {ef}; peer: unfiltered");
            let target = f64::from(RECALL_TARGET);
            for (how, recall) in [
                ("recall@10".to_owned(), at_width),
                (format!("recall@10 found at recall_target {RECALL_TARGET}"), at_target),
            ] {
                let target = Some(Target::at_least(target));
                found.push(Row::state(format!("{what}: {how}"), "share", &[recall], target));
            }
            let (filtered, unfiltered) = (qps(&filtered), qps(&unfiltered));
            let target = Some(Target::at_least(0.5));
            let row = Row::compare(what, "QPS", &filtered, &unfiltered, target);
            found.push(row.with_note(note));
        }
    }
    Ok(found)
}

fn seconds(
    snapshot: &Snapshot,
    queries: &[UnitVector],
    options: &SearchOptions,
) -> anyhow::Result<f64> {
    let round = timed(|| {
        for query in std::iter::repeat_n(queries, TIMES).flatten() {
            std::hint::black_box(snapshot.rank(query, options)?);
        }
        Ok(())
    })?;
    Ok(round.cpu_seconds / TIMES as f64)
}
