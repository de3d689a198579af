//! The f32 kernel.

use super::{GroupWeights, TileOutputs};
use crate::{
    activations::Slot,
    lanes::Lanes,
    matrix::{BLOCK, GROUP},
};

/// Rows done at a time, for want of registers.
const STEP: usize = 4;

/// f32 weights times `M` rows.
///
/// # Safety
/// See [`super::TileKernel`].
#[inline(always)]
pub(crate) unsafe fn dense<V: Lanes, const M: usize>(
    weights: &GroupWeights,
    rows: &Slot,
    blocks: usize,
    out: &mut TileOutputs,
) {
    let columns = blocks * BLOCK;
    let mut first = 0;
    while first < M {
        // SAFETY: the caller's promise.
        unsafe {
            match M - first {
                1 => part::<V, M, 1>(weights, rows, columns, first, out),
                2 => part::<V, M, 2>(weights, rows, columns, first, out),
                3 => part::<V, M, 3>(weights, rows, columns, first, out),
                _ => part::<V, M, STEP>(weights, rows, columns, first, out),
            }
        }
        first += STEP;
    }
}

#[inline(always)]
unsafe fn part<V: Lanes, const M: usize, const S: usize>(
    weights: &GroupWeights,
    rows: &Slot,
    columns: usize,
    first: usize,
    out: &mut TileOutputs,
) {
    // SAFETY: the caller's promise; `WIDTH` divides the group.
    unsafe {
        // A group is one or two registers; the second stays unused when one is enough.
        let registers = GROUP / V::WIDTH;
        let mut sums = [[V::splat(0.0); 2]; S];
        for column in 0..columns {
            let values = rows.dense.add(column * M + first);
            let mut group = [V::splat(0.0); 2];
            for (register, weight) in group.iter_mut().enumerate().take(registers) {
                *weight = V::load(weights.values.add(column * GROUP + register * V::WIDTH));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = V::splat(values.add(row).read());
                for (sum, weight) in sums.iter_mut().zip(group).take(registers) {
                    *sum = value.mul_add(weight, *sum);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (register, sum) in sums.iter().enumerate().take(registers) {
                let at = (first + row) * GROUP + register * V::WIDTH;
                sum.store(out.as_mut_ptr().add(at));
            }
        }
    }
}
