//! Searching a graph for rows that a filter admits.
//!
//! Two ways, for two kinds of filters. A *gated* walk goes everywhere and keeps
//! admitted rows only, which suits filters that admit most rows. A walk *within*
//! goes to admitted rows only, through neighbours' neighbours where a neighbour
//! is not admitted, so that it compares no row for nothing; after Patel and
//! others, "ACORN: Performant and Predicate-Agnostic Search Over Vector
//! Embeddings and Structured Data" (2024), the variant without extra edges.

use super::{
    file::Edges,
    scratch::{Key, Scratch, Visited, key, row_of},
    walk::{Adjacency, Space, Walk, Walked},
};
use std::cmp::Reverse;

/// Lists of neighbours that are fetched before they are read.
const DETOURS_AHEAD: usize = 8;

/// Admitted rows that a detour counts for which was taken before.
const DETOUR_WORTH: usize = 2;

/// A query is outside of a filter when the rows near it are admitted more seldom than all
/// rows, by this factor.
const OUTSIDE_SHARE: f64 = 0.5;

/// Admitted rows that should be near a query before their absence means anything.
const LEAST_EXPECTED: f64 = 4.0;

/// The rows that a walk may find.
pub(crate) trait Admission {
    /// Tells whether a row is one of them.
    fn admits(&self, row: u32) -> bool;

    /// The rows `64 * number` and on that may be, a bit each: a quick answer for many rows,
    /// which misses none that is admitted.
    fn word(&self, number: usize) -> u64;

    /// How many there are.
    fn count(&self) -> u64;
}

/// How far a walk within a filter goes.
#[derive(Debug, Clone, Copy)]
struct Reach {
    /// How many of the nearest are kept while walking.
    width: usize,
    /// Admitted rows to see at each step, visited before or not, where there are as many.
    breadth: usize,
}

impl Reach {
    /// The graph's edges were chosen for walks through all rows. A walk that has to go round
    /// some of them finds less at the same width, the less the fewer are admitted, and less
    /// again when the query lies outside of what is. The numbers were found by trial, for a
    /// recall@10 of 0.95 at 50 and 10 % on real and on clustered vectors.
    fn new(ef: usize, m: usize, share: f64, is_outside: bool) -> Self {
        // How often a half has to be halved to come to the share.
        let halvings = (0.5 / share).log2().clamp(0.0, 16.0);
        let wider = if is_outside { 2.0 } else { 1.0 };
        Self {
            width: (ef as f64 * wider * (1.3 + 0.13 * halvings)) as usize,
            breadth: (m as f64 * (1.0 + 0.45 * halvings)) as usize,
        }
    }
}

