//! Comparing row by row, and keeping the best.

use crate::{
    graph::{Key, Space, key},
    simd::{dot, prefetch},
};
use std::collections::BinaryHeap;

/// The nearest rows seen so far, at most as many as asked for.
///
/// Ties go to the lesser row, which is the lesser id.
pub(super) struct Nearest {
    limit: usize,
    farthest_first: BinaryHeap<Key>,
}

impl Nearest {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, farthest_first: BinaryHeap::new() }
    }

    /// Takes a row with its score in if it is among the nearest.
    #[inline]
    pub(super) fn offer(&mut self, score: f32, row: u32) {
        let key = key(-score, row);
        if self.farthest_first.len() < self.limit {
            self.farthest_first.push(key);
        } else if let Some(mut farthest) = self.farthest_first.peek_mut()
            && key < *farthest
        {
            *farthest = key;
        }
    }

    /// Returns the rows kept, in no order.
    pub(super) fn into_keys(self) -> Vec<Key> {
        self.farthest_first.into_vec()
    }
}

/// Offers every row of a tail with its score, and returns how many there were.
pub(super) fn scan<'a>(
    query: &[f32],
    rows: impl Iterator<Item = (u32, &'a [f32])>,
    nearest: &mut Nearest,
) -> u64 {
    let mut compared = 0;
    let mut rows = rows.peekable();
    while let Some((row, vector)) = rows.next() {
        if let Some((_, next)) = rows.peek() {
            prefetch(next);
        }
        nearest.offer(cosine(query, vector), row);
        compared += 1;
    }
    compared
}

/// Rows of a segment that are compared at a time.
const CHUNK: usize = 256;

/// Offers rows of a segment, and returns how many there were.
pub(super) fn scan_rows(
    space: &impl Space,
    rows: &mut dyn Iterator<Item = u32>,
    nearest: &mut Nearest,
) -> u64 {
    let (mut chunk, mut scores) = (Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK));
    let mut compared = 0;
    loop {
        chunk.clear();
        chunk.extend((&mut *rows).take(CHUNK));
        if chunk.is_empty() {
            return compared;
        }
        space.closeness(&chunk, &mut scores);
        for (&row, &score) in chunk.iter().zip(&scores) {
            nearest.offer(score.clamp(-1.0, 1.0), row);
        }
        compared += chunk.len() as u64;
    }
}

/// Returns the cosine of two vectors of length 1.
#[inline]
pub(super) fn cosine(query: &[f32], vector: &[f32]) -> f32 {
    dot(query, vector).clamp(-1.0, 1.0)
}
