//! Rows of numbers in the batches of an Arrow file, used where they lie in the
//! map.
//!
//! Every batch but the last has [`BATCH_ROWS`] rows and is laid out like the
//! first, so a row's place is arithmetic, and opening looks at the first batch
//! and the last.

use super::arrow_file::ArrowFile;
use crate::{checked::CheckedFile, error::IndexError};
use arrow::{
    array::{Array, ArrowPrimitiveType, AsArray, FixedSizeListArray},
    buffer::ScalarBuffer,
};
use std::{ops::Range, sync::Arc};

/// Rows in every batch but the last, so that a row's place is arithmetic.
pub(super) const BATCH_ROWS: usize = 1 << BATCH_BITS;
const BATCH_BITS: u32 = 13;

/// A column of lists of one length, by row.
///
/// It is on no heap: it is a window into the mapped file, and pages not in use
/// are the operating system's to drop.
#[derive(Debug)]
pub(super) struct Matrix<T: ArrowPrimitiveType> {
    file: Arc<CheckedFile>,
    /// The whole file.
    values: ScalarBuffer<T::Native>,
    columns: usize,
    rows: u32,
    /// Where row 0 starts in `values`.
    start: usize,
    /// Values from a row to the one that is [`BATCH_ROWS`] later.
    stride: usize,
}

impl<T: ArrowPrimitiveType> Matrix<T> {
    const SIZE: usize = size_of::<T::Native>();

    /// Finds the rows of a file's only column.
    pub(super) fn open(
        file: &Arc<CheckedFile>,
        arrow: &ArrowFile,
        columns: usize,
        rows: u32,
    ) -> Result<Self, IndexError> {
        let corrupt = |problem: String| IndexError::corrupt(file.path(), problem);
        let blocks = arrow.blocks();
        if blocks.len() != (rows as usize).div_ceil(BATCH_ROWS) || blocks.is_empty() {
            return Err(corrupt(format!("{} batches do not make up its rows", blocks.len())));
        }
        let first = &blocks[0];
        let stride_bytes = match blocks.get(1) {
            Some(second) => second.offset() - first.offset(),
            None => 0,
        };
        let last = blocks.len() - 1;
        let is_regular = blocks.iter().zip(0..).all(|(block, number)| {
            let is_full = number as usize == last || block.bodyLength() == first.bodyLength();
            is_full
                && block.metaDataLength() == first.metaDataLength()
                && Some(block.offset())
                    == stride_bytes
                        .checked_mul(number)
                        .and_then(|way| first.offset().checked_add(way))
        });
        let stride = usize::try_from(stride_bytes).ok();
        let stride = stride.filter(|stride| is_regular && stride.is_multiple_of(Self::SIZE));
        let Some(stride) = stride else {
            return Err(corrupt("its batches are not laid out alike".to_owned()));
        };
        let length = file.bytes().len() / Self::SIZE;
        let values = ScalarBuffer::new(file.bytes().clone(), 0, length);
        let mut matrix = Self {
            file: Arc::clone(file),
            values,
            columns,
            rows,
            start: 0,
            stride: stride / Self::SIZE,
        };
        matrix.start = matrix.place_of(arrow, 0, BATCH_ROWS.min(rows as usize))?;
        let last_rows = rows as usize - last * BATCH_ROWS;
        if matrix.place_of(arrow, last, last_rows)? != matrix.start + last * matrix.stride {
            return Err(corrupt("its last batch is not where it should be".to_owned()));
        }
        Ok(matrix)
    }

    /// Decodes a batch and returns where its values lie in the file.
    fn place_of(&self, arrow: &ArrowFile, number: usize, rows: usize) -> Result<usize, IndexError> {
        let batch = arrow.decode(number)?;
        let lists: &FixedSizeListArray = batch.column(0).as_fixed_size_list();
        let values = lists.values().as_primitive::<T>().values();
        let bytes = self.file.bytes();
        let place = (values.inner().as_ptr() as usize).checked_sub(bytes.as_ptr() as usize);
        let place = place.filter(|&place| {
            batch.num_rows() == rows
                && lists.null_count() == 0
                && values.len() == rows * self.columns
                && place.is_multiple_of(Self::SIZE)
                && place + values.len() * Self::SIZE <= bytes.len()
        });
        let problem = || IndexError::corrupt(arrow.path(), format!("batch {number} is not full"));
        place.map(|place| place / Self::SIZE).ok_or_else(problem)
    }

    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Returns a row in place, whether it was verified or not.
    #[inline]
    pub(super) fn row(&self, row: u32) -> &[T::Native] {
        let start = self.place(row);
        &self.values[start..start + self.columns]
    }

    /// Tells whether all of it has been verified, and so was in memory once.
    #[inline]
    pub(super) fn is_whole(&self) -> bool {
        self.file.is_whole()
    }

    /// Verifies rows that have not been; raises the alarm if one is damaged.
    #[inline]
    pub(super) fn check(&self, rows: &[u32]) -> bool {
        self.is_whole() || self.check_each(rows)
    }

    #[cold]
    fn check_each(&self, rows: &[u32]) -> bool {
        // All are on their way from the disk before the first is waited for.
        rows.iter().for_each(|&row| self.file.will_need(self.bytes_of(row)));
        rows.iter().all(|&row| self.file.is_sound(self.bytes_of(row)))
    }

    fn bytes_of(&self, row: u32) -> Range<usize> {
        let start = self.place(row) * Self::SIZE;
        start..start + self.columns * Self::SIZE
    }

    /// Verifies everything, unless `is_over` says so first.
    pub(super) fn check_all(&self, is_over: &dyn Fn() -> bool) -> Result<(), IndexError> {
        if self.file.check_all(is_over)? {
            self.file.set_whole();
        }
        Ok(())
    }

    #[inline]
    fn place(&self, row: u32) -> usize {
        let (batch, slot) = ((row >> BATCH_BITS) as usize, row as usize & (BATCH_ROWS - 1));
        self.start + batch * self.stride + slot * self.columns
    }
}
