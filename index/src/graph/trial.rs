//! Trying a new graph on its own rows before it is relied on.

use super::{
    file::Graph,
    scratch::{key, with_scratch},
    walk::Walk,
};
use crate::{segment::Vectors, simd::dot};

/// A graph that finds less than this share is not used.
pub(super) const LEAST_RECALL: f64 = 0.8;

/// Neighbours asked for in the trial.
const NEIGHBOURS: usize = 10;

/// Distances that the exact half of the trial may cost in all.
const BUDGET: u64 = 2_000_000;

/// Distances closer than this are the same: of two equal rows either will do.
const TOLERANCE: f32 = 1e-6;

/// Returns the share of true neighbours that the graph finds for a sample of
/// its own rows, from 0 to 1.
pub(super) fn recall(graph: &Graph, vectors: &Vectors, ef: usize) -> f64 {
    let rows = vectors.rows();
    let sample = (BUDGET / u64::from(rows)).clamp(10, 100) as u32;
    let step = (rows / sample).max(1);
    let (mut found, mut wanted) = (0, 0);
    let mut nearest = Vec::new();
    for row in (0..rows).step_by(step as usize) {
        let query = vectors.row(row);
        let mut exact: Vec<f32> =
            (0..rows).map(|other| 1.0 - dot(query, vectors.row(other))).collect();
        let last = NEIGHBOURS.min(exact.len()) - 1;
        let bound = *exact.select_nth_unstable_by(last, f32::total_cmp).1 + TOLERANCE;
        let walk = Walk { graph, vectors, query, ef: ef.max(NEIGHBOURS), budget: u64::MAX };
        with_scratch(|scratch| walk.run(scratch, |_| true, &mut nearest));
        let within = key(bound, u32::MAX);
        found += nearest.iter().take(last + 1).filter(|&&neighbour| neighbour <= within).count();
        wanted += last + 1;
    }
    found as f64 / wanted as f64
}
