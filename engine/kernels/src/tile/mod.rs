//! One group of 16 outputs times one tile of up to 8 rows: where the time goes.
//!
//! Every kernel sums a row's blocks in the same order whatever the tile's width, so a
//! row's outputs do not depend on the rows beside it.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_rows;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2_wide;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512_wide;
mod dense;
pub(crate) mod portable;
pub(crate) mod portable_wide;
#[cfg(test)]
mod tests;

use std::ops::{Deref, DerefMut};

use half::f16;

pub(crate) use dense::dense;

use crate::{
    activations::{Slot, TILE},
    matrix::{BLOCK, Data, EIGHT_BYTES, FOUR_BYTES, GROUP, Matrix},
};

/// Outputs of one tile: 16 for each row, row after row, each row in a cache line of its own: what
/// crosses one comes back late to those who add to it.
#[repr(C, align(64))]
pub(crate) struct TileOutputs([f32; TILE * GROUP]);

impl Default for TileOutputs {
    fn default() -> Self {
        Self([0.0; TILE * GROUP])
    }
}

impl Deref for TileOutputs {
    type Target = [f32; TILE * GROUP];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for TileOutputs {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// A kernel: the group's weights, the rows, the blocks of a row, and the outputs.
///
/// # Safety
/// The pointers must hold `blocks` blocks of the kernel's format, the rows as many as the
/// kernel is for, and the instruction set must be there.
pub(crate) type TileKernel = unsafe fn(&GroupWeights, &Slot, usize, &mut TileOutputs);

/// Where a group's weights lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupWeights {
    pub(crate) quants: *const u8,
    pub(crate) scales: *const f16,
    pub(crate) offsets: *const f16,
    pub(crate) values: *const f32,
}

impl GroupWeights {
    /// Finds a group of a matrix.
    pub(crate) fn of(matrix: &Matrix, group: usize) -> Self {
        assert!(group < matrix.groups(), "a group of the matrix");
        let block = group * matrix.blocks();
        let null = std::ptr::null();
        // SAFETY: the group lies within the buffers, which `pack` sized by groups.
        unsafe {
            match &matrix.data {
                Data::Four { quants, scales, offsets } => Self {
                    quants: quants.as_ptr().add(block * FOUR_BYTES),
                    scales: scales.as_ptr().add(block * GROUP),
                    offsets: offsets.as_ptr().add(block * GROUP),
                    values: std::ptr::null(),
                },
                Data::Eight { quants, scales } => Self {
                    quants: quants.as_ptr().add(block * EIGHT_BYTES),
                    scales: scales.as_ptr().add(block * GROUP),
                    offsets: null,
                    values: std::ptr::null(),
                },
                Data::Dense { values } => Self {
                    quants: std::ptr::null(),
                    scales: null,
                    offsets: null,
                    values: values.as_ptr().add(block * BLOCK * GROUP),
                },
            }
        }
    }
}
