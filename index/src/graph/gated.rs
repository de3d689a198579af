//! Searching a graph for rows that a filter admits: a walk that goes everywhere and keeps
//! admitted rows only, which suits filters that admit most rows.

use super::{
    scratch::{Key, Scratch, key, row_of},
    walk::{Adjacency, Space, Walk, Walked},
};
use std::cmp::Reverse;

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
}
