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
    /// the rows nearest to the query may have none near them that is.
    pub(crate) fn run_within(
        &self,
        seeds: &[u32],
        is_admitted: impl Fn(u32) -> bool,
        scratch: &mut Scratch,
        found: &mut Vec<Key>,
    ) -> Walked {
        let descended = self.graph.upper.descend(self.space, scratch);
        // The starts take places without being answers.
        scratch.begin(self.graph.rows(), self.ef + scratch.starts.len());
        let walked = self.spread_within(seeds, descended, &is_admitted, scratch);
        found.clear();
        found.extend(scratch.pool.keys().filter(|&key| is_admitted(row_of(key))).take(self.ef));
        walked
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
        seeds: &[u32],
        descended: u64,
        is_admitted: &impl Fn(u32) -> bool,
        scratch: &mut Scratch,
    ) -> Walked {
        let edges = &self.graph.level0;
        let Scratch { visited, pool, pending, detours, dots, starts, .. } = scratch;
        pending.clear();
        pending.extend(starts.iter().map(|&start| row_of(start)).chain(seeds.iter().copied()));
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
            for &neighbour in edges.of(row) {
                if visited.contains(neighbour) {
                    continue;
                }
                if is_admitted(neighbour) {
                    visited.insert(neighbour);
                    pending.push(neighbour);
                } else {
                    detours.push(neighbour);
                }
            }
            go_round(edges, detours, self.breadth, is_admitted, visited, pending);
        }
        Walked { distance_computations: computed, is_complete: true }
    }
}

/// Adds the admitted neighbours of `detours` that have not been visited, until `pending`
/// has `breadth` rows. A detour whose neighbours were all looked at counts as visited: it
/// has nothing more to give.
fn go_round(
    edges: &Edges,
    detours: &[u32],
    breadth: usize,
    is_admitted: impl Fn(u32) -> bool,
    visited: &mut Visited,
    pending: &mut Vec<u32>,
) {
    detours.iter().take(DETOURS_AHEAD).for_each(|&detour| edges.prefetch(detour));
    for (index, &detour) in detours.iter().enumerate() {
        if pending.len() >= breadth {
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
            pending[end] = row;
            end += usize::from(is_admitted(row) & !visited.contains(row));
        }
        pending.truncate(end);
        for &row in &pending[start..] {
            visited.insert(row);
        }
    }
}
