//! Which rows of a segment a search may find.

use crate::graph::Admission;
use roaring::RoaringBitmap;
use std::sync::Arc;

/// The rows that match a filter: as a set, and as a bit for each row, which is
/// what a walk asks thousands of times.
#[derive(Debug)]
pub(crate) struct Matching {
    rows: RoaringBitmap,
    bits: Vec<u64>,
    /// Rows from all over the segment.
    sample: Vec<u32>,
}

/// Rows of a sample.
const SAMPLE: u64 = 24;

impl Matching {
    pub(crate) fn new(rows: RoaringBitmap, segment_rows: u32) -> Self {
        let mut bits = vec![0_u64; (segment_rows as usize).div_ceil(64)];
        for row in &rows {
            bits[row as usize / 64] |= 1 << (row % 64);
        }
        let step = (rows.len() / SAMPLE).max(1);
        let sample = (0..SAMPLE).map_while(|number| rows.select((number * step) as u32)).collect();
        Self { rows, bits, sample }
    }

    pub(crate) fn rows(&self) -> &RoaringBitmap {
        &self.rows
    }

    #[inline]
    fn contains(&self, row: u32) -> bool {
        self.bits[row as usize / 64] >> (row % 64) & 1 == 1
    }

    /// Bytes of heap it takes up.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.serialized_size() + size_of_val(&*self.bits) + size_of_val(&*self.sample)
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

    /// Returns some admitted rows from all over the segment.
    pub(crate) fn sample(&self) -> impl Iterator<Item = u32> {
        let sample = self.matching.as_ref().map_or(&[][..], |matching| &matching.sample);
        sample.iter().copied().filter(|&row| self.admits(row))
    }

    /// Hands out the admitted rows in ascending order.
    pub(crate) fn with_rows<T>(&self, work: impl FnOnce(&mut dyn Iterator<Item = u32>) -> T) -> T {
        let is_alive = |row: &u32| self.dead.is_none_or(|dead| !dead.contains(*row));
        match &self.matching {
            Some(matching) => work(&mut matching.rows.iter().filter(is_alive)),
            None => work(&mut (0..self.segment_rows).filter(is_alive)),
        }
    }
}

impl Admission for Admitted<'_> {
    #[inline]
    fn admits(&self, row: u32) -> bool {
        self.matching.as_ref().is_none_or(|matching| matching.contains(row))
            && self.dead.is_none_or(|dead| !dead.contains(row))
    }

    /// The dead are among them.
    #[inline]
    fn word(&self, number: usize) -> u64 {
        self.matching.as_ref().map_or(u64::MAX, |matching| matching.bits[number])
    }

    fn count(&self) -> u64 {
        self.count
    }
}
