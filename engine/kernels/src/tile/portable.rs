//! Integer kernels in plain Rust: the loops for both forms of activations, and int8's own.

use super::{GroupWeights, TileOutputs};
use crate::{
    activations::Slot,
    matrix::{BLOCK, EIGHT_BYTES, FOUR_BYTES, GROUP},
};

/// 4-bit weights times `M` rows of int8.
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
    unsafe { four_of::<Narrow, M>(weights, rows, blocks, out) }
}

/// 4-bit weights times `M` rows whose columns `Q` reads.
///
/// # Safety
/// See [`super::TileKernel`].
pub(super) unsafe fn four_of<Q: Quads, const M: usize>(
    weights: &GroupWeights,
    rows: &Slot,
    blocks: usize,
    out: &mut TileOutputs,
) {
    // SAFETY: the caller's promise; all offsets lie within `blocks` blocks.
    unsafe {
        out[..M * GROUP].fill(0.0);
        for block in 0..blocks {
            let mut sums = [[0_i32; GROUP]; M];
            for quad in 0..4 {
                let bytes = weights.quants.add(block * FOUR_BYTES + quad * GROUP * 4);
                for (row, sums) in sums.iter_mut().enumerate() {
                    let low = Q::read::<M>(rows, block, quad, row);
                    let high = Q::read::<M>(rows, block, quad + 4, row);
                    for (lane, sum) in sums.iter_mut().enumerate() {
                        let bytes = bytes.add(lane * 4).cast::<[u8; 4]>().read();
                        for i in 0..4 {
                            *sum += i32::from(bytes[i] & 15) * low[i];
                            *sum += i32::from(bytes[i] >> 4) * high[i];
                        }
                    }
                }
            }
            let scales = weights.scales.add(block * GROUP);
            let offsets = weights.offsets.add(block * GROUP);
            for (row, sums) in sums.iter().enumerate() {
                let scale = rows.scales.add(block * M + row).read();
                let total = rows.sums.add(block * M + row).read();
                for (lane, sum) in sums.iter().enumerate() {
                    let weight = scales.add(lane).read().to_f32() * scale;
                    let offset = offsets.add(lane).read().to_f32() * total;
                    out[row * GROUP + lane] += *sum as f32 * weight + offset;
                }
            }
        }
    }
}

/// 8-bit weights times `M` rows of int8.
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
    unsafe { eight_of::<Narrow, M>(weights, rows, blocks, out) }
}

/// 8-bit weights times `M` rows whose columns `Q` reads.
///
/// # Safety
/// See [`super::TileKernel`].
pub(super) unsafe fn eight_of<Q: Quads, const M: usize>(
    weights: &GroupWeights,
    rows: &Slot,
    blocks: usize,
    out: &mut TileOutputs,
) {
    // SAFETY: the caller's promise; all offsets lie within `blocks` blocks.
    unsafe {
        out[..M * GROUP].fill(0.0);
        for block in 0..blocks {
            let mut sums = [[0_i32; GROUP]; M];
            for quad in 0..8 {
                let bytes = weights.quants.add(block * EIGHT_BYTES + quad * GROUP * 4);
                for (row, sums) in sums.iter_mut().enumerate() {
                    let values = Q::read::<M>(rows, block, quad, row);
                    for (lane, sum) in sums.iter_mut().enumerate() {
                        let bytes = bytes.add(lane * 4).cast::<[u8; 4]>().read();
                        for i in 0..4 {
                            let weight = (bytes[i] ^ 0x80).cast_signed();
                            *sum += i32::from(weight) * values[i];
                        }
                    }
                }
            }
            let scales = weights.scales.add(block * GROUP);
            for (row, sums) in sums.iter().enumerate() {
                let scale = rows.scales.add(block * M + row).read();
                for (lane, sum) in sums.iter().enumerate() {
                    let weight = scales.add(lane).read().to_f32() * scale;
                    out[row * GROUP + lane] += *sum as f32 * weight;
                }
            }
        }
    }
}

/// Activations as a tile stores them.
pub(super) trait Quads {
    /// Reads four neighbouring columns of a row.
    ///
    /// # Safety
    /// The block and row must lie within the tile.
    unsafe fn read<const M: usize>(rows: &Slot, block: usize, quad: usize, row: usize) -> [i32; 4];
}

/// int8.
struct Narrow;

impl Quads for Narrow {
    unsafe fn read<const M: usize>(rows: &Slot, block: usize, quad: usize, row: usize) -> [i32; 4] {
        // SAFETY: the caller's promise.
        let quad: [i8; 4] = unsafe {
            let at = block * BLOCK * M + (quad * M + row) * 4;
            rows.quants.add(at).cast::<[i8; 4]>().read_unaligned()
        };
        quad.map(i32::from)
    }
}
