//! The bottom layer while it is built: for each row a list of neighbours with
//! room to grow, read by all threads while any of them writes.
//!
//! A list is a run of atomics that ends with the first free one. Readers take
//! no lock: while a list is rewritten they see some old and some new entries,
//! each of them a row, which is all that a search needs. Writers of one list
//! take turns.

use super::walk::Adjacency;
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, Ordering::Relaxed},
};

const FREE: u32 = u32::MAX;

/// Locks that the lists share; many more than there are threads.
const LOCKS: usize = 1024;

pub(super) struct Lists {
    width: usize,
    entries: Vec<AtomicU32>,
    locks: Vec<Mutex<()>>,
}

impl Lists {
    /// Makes empty lists with room for `width` neighbours each.
    pub(super) fn new(rows: u32, width: usize) -> Self {
        let entries = (0..rows as usize * width).map(|_| AtomicU32::new(FREE)).collect();
        Self { width, entries, locks: (0..LOCKS).map(|_| Mutex::new(())).collect() }
    }

    pub(super) fn rows(&self) -> u32 {
        (self.entries.len() / self.width) as u32
    }

    /// Waits for its turn to write the list of a row.
    pub(super) fn lock(&self, row: u32) -> MutexGuard<'_, ()> {
        self.locks[row as usize % LOCKS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces a list by the first of `neighbours` that it has room for.
    pub(super) fn set(&self, row: u32, neighbours: impl Iterator<Item = u32>) {
        let mut slots = self.slots(row).iter();
        for (slot, neighbour) in slots.by_ref().zip(neighbours) {
            slot.store(neighbour, Relaxed);
        }
        slots.for_each(|slot| slot.store(FREE, Relaxed));
    }

    /// Adds a neighbour at the end; false if there is no room.
    pub(super) fn push(&self, row: u32, neighbour: u32) -> bool {
        let free = self.slots(row).iter().find(|slot| slot.load(Relaxed) == FREE);
        free.is_some_and(|slot| {
            slot.store(neighbour, Relaxed);
            true
        })
    }

    pub(super) fn of(&self, row: u32) -> impl Iterator<Item = u32> {
        self.slots(row).iter().map(|slot| slot.load(Relaxed)).take_while(|&entry| entry != FREE)
    }

    fn slots(&self, row: u32) -> &[AtomicU32] {
        let start = row as usize * self.width;
        &self.entries[start..start + self.width]
    }
}

impl Adjacency for Lists {
    #[inline]
    fn each(&self, row: u32, mut take: impl FnMut(u32)) {
        for slot in self.slots(row) {
            let neighbour = slot.load(Relaxed);
            if neighbour == FREE {
                break;
            }
            take(neighbour);
        }
    }

    #[inline]
    fn prefetch(&self, row: u32) {
        crate::simd::prefetch(self.slots(row));
    }
}
