//! Integer kernels in plain Rust with int16 activations.

use super::{
    GroupWeights, TileOutputs,
    portable::{Quads, eight_of, four_of},
};
use crate::{activations::Slot, matrix::BLOCK};

/// 4-bit weights times `M` rows of int16.
///
/// # Safety
/// See [`super::TileKernel`].
pub(crate) unsafe fn four<const M: usize>(
    weights: &GroupWeights,
    rows: &Slot,
    blocks: usize,
    out: &mut TileOutputs,
) {
    // SAFETY: the caller's promise.
    unsafe { four_of::<Wide, M>(weights, rows, blocks, out) }
}

/// 8-bit weights times `M` rows of int16.
///
/// # Safety
/// See [`super::TileKernel`].
pub(crate) unsafe fn eight<const M: usize>(
    weights: &GroupWeights,
    rows: &Slot,
    blocks: usize,
    out: &mut TileOutputs,
) {
    // SAFETY: the caller's promise.
    unsafe { eight_of::<Wide, M>(weights, rows, blocks, out) }
}

/// int16, of whose four columns the middle two lie in each other's place.
struct Wide;

impl Quads for Wide {
    unsafe fn read<const M: usize>(rows: &Slot, block: usize, quad: usize, row: usize) -> [i32; 4] {
        // SAFETY: the caller's promise.
        let [first, third, second, fourth] = unsafe {
            let quants = rows.quants.cast::<[i16; 4]>();
            quants.add(block * (BLOCK / 4) * M + quad * M + row).read_unaligned()
        };
        [first, second, third, fourth].map(i32::from)
    }
}
