//! Integer kernels in plain Rust with int16 activations.

use super::{GroupWeights, TileOutputs};
use crate::{
    activations::Slot,
    matrix::{BLOCK, EIGHT_BYTES, FOUR_BYTES, GROUP},
};

/// 4-bit weights times `M` rows.
///
/// # Safety
/// See [`super::TileKernel`].
pub(crate) unsafe fn four<const M: usize>(
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
                    let low = read_quad::<M>(rows, block, quad, row);
                    let high = read_quad::<M>(rows, block, quad + 4, row);
                    for (lane, sum) in sums.iter_mut().enumerate() {
                        let bytes = bytes.add(lane * 4).cast::<[u8; 4]>().read();
                        for i in 0..4 {
                            *sum += i32::from(bytes[i] & 15) * i32::from(low[i]);
                            *sum += i32::from(bytes[i] >> 4) * i32::from(high[i]);
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

/// 8-bit weights times `M` rows.
///
/// # Safety
/// See [`super::TileKernel`].
pub(crate) unsafe fn eight<const M: usize>(
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
                    let values = read_quad::<M>(rows, block, quad, row);
                    for (lane, sum) in sums.iter_mut().enumerate() {
                        let bytes = bytes.add(lane * 4).cast::<[u8; 4]>().read();
                        for i in 0..4 {
                            let weight = (bytes[i] ^ 0x80).cast_signed();
                            *sum += i32::from(weight) * i32::from(values[i]);
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

/// Reads four neighbouring columns of a row, whose middle two lie in each other's place.
///
/// # Safety
/// The block and row must lie within the tile.
unsafe fn read_quad<const M: usize>(
    rows: &Slot,
    block: usize,
    quad: usize,
    row: usize,
) -> [i16; 4] {
    // SAFETY: the caller's promise.
    let [first, third, second, fourth] = unsafe {
        let quants = rows.quants.cast::<[i16; 4]>();
        quants.add(block * (BLOCK / 4) * M + quad * M + row).read_unaligned()
    };
    [first, second, third, fourth]
}
