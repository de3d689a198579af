//! The bottom layer, which has every row.
//!
//! Rows are inserted one by one, by all threads at once: those of the skeleton
//! first, then the others, which the skeleton leads to their neighbours. After Malkov and Yashunin
//! (2016), algorithms 1 and 4, with one change: a list may outgrow its width by
//! half before it is pruned back, so one pruning serves many insertions.

use super::{
    file::Upper,
    lists::Lists,
    scratch::{closeness_of, row_of, with_scratch},
    skeleton::in_random_order,
    walk::{Exact, spread},
};
use crate::{config::HnswConfig, segment::Vectors, simd};
use rayon::prelude::*;
use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Tells a build that nobody waits for it any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A row and how close it is to the one whose neighbour it may become.
type Candidate = (f32, u32);

/// Inserts `rows` on the threads of the current pool, and returns the neighbours
/// of all rows.
pub(super) fn build(
    vectors: &Vectors,
    upper: &Upper,
    rows: &[u32],
    config: &HnswConfig,
    stop: &Stop,
) -> Vec<Vec<u32>> {
    let lists = Lists::new(vectors.rows(), 3 * config.m);
    let inserter = Inserter { vectors, upper, lists: &lists, config };
    // What the skeleton leads to has to be there first. Until then every search
    // begins at its entry, the first of all.
    let entry = upper.lands_on();
    let sample = upper.layers.first().map_or(&[][..], |lowest| lowest.rows.unchecked());
    in_random_order(sample.iter().copied()).par_iter().for_each(|&row| {
        if !stop.is_requested() && row != entry {
            inserter.insert(row, Some(entry));
        }
    });
    rows.par_iter().for_each(|&row| {
        if !stop.is_requested() {
            inserter.insert(row, None);
        }
    });
    (0..lists.rows()).into_par_iter().map(|row| inserter.finished(row)).collect()
}

struct Inserter<'a> {
    vectors: &'a Vectors,
    upper: &'a Upper,
    lists: &'a Lists,
    config: &'a HnswConfig,
}

impl Inserter<'_> {
    /// Inserts a row after a search from `start` on, or from where the skeleton
    /// leads to.
    fn insert(&self, row: u32, start: Option<u32>) {
        let space = Exact { vectors: self.vectors, query: self.vectors.row(row) };
        let candidates: Vec<Candidate> = with_scratch(|scratch| {
            match start {
                Some(start) => scratch.begin_at(start),
                None => {
                    self.upper.descend(&space, scratch);
                }
            }
            scratch.begin(self.vectors.rows() as usize, self.config.ef_construction);
            spread(self.lists, &space, scratch);
            let keys = scratch.pool.keys().filter(|&key| row_of(key) != row);
            keys.map(|key| (closeness_of(key), row_of(key))).collect()
        });
        let chosen = self.select(&candidates, self.config.m);
        {
            let _turn = self.lists.lock(row);
            // Others may have found this row meanwhile, through the skeleton.
            let already: Vec<u32> = self.lists.of(row).collect();
            let new = chosen.iter().copied().filter(|other| !already.contains(other));
            let mut neighbours: Vec<u32> = already.iter().copied().chain(new).collect();
            if neighbours.len() > 2 * self.config.m {
                neighbours = self.prune(row, neighbours);
            }
            self.lists.set(row, neighbours.into_iter());
        }
        for other in chosen {
            self.lead_back(other, row);
        }
    }

    /// Adds an edge from `from` to `to`, pruning the list where it is full.
    fn lead_back(&self, from: u32, to: u32) {
        let _turn = self.lists.lock(from);
        if self.lists.of(from).any(|neighbour| neighbour == to) || self.lists.push(from, to) {
            return;
        }
        let neighbours: Vec<u32> = self.lists.of(from).chain([to]).collect();
        let kept = self.prune(from, neighbours);
        self.lists.set(from, kept.into_iter());
    }

    /// Returns a list for good, no longer than the width of the layer: those
    /// that pruning keeps, and the nearest of the others where there is room.
    fn finished(&self, row: u32) -> Vec<u32> {
        let degree = 2 * self.config.m;
        let neighbours: Vec<u32> = self.lists.of(row).collect();
        if neighbours.len() <= degree {
            return neighbours;
        }
        let candidates = self.by_closeness(row, &neighbours);
        let mut kept = self.select(&candidates, degree);
        for &(_, candidate) in &candidates {
            if kept.len() == degree {
                break;
            }
            if !kept.contains(&candidate) {
                kept.push(candidate);
            }
        }
        kept
    }

    fn prune(&self, row: u32, neighbours: Vec<u32>) -> Vec<u32> {
        self.select(&self.by_closeness(row, &neighbours), 2 * self.config.m)
    }

    fn by_closeness(&self, row: u32, neighbours: &[u32]) -> Vec<Candidate> {
        let mut candidates = self.close_to(row, neighbours);
        candidates.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        candidates
    }

    fn close_to(&self, row: u32, others: &[u32]) -> Vec<Candidate> {
        thread_local! {
            static DOTS: RefCell<Vec<f32>> = RefCell::default();
        }
        DOTS.with_borrow_mut(|dots| {
            let query = self.vectors.row(row);
            simd::dot_each(query, others, |other| self.vectors.row(other), dots);
            dots.iter().copied().zip(others.iter().copied()).collect()
        })
    }

    /// Picks neighbours among candidates, nearest first: one that is closer to
    /// a neighbour picked already than to the row itself is reached through
    /// that one.
    fn select(&self, candidates: &[Candidate], most: usize) -> Vec<u32> {
        let mut chosen: Vec<u32> = Vec::with_capacity(most);
        for &(closeness, candidate) in candidates {
            if chosen.len() == most {
                break;
            }
            let vector = self.vectors.row(candidate);
            let is_reached =
                chosen.iter().any(|&other| simd::dot(vector, self.vectors.row(other)) > closeness);
            if !is_reached {
                chosen.push(candidate);
            }
        }
        chosen
    }
}
