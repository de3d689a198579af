//! Searching a graph: down the upper layers greedily, then along the bottom
//! with a bounded list of the best so far.
//!
//! After Malkov and Yashunin, "Efficient and robust approximate nearest
//! neighbor search using Hierarchical Navigable Small World graphs" (2016),
//! algorithms 2 and 5. A gate, where there is one, keeps rows out of the result
//! but not off the path, so the walk goes on until enough were admitted.

use super::{
    file::Graph,
    scratch::{Key, Scratch, key},
};
use crate::{
    segment::Vectors,
    simd::{dot, prefetch},
};
use std::cmp::Reverse;

/// One search of one graph.
pub(crate) struct Walk<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) vectors: &'a Vectors,
    pub(crate) query: &'a [f32],
    /// How many of the nearest are kept while walking.
    pub(crate) ef: usize,
    /// Distances it may compute before giving up.
    pub(crate) budget: u64,
}

/// How a walk ended; what it found is in the scratch.
pub(crate) struct Walked {
    pub(crate) distance_computations: u64,
    /// Whether it ended by itself, within the budget.
    pub(crate) is_complete: bool,
}

impl Walk<'_> {
    /// Leaves the nearest admitted rows in `found`, nearest first.
    pub(crate) fn run(
        &self,
        scratch: &mut Scratch,
        is_admitted: impl Fn(u32) -> bool,
        found: &mut Vec<Key>,
    ) -> Walked {
        let mut computed = 0;
        let start = self.descend(&mut computed);
        scratch.begin(self.vectors.rows() as usize);
        let is_complete = self.spread(start, scratch, is_admitted, &mut computed);
        found.clear();
        found.extend(scratch.nearest.drain());
        found.sort_unstable();
        Walked { distance_computations: computed, is_complete }
    }

    /// Goes to the nearest node of each layer that neighbours lead to, and
    /// returns the row it comes down on.
    fn descend(&self, computed: &mut u64) -> u32 {
        let mut node = self.graph.entry;
        for layer in self.graph.upper.iter().rev() {
            let mut best = self.distance(layer.rows[node as usize]);
            *computed += 1;
            loop {
                let mut next = node;
                for &neighbour in layer.edges.of(node) {
                    let distance = self.distance(layer.rows[neighbour as usize]);
                    *computed += 1;
                    if distance < best {
                        (best, next) = (distance, neighbour);
                    }
                }
                if next == node {
                    break;
                }
                node = next;
            }
            node = layer.below[node as usize];
        }
        node
    }

    /// Searches the bottom layer from `start`; false if the budget ran out.
    fn spread(
        &self,
        start: u32,
        scratch: &mut Scratch,
        is_admitted: impl Fn(u32) -> bool,
        computed: &mut u64,
    ) -> bool {
        let distance = self.distance(start);
        *computed += 1;
        scratch.visit(start);
        scratch.frontier.push(Reverse(key(distance, start)));
        if is_admitted(start) {
            scratch.nearest.push(key(distance, start));
        }
        while let Some(Reverse(at)) = scratch.frontier.pop() {
            let is_full = scratch.nearest.len() >= self.ef;
            if is_full && scratch.nearest.peek().is_some_and(|&farthest| at > farthest) {
                return true;
            }
            if *computed > self.budget {
                return false;
            }
            self.collect_unvisited(at as u32, scratch);
            *computed += scratch.pending.len() as u64;
            for position in 0..scratch.pending.len() {
                let row = scratch.pending[position];
                let candidate = key(self.distance(row), row);
                let is_full = scratch.nearest.len() >= self.ef;
                if is_full && scratch.nearest.peek().is_some_and(|&farthest| candidate > farthest) {
                    continue;
                }
                scratch.frontier.push(Reverse(candidate));
                if is_admitted(row) {
                    scratch.nearest.push(candidate);
                    if is_full {
                        scratch.nearest.pop();
                    }
                }
            }
        }
        true
    }

    /// Lists the neighbours not seen yet, and has their vectors fetched while
    /// the first of them are being compared.
    fn collect_unvisited(&self, row: u32, scratch: &mut Scratch) {
        scratch.pending.clear();
        for &neighbour in self.graph.level0.of(row) {
            if scratch.visit(neighbour) {
                prefetch(self.vectors.row(neighbour));
                scratch.pending.push(neighbour);
            }
        }
    }

    #[inline]
    fn distance(&self, row: u32) -> f32 {
        1.0 - dot(self.query, self.vectors.row(row))
    }
}
