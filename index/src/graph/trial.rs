//! Trying a new graph on its own rows before it is relied on.
//!
//! The rows themselves are the queries, each as if it were not there: a row's own
//! neighbours are one step from it, and a query has no row of its own. That gives two things: whether the graph is of use at all, and how wide a
//! walk has to be for a given share of the true neighbours.

use super::{
    file::Graph,
    scratch::{Key, key, row_of, with_scratch},
    walk::{Exact, Space, Walk},
};
use crate::{
    segment::{Codes, RESCORED_PER_HIT, Vectors},
    simd::dot,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BinaryHeap;

/// A graph that finds less than this share is not used.
const LEAST_RECALL: f64 = 0.8;

/// Neighbours asked for in the trial.
const NEIGHBOURS: usize = 10;

/// Distances that the exact half of the trial may cost in all.
const BUDGET: u64 = 100_000_000;

/// Rows tried: the more, the surer the shares. A thousand neighbours give them
/// within a hundredth.
const ROWS_TRIED: std::ops::RangeInclusive<u64> = 50..=400;

/// Rows compared with all others in one pass over them.
const ROWS_PER_PASS: usize = 8;

/// Distances closer than this are the same: of two equal rows either will do.
const TOLERANCE: f32 = 1e-6;

/// The widths tried, up to the first that finds (nearly) everything.
const WIDTHS: [u32; 14] = [10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640, 896];

/// A share of neighbours found from which on no greater width is tried.
const ENOUGH: f32 = 0.999;

/// What a width finds: one point of a segment's recall curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recall {
    pub(crate) ef: u32,
    /// The mean share of the ten nearest that a walk of this width finds.
    pub(crate) recall: f32,
}

/// Measures the recall curve of a graph, over codes where there are any, on
/// the threads of the current pool.
pub(super) fn curve(graph: &Graph, vectors: &Vectors, codes: Option<&Codes>) -> Vec<Recall> {
    let rows = u64::from(vectors.rows());
    let tried = (BUDGET / rows).clamp(*ROWS_TRIED.start(), *ROWS_TRIED.end()).min(rows);
    let sample: Vec<u32> = (0..tried).map(|number| (number * rows / tried) as u32).collect();
    let truth: Vec<f32> = sample
        .par_chunks(ROWS_PER_PASS)
        .flat_map_iter(|queries| nearest_bounds(vectors, queries))
        .collect();
    let mut curve = Vec::new();
    for ef in WIDTHS {
        let shares = sample.par_iter().zip(&truth).map(|(&query, &bound)| {
            let found = walk(graph, vectors, codes, query, ef as usize);
            found_within(vectors, query, &found, bound) as f64 / NEIGHBOURS as f64
        });
        let recall = (shares.sum::<f64>() / sample.len() as f64) as f32;
        curve.push(Recall { ef, recall });
        if recall >= ENOUGH {
            break;
        }
    }
    curve
}

/// Returns, for each of some rows, how close its tenth neighbour is.
fn nearest_bounds(vectors: &Vectors, queries: &[u32]) -> Vec<f32> {
    let mut nearest = vec![BinaryHeap::<Key>::with_capacity(NEIGHBOURS + 1); queries.len()];
    for row in 0..vectors.rows() {
        let vector = vectors.row(row);
        for (&query, nearest) in queries.iter().zip(&mut nearest) {
            if query == row {
                continue;
            }
            let candidate = key(-dot(vectors.row(query), vector), row);
            if nearest.len() < NEIGHBOURS {
                nearest.push(candidate);
            } else if nearest.peek().is_some_and(|&farthest| candidate < farthest) {
                nearest.pop();
                nearest.push(candidate);
            }
        }
    }
    let closeness = |query, key| dot(vectors.row(query), vectors.row(row_of(key)));
    let bound = |(&query, nearest): (&u32, BinaryHeap<Key>)| {
        nearest.peek().map_or(f32::MIN, |&farthest| closeness(query, farthest)) - TOLERANCE
    };
    queries.iter().zip(nearest).map(bound).collect()
}

fn walk(graph: &Graph, vectors: &Vectors, codes: Option<&Codes>, row: u32, ef: usize) -> Vec<Key> {
    let query = vectors.row(row);
    match codes {
        Some(codes) => {
            let mut found = walk_in(graph, &codes.seen_from(query), row, ef);
            // As many as a search compares again.
            found.truncate(RESCORED_PER_HIT * NEIGHBOURS);
            found
        }
        None => walk_in(graph, &Exact { vectors, query }, row, ef),
    }
}

fn walk_in(graph: &Graph, space: &impl Space, row: u32, ef: usize) -> Vec<Key> {
    let mut found = Vec::new();
    let walk = Walk { graph, space, ef, budget: u64::MAX };
    with_scratch(|scratch| walk.run_without(Some(row), scratch, &mut found));
    found
}

/// Counts the rows found that are among the ten nearest.
fn found_within(vectors: &Vectors, query: u32, found: &[Key], bound: f32) -> usize {
    let others = found.iter().map(|&key| row_of(key));
    let closeness = |row| dot(vectors.row(query), vectors.row(row));
    others.filter(|&row| closeness(row) >= bound).count().min(NEIGHBOURS)
}

/// Tells whether a graph finds enough at some width to be used at all.
pub(super) fn is_of_use(curve: &[Recall], ef: usize) -> bool {
    let at_most = curve.iter().take_while(|point| point.ef as usize <= ef.max(NEIGHBOURS));
    at_most.last().is_some_and(|point| f64::from(point.recall) >= LEAST_RECALL)
}

/// Returns the width that finds at least `target` of the nearest by the curve,
/// between its points on a line; `None` where the curve does not get there.
pub(crate) fn width_for(curve: &[Recall], target: f32) -> Option<usize> {
    let reached = curve.iter().position(|point| point.recall >= target)?;
    let above = curve[reached];
    let Some(below) = reached.checked_sub(1).map(|before| curve[before]) else {
        return Some(above.ef as usize);
    };
    let way = (target - below.recall) / (above.recall - below.recall);
    let ef = below.ef as f32 + way * (above.ef - below.ef) as f32;
    Some(ef.round() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_read_off_the_curve() {
        let curve =
            [(10, 0.8), (20, 0.9), (40, 0.9), (80, 0.98)].map(|(ef, recall)| Recall { ef, recall });
        assert_eq!(width_for(&curve, 0.5), Some(10));
        assert_eq!(width_for(&curve, 0.85), Some(15));
        assert_eq!(width_for(&curve, 0.9), Some(20));
        assert_eq!(width_for(&curve, 0.94), Some(60));
        assert_eq!(width_for(&curve, 0.99), None);
        assert_eq!(width_for(&[], 0.5), None);
    }
}