impl<S: Space> Walk<'_, S> {
    /// Leaves the nearest admitted rows in `found`, nearest first, after a walk
    /// through all rows.
    pub(crate) fn run_gated(
        &self,
        is_admitted: impl Fn(u32) -> bool,
        scratch: &mut Scratch,
        found: &mut Vec<Key>,
    ) -> Walked {
        let descended = self.graph.upper.descend(self.space, scratch);
        scratch.begin(self.graph.rows(), self.ef);
        let walked = self.spread_gated(descended, is_admitted, scratch);
        found.clear();
        found.extend(scratch.nearest.drain());
        found.sort_unstable();
        walked
    }

    /// Leaves the nearest admitted rows in `found`, nearest first, after a walk
    /// through those only. It begins at the `seeds` too, which are admitted:
    /// the rows nearest to the query may have none near them that is. `m` is the graph's.
    /// A query outside of the filter needs a walk twice as wide, which is not begun unless
    /// it `may_widen`.
    pub(crate) fn run_within(
        &self,
        seeds: impl Iterator<Item = u32>,
        admission: &impl Admission,
        (m, may_widen): (usize, bool),
        scratch: &mut Scratch,
        found: &mut Vec<Key>,
    ) -> Walked {
        let descended = self.graph.upper.descend(self.space, scratch);
        let share = admission.count() as f64 / self.graph.rows() as f64;
        let is_outside = self.is_outside(share, admission, &scratch.starts);
        if is_outside && !may_widen {
            return Walked { distance_computations: descended, is_complete: false };
        }
        let reach = Reach::new(self.ef, m, share, is_outside);
        // The starts take places without being answers.
        scratch.begin(self.graph.rows(), reach.width + scratch.starts.len());
        let walked = self.spread_within(seeds, descended, admission, reach.breadth, scratch);
        found.clear();
        let keys = scratch.pool.keys().filter(|&key| admission.admits(row_of(key)));
        found.extend(keys.take(reach.width));
        walked
    }

    /// Tells whether the neighbours of `starts`, the nearest rows to the query that the layer
    /// above has, are admitted far more seldom than the `share` of all rows that are: where
    /// enough of them should be for that to be no accident.
    fn is_outside(&self, share: f64, admission: &impl Admission, starts: &[Key]) -> bool {
        let near = starts.iter().flat_map(|&start| self.graph.level0.of(row_of(start)));
        let (mut all, mut admitted) = (0_u32, 0_u32);
        for &row in near {
            all += 1;
            admitted += u32::from(admission.admits(row));
        }
        let expected = share * f64::from(all);
        expected >= LEAST_EXPECTED && f64::from(admitted) < OUTSIDE_SHARE * expected
    }

    fn spread_gated(
        &self,
        descended: u64,
        is_admitted: impl Fn(u32) -> bool,
        scratch: &mut Scratch,
    ) -> Walked {
        let Scratch { visited, frontier, nearest, pending, dots, starts, .. } = scratch;
        let mut computed = descended;
        pending.clear();
        pending.extend(starts.iter().map(|&start| row_of(start)));
        pending.retain(|&row| visited.insert(row));
        loop {
            self.space.closeness(pending, dots);
            computed += pending.len() as u64;
            for (&row, &closeness) in pending.iter().zip(dots.iter()) {
                let candidate = key(-closeness, row);
                let is_full = nearest.len() >= self.ef;
                if is_full && nearest.peek().is_some_and(|&farthest| candidate > farthest) {
                    continue;
                }
                frontier.push(Reverse(candidate));
                if is_admitted(row) {
                    nearest.push(candidate);
                    if is_full {
                        nearest.pop();
                    }
                }
            }
            let Some(Reverse(at)) = frontier.pop() else { break };
            let is_full = nearest.len() >= self.ef;
            if is_full && nearest.peek().is_some_and(|&farthest| at > farthest) {
                break;
            }
            if computed > self.budget {
                return Walked { distance_computations: computed, is_complete: false };
            }
            if let Some(&Reverse(upcoming)) = frontier.peek() {
                self.graph.level0.prefetch(row_of(upcoming));
            }
            pending.clear();
            self.graph.level0.each(row_of(at), |neighbour| {
                if visited.insert(neighbour) {
                    pending.push(neighbour);
                }
            });
        }
        Walked { distance_computations: computed, is_complete: true }
    }

    fn spread_within(
        &self,
        seeds: impl Iterator<Item = u32>,
        descended: u64,
        admission: &impl Admission,
        breadth: usize,
        scratch: &mut Scratch,
    ) -> Walked {
        let edges = &self.graph.level0;
        let Scratch { visited, pool, pending, detours, dots, starts, .. } = scratch;
        pending.clear();
        pending.extend(starts.iter().map(|&start| row_of(start)).chain(seeds));
        pending.retain(|&row| visited.insert(row));
        let mut computed = descended;
        loop {
            self.space.closeness(pending, dots);
            computed += pending.len() as u64;
            for (&row, &closeness) in pending.iter().zip(dots.iter()) {
                pool.offer(key(-closeness, row));
            }
            let Some(row) = pool.next() else { break };
            if computed > self.budget {
                return Walked { distance_computations: computed, is_complete: false };
            }
            if let Some(upcoming) = pool.upcoming() {
                edges.prefetch(upcoming);
            }
            pending.clear();
            detours.clear();
            let mut seen = 0;
            for &neighbour in edges.of(row) {
                if admission.admits(neighbour) {
                    seen += 1;
                    if visited.insert(neighbour) {
                        pending.push(neighbour);
                    }
                } else if visited.contains(neighbour) {
                    seen += DETOUR_WORTH;
                } else {
                    detours.push(neighbour);
                }
            }
            go_round(edges, detours, breadth.saturating_sub(seen), admission, visited, pending);
        }
        Walked { distance_computations: computed, is_complete: true }
    }
}

/// Adds the admitted neighbours of `detours` that have not been visited to `pending`, until
/// `wanted` admitted ones were seen, visited or not: around a row whose surroundings are
/// known there is nothing to gain far off. A detour counts as visited itself.
fn go_round(
    edges: &Edges,
    detours: &[u32],
    wanted: usize,
    admission: &impl Admission,
    visited: &mut Visited,
    pending: &mut Vec<u32>,
) {
    detours.iter().take(DETOURS_AHEAD).for_each(|&detour| edges.prefetch(detour));
    let mut seen = 0;
    for (index, &detour) in detours.iter().enumerate() {
        if seen >= wanted {
            return;
        }
        if let Some(&upcoming) = detours.get(index + DETOURS_AHEAD) {
            edges.prefetch(upcoming);
        }
        visited.insert(detour);
        let neighbours = edges.of(detour);
        // Without a branch for each neighbour: most are not wanted, but nobody knows which.
        let start = pending.len();
        pending.resize(start + neighbours.len(), 0);
        let mut end = start;
        for &row in neighbours {
            let number = (row / 64) as usize;
            let (admitted, visited) = (admission.word(number), visited.word(number));
            pending[end] = row;
            end += ((admitted & !visited) >> (row % 64) & 1) as usize;
            seen += ((admitted & visited) >> (row % 64) & 1) as usize;
        }
        pending.truncate(end);
        let mut kept = start;
        for index in start..end {
            let row = pending[index];
            if admission.admits(row) && visited.insert(row) {
                pending[kept] = row;
                kept += 1;
            }
        }
        pending.truncate(kept);
        seen += kept - start;
    }
}
