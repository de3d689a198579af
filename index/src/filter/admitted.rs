//! Which rows of a segment a search may find.

use crate::partitions::Partitions;
use roaring::RoaringBitmap;
use std::sync::{Arc, OnceLock};

/// The rows that match a filter: as a set, as a bit for each row, which is what a walk asks
/// thousands of times, and as a bit for each place in the order of partitions.
#[derive(Debug)]
pub(crate) struct Matching {
    rows: RoaringBitmap,
    bits: Vec<u64>,
    /// Made when partitions are first probed.
    in_order: OnceLock<Vec<u64>>,
}

impl Matching {
    pub(crate) fn new(rows: RoaringBitmap, segment_rows: u32) -> Self {
        let mut bits = vec![0_u64; (segment_rows as usize).div_ceil(64)];
        for row in &rows {
            bits[row as usize / 64] |= 1 << (row % 64);
        }
        Self { rows, bits, in_order: OnceLock::new() }
    }

    pub(crate) fn rows(&self) -> &RoaringBitmap {
        &self.rows
    }

    #[inline]
    fn contains(&self, row: u32) -> bool {
        self.bits[row as usize / 64] >> (row % 64) & 1 == 1
    }

    /// Bytes of heap it may come to take up.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.serialized_size() + 2 * size_of_val(&*self.bits)
    }
}

/// The rows that count: those that match, without the dead.
pub(crate) struct Admitted<'a> {
    matching: Option<Arc<Matching>>,
    dead: Option<&'a RoaringBitmap>,
    segment_rows: u32,
    count: u64,
}

impl<'a> Admitted<'a> {
    /// `matching` is absent where there is no filter.
    pub(crate) fn new(
        matching: Option<Arc<Matching>>,
        dead: &'a RoaringBitmap,
        segment_rows: u32,
    ) -> Self {
        let count = match &matching {
            None => u64::from(segment_rows) - dead.len(),
            Some(matching) if dead.is_empty() => matching.rows.len(),
            Some(matching) => matching.rows.difference_len(dead),
        };
        let dead = (!dead.is_empty()).then_some(dead);
        Self { matching, dead, segment_rows, count }
    }

    /// Tells whether every row of the segment counts.
    pub(crate) fn is_everything(&self) -> bool {
        self.count == u64::from(self.segment_rows)
    }

    /// Tells whether there is a filter.
    pub(crate) fn is_filtered(&self) -> bool {
        self.matching.is_some()
    }

    /// Returns a bit for each place in the order of partitions: the rows that match a filter,
    /// the dead among them; `None` where there is no filter.
    pub(crate) fn in_order(&self, partitions: &Partitions) -> Option<&[u64]> {
        let matching = self.matching.as_ref()?;
        Some(matching.in_order.get_or_init(|| partitions.in_order(&matching.bits)))
    }

    /// Tells whether a row is not dead.
    #[inline]
    pub(crate) fn is_alive(&self, row: u32) -> bool {
        self.dead.is_none_or(|dead| !dead.contains(row))
    }

    /// Tells whether a row counts.
    #[inline]
    pub(crate) fn admits(&self, row: u32) -> bool {
        self.matching.as_ref().is_none_or(|matching| matching.contains(row)) && self.is_alive(row)
    }

    /// Returns how many rows count.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Returns how many rows match, dead or not.
    pub(crate) fn count_with_dead(&self) -> u64 {
        let matching = self.matching.as_ref().map(|matching| matching.rows.len());
        matching.unwrap_or_else(|| u64::from(self.segment_rows))
    }

    /// Hands out the admitted rows in ascending order.
    pub(crate) fn with_rows<T>(&self, work: impl FnOnce(&mut dyn Iterator<Item = u32>) -> T) -> T {
        let is_alive = |row: &u32| self.is_alive(*row);
        match &self.matching {
            Some(matching) => work(&mut matching.rows.iter().filter(is_alive)),
            None => work(&mut (0..self.segment_rows).filter(is_alive)),
        }
    }
}
