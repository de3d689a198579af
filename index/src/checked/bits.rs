//! A set of small numbers that only grows, shared by threads without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

const WORD_BITS: usize = 64;

#[derive(Debug)]
pub(super) struct Bits(Box<[AtomicU64]>);

impl Bits {
    /// Makes an empty set of numbers below `count`.
    pub(super) fn new(count: usize) -> Self {
        Self((0..count.div_ceil(WORD_BITS)).map(|_| AtomicU64::new(0)).collect())
    }

    #[inline]
    pub(super) fn contains(&self, number: usize) -> bool {
        // What a bit vouches for never changes, so no ordering is needed.
        self.0[number / WORD_BITS].load(Ordering::Relaxed) >> (number % WORD_BITS) & 1 == 1
    }

    pub(super) fn insert(&self, number: usize) {
        self.0[number / WORD_BITS].fetch_or(1 << (number % WORD_BITS), Ordering::Relaxed);
    }
}
