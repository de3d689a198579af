//! Weight matrices, packed for the kernels.
//!
//! Rows come in groups of 16, and columns in blocks of 32. Within a group the rows are
//! interleaved in quads of columns, so that one vector register holds four columns of 16
//! rows and a product with one broadcast quad of activations advances 16 outputs.
//!
//! A matrix may be several linears with the same input, stacked. Each starts on a group
//! of its own; the rows between are zero.

mod pack;
mod scale;
mod source;

use half::f16;

pub use source::{BlockFormat, Precision, Source};

use crate::{buffer::Buffer, error::KernelError};

/// Rows that are computed together.
pub(crate) const GROUP: usize = 16;
/// Columns that share a scale.
pub(crate) const BLOCK: usize = 32;
/// Bytes of a group's block in 4 bits.
pub(crate) const FOUR_BYTES: usize = GROUP * BLOCK / 2;
/// Bytes of a group's block in 8 bits.
pub(crate) const EIGHT_BYTES: usize = GROUP * BLOCK;

/// A weight matrix, `[out, in]`.
#[derive(Debug)]
pub struct Matrix {
    /// Outputs of each stacked part.
    parts: Vec<usize>,
    columns: usize,
    pub(crate) data: Data,
}

/// The packed weights.
#[derive(Debug)]
pub(crate) enum Data {
    /// `w = scale * q + offset` with `q` from 0 to 15. A byte holds a column of the
    /// block's first half in its low bits and the one 16 columns on in its high bits.
    Four { quants: Buffer<u8>, scales: Buffer<f16>, offsets: Buffer<f16> },
    /// `w = scale * (q - 128)` with `q` from 0 to 255.
    Eight { quants: Buffer<u8>, scales: Buffer<f16> },
    /// Column by column, 16 rows each.
    Dense { values: Buffer<f32> },
}

impl Matrix {
    /// Packs the rows of `parts`, stacked. What is stored in 4-bit blocks stays as it is
    /// unless `precision` asks otherwise.
    ///
    /// # Errors
    /// Refuses parts of different widths, sizes that are zero or do not match the stored
    /// values, and weights that are not finite.
    pub fn pack(parts: &[Source<'_>], precision: Precision) -> Result<Self, KernelError> {
        pack::pack(parts, precision)
    }

    /// Inputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Outputs of all parts, padding included: 16 times the groups.
    pub fn padded_rows(&self) -> usize {
        self.groups() * GROUP
    }

    /// Outputs of each stacked part.
    pub(crate) fn parts(&self) -> &[usize] {
        &self.parts
    }

    /// The output at which part `index` starts.
    pub(crate) fn part_start(&self, index: usize) -> usize {
        self.parts[..index].iter().map(|rows| rows.next_multiple_of(GROUP)).sum()
    }

    /// For a group that starts at `padded`: its first output where parts follow one another
    /// without padding, and how many of its 16 outputs are not padding.
    pub(crate) fn unpadded(&self, padded: usize) -> (usize, usize) {
        let (mut start, mut first) = (padded, 0);
        for &rows in &self.parts {
            if start < rows {
                return (first + start, (rows - start).min(GROUP));
            }
            start -= rows.next_multiple_of(GROUP);
            first += rows;
        }
        (first, 0)
    }

    /// Bytes the weights take.
    pub fn bytes(&self) -> usize {
        match &self.data {
            Data::Four { quants, scales, offsets } => {
                quants.len() + 2 * (scales.len() + offsets.len())
            }
            Data::Eight { quants, scales } => quants.len() + 2 * scales.len(),
            Data::Dense { values } => 4 * values.len(),
        }
    }

    /// Tells whether activations are to be quantised for it.
    pub(crate) fn is_quantised(&self) -> bool {
        !matches!(self.data, Data::Dense { .. })
    }

    /// How it is packed.
    pub(crate) fn precision(&self) -> Precision {
        match self.data {
            Data::Four { .. } => Precision::Four,
            Data::Eight { .. } => Precision::Eight,
            Data::Dense { .. } => Precision::Dense,
        }
    }

    pub(crate) fn groups(&self) -> usize {
        self.parts.iter().map(|rows| rows.div_ceil(GROUP)).sum()
    }

    /// Blocks of a row.
    pub(crate) fn blocks(&self) -> usize {
        self.columns.div_ceil(BLOCK)
    }

    /// Unpacks row `index` of the first part into `out`.
    ///
    /// # Panics
    /// Panics when there is no such row or `out` is not as long as a row.
    pub fn row(&self, index: usize, out: &mut [f32]) {
        assert!(index < self.parts[0] && out.len() == self.columns, "a row of the matrix");
        let (group, lane) = (index / GROUP, index % GROUP);
        for (column, value) in out.iter_mut().enumerate() {
            let block = group * self.blocks() + column / BLOCK;
            *value = match &self.data {
                Data::Four { quants, scales, offsets } => {
                    let byte = quants[block * FOUR_BYTES + quad_byte(column % 16, lane)];
                    let q = if column % BLOCK < 16 { byte & 15 } else { byte >> 4 };
                    let at = block * GROUP + lane;
                    f32::from(q).mul_add(scales[at].to_f32(), offsets[at].to_f32())
                }
                Data::Eight { quants, scales } => {
                    let byte = quants[block * EIGHT_BYTES + quad_byte(column % BLOCK, lane)];
                    let q = (byte ^ 0x80).cast_signed();
                    f32::from(q) * scales[block * GROUP + lane].to_f32()
                }
                Data::Dense { values } => {
                    values[(group * self.blocks() * BLOCK + column) * GROUP + lane]
                }
            };
        }
    }
}

/// Where the byte for a column of a block lies, in a group of interleaved rows.
fn quad_byte(column: usize, lane: usize) -> usize {
    column / 4 * (GROUP * 4) + lane * 4 + column % 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Random, q4_1_rows};

