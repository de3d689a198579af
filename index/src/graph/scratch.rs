//! What a search needs while it runs, kept by its thread for the next one.

use std::{cell::RefCell, cmp::Reverse, collections::BinaryHeap};

/// A row and its distance in one number that sorts by distance, then by row.
pub(crate) type Key = u64;

/// Packs a distance and a row.
#[inline]
pub(crate) fn key(distance: f32, row: u32) -> Key {
    // Flipping the sign bit of positive floats, and every bit of negative
    // ones, makes their bits sort as their values do.
    let bits = distance.to_bits();
    let ordered = if bits >> 31 == 0 { bits | 0x8000_0000 } else { !bits };
    (u64::from(ordered) << 32) | u64::from(row)
}

/// Unpacks the row.
#[inline]
pub(crate) fn row_of(key: Key) -> u32 {
    key as u32
}

/// The working memory of one walk.
#[derive(Default)]
pub(crate) struct Scratch {
    /// For each row, the last walk that came by.
    visits: Vec<u32>,
    walk: u32,
    /// Rows to go on from, nearest first.
    pub(super) frontier: BinaryHeap<Reverse<Key>>,
    /// The nearest admitted rows, farthest first.
    pub(super) nearest: BinaryHeap<Key>,
    /// Unvisited neighbours of one row.
    pub(super) pending: Vec<u32>,
}

impl Scratch {
    /// Forgets the last walk; costs nothing but once in 2^32 walks.
    pub(super) fn begin(&mut self, rows: usize) {
        if self.visits.len() < rows {
            self.visits.resize(rows, 0);
        }
        self.walk = self.walk.wrapping_add(1);
        if self.walk == 0 {
            self.visits.fill(0);
            self.walk = 1;
        }
        self.frontier.clear();
        self.nearest.clear();
    }

    /// Marks a row, and tells whether it is the first time in this walk.
    #[inline]
    pub(super) fn visit(&mut self, row: u32) -> bool {
        let mark = &mut self.visits[row as usize];
        let is_first = *mark != self.walk;
        *mark = self.walk;
        is_first
    }
}

/// Lends out this thread's working memory.
pub(crate) fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    SCRATCH.with_borrow_mut(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_distance_then_row() {
        let distances = [-1.0, -1e-30, -0.0, 0.0, 1e-30, 0.5, 2.0];
        let keys: Vec<Key> =
            distances.iter().flat_map(|&distance| [key(distance, 3), key(distance, 9)]).collect();
        assert!(keys.is_sorted());
        assert_eq!(row_of(key(-0.25, u32::MAX)), u32::MAX);
    }

    #[test]
    fn a_new_walk_forgets_even_when_its_number_wraps() {
        let mut scratch = Scratch { walk: u32::MAX - 1, ..Scratch::default() };
        for _ in 0..3 {
            scratch.begin(4);
            assert!(scratch.visit(2));
            assert!(!scratch.visit(2));
        }
    }
}
