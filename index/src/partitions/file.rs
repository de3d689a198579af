//! `partitions.bin`: which rows lie close together, used where they lie in the map.
//!
//! Sections: 0. the means of the partitions as f32, in blocks (see [`crate::simd`]); 1. where
//! the rows of each partition start in the next, u32, one more than there are partitions;
//! 2. all rows, u32, those of one partition after those of another; 3. the step of each column
//! as f32; 4. the codes of the rows in that order (see [`super::codes`]).

use super::{codes::Codes, training};
use crate::{
    checked::{CheckedArray, CheckedFile, Links},
    error::IndexError,
    graph::Stop,
    manifest::FileEntry,
    segment::{
        Vectors,
        sections::{SectionKind, SectionWriter, Sections},
    },
    simd::{BLOCK_ROWS, nibble_bytes, to_blocks},
};
use std::{ops::Range, path::Path, sync::Arc};

/// The partitions of a segment, mapped.
///
/// Where a part of the file is damaged, what is returned of it is empty and the segment's
/// alarm is raised (see [`crate::checked`]).
#[derive(Debug)]
pub(crate) struct Partitions {
    file: Arc<CheckedFile>,
    centroids: CheckedArray<f32>,
    starts: CheckedArray<u32>,
    order: Links,
    steps: CheckedArray<f32>,
    codes: CheckedArray<u8>,
    rows: usize,
}

impl Partitions {
    /// Partitions the rows of a segment and writes that, fsynced.
    pub(super) fn write(
        path: &Path,
        vectors: &Vectors,
        stop: &Stop,
    ) -> Result<FileEntry, IndexError> {
        let partitioned = training::partition(vectors, stop)?;
        let Codes { steps, bytes } = Codes::new(vectors, &partitioned);
        let mut file = SectionWriter::new(SectionKind::Partitions);
        let centroids = to_blocks(&partitioned.means, vectors.dimension());
        file.push(bytemuck::cast_slice(&centroids));
        file.push(bytemuck::cast_slice(&partitioned.starts));
        file.push(bytemuck::cast_slice(&partitioned.order));
        file.push(bytemuck::cast_slice(&steps));
        file.push(&bytes);
        file.write(path)
    }

    /// Finds the partitions in a mapped file.
    pub(crate) fn open(
        file: &Arc<CheckedFile>,
        dimension: usize,
        rows: u32,
    ) -> Result<Self, IndexError> {
        let sections = Sections::read(file, SectionKind::Partitions)?;
        let (centroids, starts) = (sections.array::<f32>(0)?, sections.array::<u32>(1)?);
        let (order, steps) = (sections.array::<u32>(2)?, sections.array::<f32>(3)?);
        let codes = sections.array::<u8>(4)?;
        let count = starts.len().saturating_sub(1);
        let is_sound = count > 0
            && count.is_multiple_of(BLOCK_ROWS)
            && count.checked_mul(dimension) == Some(centroids.len())
            && order.len() == rows as usize
            && steps.len() == dimension
            && codes.len() == rows as usize * nibble_bytes(dimension)
            && starts.slice(count..count + 1) == Some(&[rows]);
        if !is_sound {
            let problem = format!("its partitions are not those of {rows} rows");
            return Err(IndexError::corrupt(file.path(), problem));
        }
        let rows = rows as usize;
        Ok(Self {
            file: Arc::clone(file),
            centroids,
            starts,
            order: Links::new(order, rows),
            steps,
            codes,
            rows,
        })
    }

    /// Returns how many partitions there are.
    pub(crate) fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// Returns the means of all partitions, in blocks.
    pub(super) fn centroids(&self) -> &[f32] {
        self.centroids.read(0..self.centroids.len())
    }

    /// Returns the places of a partition's rows in the order of all, whose codes are sound.
    #[inline]
    pub(super) fn places(&self, partition: u32) -> Range<usize> {
        let partition = partition as usize;
        let &[start, end] = self.starts.read(partition..partition + 2) else { return 0..0 };
        let width = nibble_bytes(self.steps.len());
        let (start, end) = (start as usize, end as usize);
        match self.codes.slice(start * width..end * width) {
            Some(_) => start..end,
            None => 0..0,
        }
    }

    /// Returns the row at a place.
    #[inline]
    pub(super) fn row_at(&self, place: u32) -> u32 {
        self.order.at(place as usize)
    }

    /// Returns the codes of all rows, those of [`Self::places`] verified.
    #[inline]
    pub(super) fn codes(&self) -> &[u8] {
        self.codes.unchecked()
    }

    /// Returns what the numbers of codes stand for, by column.
    pub(super) fn steps(&self) -> &[f32] {
        self.steps.read(0..self.steps.len())
    }

    /// Turns a bit for each row into a bit for each place.
    pub(crate) fn in_order(&self, bits: &[u64]) -> Vec<u64> {
        let words = self.order.read(0..self.rows).chunks(64);
        let bit = |row: u32| bits[row as usize / 64] >> (row % 64) & 1;
        let word = |rows: &[u32]| {
            rows.iter().enumerate().fold(0, |word, (at, &row)| word | bit(row) << at)
        };
        words.map(word).collect()
    }

    /// Verifies everything, unless `is_over` says so first.
    pub(crate) fn check_all(&self, is_over: &dyn Fn() -> bool) -> Result<(), IndexError> {
        if self.file.is_whole() || !self.file.check_all(is_over)? {
            return Ok(());
        }
        if self.starts.unchecked().is_sorted() && self.order.are_sound() {
            self.file.set_whole();
        } else {
            self.file.raise("its partitions are not of its rows");
        }
        Ok(())
    }
}