    #[test]
    fn four_bit_blocks_are_kept_without_loss() {
        let (rows, columns) = (21, 96);
        let (bytes, values) = q4_1_rows(&mut Random::new(1), rows, columns);
        let source = Source::blocks(BlockFormat::Q4_1, rows, columns, |row| {
            &bytes[row * columns / 32 * 20..(row + 1) * columns / 32 * 20]
        });
        let matrix = Matrix::pack(&[source], Precision::AsStored).expect("packs");
        let mut out = vec![0.0; columns];
        for row in 0..rows {
            matrix.row(row, &mut out);
            for (got, want) in out.iter().zip(&values[row * columns..]) {
                assert!((got - want).abs() <= 1e-6 * want.abs().max(1.0), "{got} {want}");
            }
        }
    }

    #[test]
    fn dense_rows_quantise_within_half_a_step() {
        let (rows, columns) = (16, 80);
        let values = Random::new(2).values(rows * columns);
        for (precision, steps) in
            [(Precision::Dense, f32::INFINITY), (Precision::Eight, 254.0), (Precision::Four, 15.0)]
        {
            let source = Source::dense(rows, columns, values.clone());
            let matrix = Matrix::pack(&[source], precision).expect("packs");
            let read = |row: usize, out: &mut [f32]| {
                out.copy_from_slice(&values[row * columns..(row + 1) * columns]);
            };
            let source = Source::rows(rows, columns, read);
            let by_row = Matrix::pack(&[source], precision).expect("packs");
            let (mut out, mut other) = (vec![0.0; columns], vec![0.0; columns]);
            for row in 0..rows {
                matrix.row(row, &mut out);
                by_row.row(row, &mut other);
                assert_eq!(out, other, "{precision:?}: read row by row");
                let want = &values[row * columns..(row + 1) * columns];
                for (out, want) in out.chunks(BLOCK).zip(want.chunks(BLOCK)) {
                    let span = 2.0 * want.iter().fold(0.0_f32, |max, v| max.max(v.abs()));
                    let bound = span / steps * 0.51 + span * 1e-3 / steps.min(15.0) * 15.0;
                    for (got, want) in out.iter().zip(want) {
                        assert!((got - want).abs() <= bound, "{precision:?}: {got} {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn weights_that_are_not_finite_are_refused() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut values = vec![1.0; 64];
            values[40] = bad;
            for precision in [Precision::Dense, Precision::Eight, Precision::Four] {
                let source = Source::dense(2, 32, values.clone());
                assert!(Matrix::pack(&[source], precision).is_err());
                let read = |_: usize, out: &mut [f32]| out.fill(bad);
                assert!(Matrix::pack(&[Source::rows(2, 32, read)], precision).is_err());
            }
        }
    }

    #[test]
    fn parts_must_fit_together() {
        let part = |columns| Source::dense(1, columns, vec![0.5; columns]);
        assert!(Matrix::pack(&[part(32), part(64)], Precision::Eight).is_err());
        assert!(Matrix::pack(&[], Precision::Eight).is_err());
        let short = Source::dense(2, 32, vec![0.5; 32]);
        assert!(Matrix::pack(&[short], Precision::Eight).is_err());
        let matrix = Matrix::pack(&[part(32), part(32)], Precision::Eight).expect("packs");
        assert_eq!((matrix.padded_rows(), matrix.part_start(1)), (32, 16));
    }
}
