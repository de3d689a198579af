//! What a search needs while it runs, kept by its thread for the next one.

use super::pool::Pool;
use std::{cell::RefCell, cmp::Reverse, collections::BinaryHeap};

/// A row and its distance in one number that sorts by distance, then by row.
///
/// The lowest bit is free for whoever keeps it.
pub(crate) type Key = u64;

/// Rows that a key can tell apart, and so the most a segment may have.
pub(crate) const MAX_ROWS: u32 = 1 << 31;

/// Packs a distance and a row.
#[inline]
pub(crate) fn key(distance: f32, row: u32) -> Key {
    // Flipping the sign bit of positive floats, and every bit of negative
    // ones, makes their bits sort as their values do.
    let bits = distance.to_bits();
    let ordered = if bits >> 31 == 0 { bits | 0x8000_0000 } else { !bits };
    (u64::from(ordered) << 32) | u64::from(row << 1)
}

/// Unpacks the row.
#[inline]
pub(crate) fn row_of(key: Key) -> u32 {
    (key as u32) >> 1
}

/// Unpacks the closeness that a key was made of.
#[inline]
pub(crate) fn closeness_of(key: Key) -> f32 {
    let ordered = (key >> 32) as u32;
    let bits = if ordered >> 31 == 1 { ordered & 0x7fff_ffff } else { !ordered };
    -f32::from_bits(bits)
}

/// The rows a walk came by: a bit for each row of the segment.
#[derive(Default)]
pub(super) struct Visited {
    words: Vec<u64>,
    /// The words that are not zero, to be cleared for the next walk.
    touched: Vec<u32>,
}

impl Visited {
    /// Forgets the last walk, at the cost of what that one touched.
    fn begin(&mut self, rows: usize) {
        for &word in &self.touched {
            self.words[word as usize] = 0;
        }
        self.touched.clear();
        if self.words.len() * 64 < rows {
            self.words.resize(rows.div_ceil(64), 0);
        }
    }

    /// Marks a row, and tells whether it is the first time in this walk.
    #[inline]
    pub(super) fn insert(&mut self, row: u32) -> bool {
        let number = row / 64;
        let word = &mut self.words[number as usize];
        if *word == 0 {
            self.touched.push(number);
        }
        let bit = 1 << (row % 64);
        let is_first = *word & bit == 0;
        *word |= bit;
        is_first
    }
}

/// The working memory of one walk.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(super) visited: Visited,
    pub(super) pool: Pool,
    /// Rows of the bottom layer to begin at.
    pub(super) starts: Vec<Key>,
    /// Rows to go on from, nearest first, where the pool cannot tell.
    pub(super) frontier: BinaryHeap<Reverse<Key>>,
    /// The nearest admitted rows, farthest first, likewise.
    pub(super) nearest: BinaryHeap<Key>,
    /// Unvisited neighbours of one row.
    pub(super) pending: Vec<u32>,
    /// How close the pending rows are.
    pub(super) dots: Vec<f32>,
}

impl Scratch {
    /// Has a walk begin at a row of the caller's choice.
    pub(super) fn begin_at(&mut self, row: u32) {
        self.starts.clear();
        self.starts.push(key(0.0, row));
    }

    /// Forgets the last walk.
    pub(super) fn begin(&mut self, rows: usize, ef: usize) {
        self.visited.begin(rows);
        self.pool.begin(ef);
        self.frontier.clear();
        self.nearest.clear();
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
        assert_eq!(row_of(key(-0.25, MAX_ROWS - 1)), MAX_ROWS - 1);
    }

    #[test]
    fn a_new_walk_forgets_what_the_last_one_saw() {
        let mut visited = Visited::default();
        for rows in [4, 200, 70] {
            visited.begin(rows);
            for row in [0, 2, rows as u32 - 1] {
                assert!(visited.insert(row));
                assert!(!visited.insert(row));
            }
        }
    }
}
