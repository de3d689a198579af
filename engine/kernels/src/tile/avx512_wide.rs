//! Integer kernels on AVX-512 VNNI with int16 activations: see `avx2_wide` for how pairs
//! of 16-bit weights are made.

use std::arch::{asm, x86_64::*};

use super::{
    GroupWeights, TileOutputs,
    avx512::{MOST_CHAINS, SIDE_BY_SIDE, Sums, add_scaled, centred, chains, joined, load, put},
};
use crate::{
    activations::Slot,
    matrix::{BLOCK, EIGHT_BYTES, FOUR_BYTES},
};

/// Bytes of a row's quad.
const QUAD: usize = 8;

/// 4-bit weights times `M` rows.
///
/// # Safety
/// See [`super::TileKernel`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(crate) unsafe fn four<const M: usize>(
    weights: &GroupWeights,
    rows: &Slot,
    blocks: usize,
    out: &mut TileOutputs,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut totals = [_mm512_setzero_ps(); M];
        let mut block = 0;
        while block + SIDE_BY_SIDE <= blocks {
            add_four::<M, SIDE_BY_SIDE>(weights, rows, block, &mut totals);
            block += SIDE_BY_SIDE;
        }
        while block < blocks {
            add_four::<M, 1>(weights, rows, block, &mut totals);
            block += 1;
        }
        put(&totals, out);
    }
}

/// Adds `B` blocks of 4-bit weights times `M` rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn add_four<const M: usize, const B: usize>(
    weights: &GroupWeights,
    rows: &Slot,
    first: usize,
    totals: &mut [__m512; M],
) {
    // SAFETY: the callers' blocks lie within the group and the tile.
    unsafe {
        let mask = _mm512_set1_epi16(15);
        let bytes = weights.quants.add(first * FOUR_BYTES);
        let values = rows.quants.add(first * BLOCK * 2 * M);
        // A block's sum is at most 32 * 15 * 32767.
        let mut sums = [[[_mm512_setzero_si512(); M]; MOST_CHAINS]; B];
        for quad in 0..4 {
            let words: [__m512i; B] =
                std::array::from_fn(|block| load(bytes.add(block * FOUR_BYTES), quad));
            let low = words.map(|words| _mm512_and_si512(words, mask));
            add_pairs::<M, B, 0>(&mut sums, low, values, quad * M);
            let low = words.map(|words| _mm512_and_si512(_mm512_srli_epi16::<8>(words), mask));
            add_pairs::<M, B, 1>(&mut sums, low, values, quad * M);
            let high = words.map(|words| _mm512_and_si512(_mm512_srli_epi16::<4>(words), mask));
            add_pairs::<M, B, 0>(&mut sums, high, values, (quad + 4) * M);
            let high = words.map(|words| _mm512_srli_epi16::<12>(words));
            add_pairs::<M, B, 1>(&mut sums, high, values, (quad + 4) * M);
        }
        for (block, sums) in sums.iter().enumerate() {
            add_scaled::<M, true>(weights, rows, first + block, joined(sums), totals);
        }
    }
}

/// 8-bit weights times `M` rows.
///
/// # Safety
/// See [`super::TileKernel`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(crate) unsafe fn eight<const M: usize>(
    weights: &GroupWeights,
    rows: &Slot,
    blocks: usize,
    out: &mut TileOutputs,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut totals = [_mm512_setzero_ps(); M];
        let mut block = 0;
        while block + SIDE_BY_SIDE <= blocks {
            add_eight::<M, SIDE_BY_SIDE>(weights, rows, block, &mut totals);
            block += SIDE_BY_SIDE;
        }
        while block < blocks {
            add_eight::<M, 1>(weights, rows, block, &mut totals);
            block += 1;
        }
        put(&totals, out);
    }
}

/// Adds `B` blocks of 8-bit weights times `M` rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn add_eight<const M: usize, const B: usize>(
    weights: &GroupWeights,
    rows: &Slot,
    first: usize,
    totals: &mut [__m512; M],
) {
    // SAFETY: the callers' blocks lie within the group and the tile.
    unsafe {
        let mask = _mm512_set1_epi16(255);
        let bytes = weights.quants.add(first * EIGHT_BYTES);
        let values = rows.quants.add(first * BLOCK * 2 * M);
        // A block's sum is at most 32 * 255 * 32767.
        let mut sums: [Sums<M>; B] = std::array::from_fn(|block| centred(rows, first + block));
        for quad in 0..8 {
            let words: [__m512i; B] =
                std::array::from_fn(|block| load(bytes.add(block * EIGHT_BYTES), quad));
            let low = words.map(|words| _mm512_and_si512(words, mask));
            add_pairs::<M, B, 0>(&mut sums, low, values, quad * M);
            let high = words.map(|words| _mm512_srli_epi16::<8>(words));
            add_pairs::<M, B, 1>(&mut sums, high, values, quad * M);
        }
        for (block, sums) in sums.iter().enumerate() {
            add_scaled::<M, false>(weights, rows, first + block, joined(sums), totals);
        }
    }
}

/// Adds pairs of columns of 16 outputs times the rows' pair `WHICH` of a quad, block by block.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn add_pairs<const M: usize, const B: usize, const WHICH: usize>(
    sums: &mut [Sums<M>; B],
    weights: [__m512i; B],
    values: *const i8,
    quad: usize,
) {
    for (block, sums) in sums.iter_mut().enumerate() {
        let pairs = values.wrapping_add(block * BLOCK * 2 * M);
        for (row, sum) in sums[WHICH % chains(M)].iter_mut().enumerate() {
            let pair = pairs.wrapping_add((quad + row) * QUAD + WHICH * QUAD / 2);
            // SAFETY: the callers' offsets lie within the tile.
            *sum = unsafe { dot_pair(*sum, weights[block], pair) };
        }
    }
}

/// `_mm512_dpwssd_epi32` by a pair in memory, kept in one piece: of the intrinsic the compiler
/// makes a product and a sum, twice the work, where it takes the chain of sums for what limits the
/// loop. A broadcast by itself comes out as one of floats, which some processors hand to their
/// integer units at three quarters of the rate.
///
/// # Safety
/// There are four bytes at `pair`.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn dot_pair(mut sum: __m512i, weights: __m512i, pair: *const i8) -> __m512i {
    // SAFETY: the instruction reads what the caller promises and writes the register named.
    unsafe {
        asm!(
            "vpdpwssd {sum}, {weights}, dword ptr [{pair}]{{1to16}}",
            sum = inout(zmm_reg) sum,
            weights = in(zmm_reg) weights,
            pair = in(reg) pair,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    sum
}
