//! Searching a graph: down the upper layers greedily, then along the bottom
//! with a bounded list of the best so far.
//!
//! After Malkov and Yashunin, "Efficient and robust approximate nearest
//! neighbor search using Hierarchical Navigable Small World graphs" (2016),
//! algorithms 2 and 5.

use super::{
    file::{Graph, Upper},
    scratch::{Key, Scratch, key, row_of},
};
use crate::simd;

/// Rows that a walk of the bottom layer begins at: more than one, since the
/// nearest row of the sparse layer above may lie in a corner.
const STARTS: usize = 4;

/// Where rows lie, as seen from one query.
pub(crate) trait Space {
    /// Puts a number for each row into `out`, in their order, that is greater
    /// the nearer the row is to the query.
    fn closeness(&self, rows: &[u32], out: &mut Vec<f32>);
}

/// Lists of neighbours by row.
pub(super) trait Adjacency {
    /// Hands out the neighbours of a row.
    fn each(&self, row: u32, take: impl FnMut(u32));

    /// Has them fetched.
    fn prefetch(&self, row: u32);
}

/// The space of the vectors as they are.
pub(crate) struct Exact<'a> {
    pub(crate) vectors: &'a crate::segment::Vectors,
    pub(crate) query: &'a [f32],
}

impl Space for Exact<'_> {
    #[inline]
    fn closeness(&self, rows: &[u32], out: &mut Vec<f32>) {
        self.vectors.check(rows);
        simd::dot_each(self.query, rows, |row| self.vectors.row(row), out);
    }
}

/// One search of one graph.
pub(crate) struct Walk<'a, S> {
    pub(crate) graph: &'a Graph,
    pub(crate) space: &'a S,
    /// How many of the nearest are kept while walking.
    pub(crate) ef: usize,
    /// Rows it may compare with the query before giving up, where it is told
    /// which are admitted.
    pub(crate) budget: u64,
}

/// How a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Walked {
    pub(crate) distance_computations: u64,
    /// Whether it ended by itself, within the budget.
    pub(crate) is_complete: bool,
}

impl<S: Space> Walk<'_, S> {
    /// Leaves the nearest rows in `found`, nearest first.
    pub(crate) fn run(&self, scratch: &mut Scratch, found: &mut Vec<Key>) -> Walked {
        self.run_without(None, scratch, found)
    }

    /// Does so as if one row were not there.
    pub(super) fn run_without(
        &self,
        absent: Option<u32>,
        scratch: &mut Scratch,
        found: &mut Vec<Key>,
    ) -> Walked {
        let descended = self.graph.upper.descend(self.space, scratch);
        scratch.begin(self.graph.rows(), self.ef);
        if let Some(row) = absent {
            scratch.visited.insert(row);
        }
        let spread = spread(&self.graph.level0, self.space, scratch);
        found.clear();
        found.extend(scratch.pool.keys());
        Walked { distance_computations: descended + spread, is_complete: true }
    }
}

impl Upper {
    /// Returns the row under the entry.
    pub(super) fn lands_on(&self) -> u32 {
        self.layers.last().map_or(self.entry, |top| top.rows.at(self.entry as usize))
    }

    /// Goes to the nearest node of each layer that neighbours lead to. Leaves the
    /// rows to begin at in the scratch, the nearest of those met in the lowest
    /// layer, and returns how many rows were compared.
    pub(super) fn descend(&self, space: &impl Space, scratch: &mut Scratch) -> u64 {
        let Scratch { pending, dots, starts, .. } = scratch;
        starts.clear();
        let (mut node, mut computed) = (self.entry, 0);
        for layer in self.layers.iter().rev() {
            let row = layer.rows.at(node as usize);
            space.closeness(&[row], dots);
            computed += 1;
            let mut best = dots[0];
            starts.clear();
            starts.push(key(-best, row));
            loop {
                let neighbours = layer.edges.of(node);
                pending.clear();
                pending.extend(neighbours.iter().map(|&node| layer.rows.at(node as usize)));
                space.closeness(pending, dots);
                computed += pending.len() as u64;
                let mut next = node;
                for (&neighbour, &closeness) in neighbours.iter().zip(dots.iter()) {
                    if closeness > best {
                        (best, next) = (closeness, neighbour);
                    }
                }
                // The last round has the neighbours of the nearest node.
                starts.truncate(1);
                starts.extend(pending.iter().zip(dots.iter()).map(|(&row, &dot)| key(-dot, row)));
                if next == node {
                    break;
                }
                node = next;
                starts[0] = key(-best, layer.rows.at(node as usize));
            }
            node = layer.below.at(node as usize);
        }
        if starts.is_empty() {
            starts.push(key(0.0, node));
        }
        starts.sort_unstable();
        starts.truncate(STARTS);
        computed
    }
}

/// Searches a layer from the starts in the scratch on; what it found is in the pool of the
/// scratch. Returns how many rows were compared with the query.
pub(super) fn spread(adjacency: &impl Adjacency, space: &impl Space, scratch: &mut Scratch) -> u64 {
    let Scratch { visited, pool, pending, dots, starts, .. } = scratch;
    pending.clear();
    pending.extend(starts.iter().map(|&start| row_of(start)).filter(|&row| visited.insert(row)));
    let mut computed = 0;
    loop {
        space.closeness(pending, dots);
        computed += pending.len() as u64;
        for (&row, &closeness) in pending.iter().zip(dots.iter()) {
            pool.offer(key(-closeness, row));
        }
        let Some(row) = pool.next() else { return computed };
        // The one after is known well enough to have its list fetched, though
        // one of the neighbours may turn out to come first.
        if let Some(upcoming) = pool.upcoming() {
            adjacency.prefetch(upcoming);
        }
        pending.clear();
        adjacency.each(row, |neighbour| {
            if visited.insert(neighbour) {
                pending.push(neighbour);
            }
        });
    }
}
