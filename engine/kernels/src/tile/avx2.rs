//! Integer kernels on AVX2: a group is two registers of 8 rows, and a tile is done four
//! rows at a time.

use std::arch::x86_64::*;

use super::{GroupWeights, TileOutputs};
use crate::{
    activations::Slot,
    matrix::{BLOCK, EIGHT_BYTES, FOUR_BYTES, GROUP},
};

/// Rows done at a time, for want of registers.
const STEP: usize = 4;
/// How far ahead of a single row's kernel its weights are fetched.
const PREFETCH_BYTES: usize = 1024;

/// 4-bit weights times `M` rows.
///
/// # Safety
/// See [`super::TileKernel`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn four<const M: usize>(
    weights: &GroupWeights,
    rows: &Slot,
    blocks: usize,
    out: &mut TileOutputs,
) {
    // SAFETY: the caller's promise.
    unsafe {
        for half in 0..2 {
            let mut row = 0;
            while row < M {
                match M - row {
                    1 => four_part::<M, 1>(weights, rows, blocks, half, row, out),
                    2 => four_part::<M, 2>(weights, rows, blocks, half, row, out),
                    3 => four_part::<M, 3>(weights, rows, blocks, half, row, out),
                    _ => four_part::<M, STEP>(weights, rows, blocks, half, row, out),
                }
                row += STEP;
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn four_part<const M: usize, const S: usize>(
    weights: &GroupWeights,
    rows: &Slot,
    blocks: usize,
    half: usize,
    first: usize,
    out: &mut TileOutputs,
) {
    // SAFETY: the caller's promise; all offsets lie within `blocks` blocks. A prefetch may
    // have any address.
    unsafe {
        let low_bits = _mm256_set1_epi8(15);
        let ones = _mm256_set1_epi16(1);
        let mut totals = [_mm256_setzero_ps(); S];
        for block in 0..blocks {
            let bytes = weights.quants.add(block * FOUR_BYTES + half * 32);
            let values = rows.quants.add(block * BLOCK * M + first * 4);
            // A pair of products is at most 2 * 15 * 127; eight of them fit 16 bits.
            let mut sums = [_mm256_setzero_si256(); S];
            for quad in 0..4 {
                let packed = _mm256_loadu_si256(bytes.add(quad * 64).cast());
                if M == 1 {
                    let ahead = bytes.wrapping_add(quad * 64 + PREFETCH_BYTES);
                    _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                }
                let low = _mm256_and_si256(packed, low_bits);
                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(packed), low_bits);
                for (row, sum) in sums.iter_mut().enumerate() {
                    let first = _mm256_maddubs_epi16(low, broadcast(values, quad * M + row));
                    let second =
                        _mm256_maddubs_epi16(high, broadcast(values, (quad + 4) * M + row));
                    *sum = _mm256_add_epi16(*sum, _mm256_add_epi16(first, second));
                }
            }
            let at = block * GROUP + half * 8;
            let scale = load_halves(weights.scales.add(at).cast());
            let offset = load_halves(weights.offsets.add(at).cast());
            for row in 0..S {
                let by = _mm256_set1_ps(rows.scales.add(block * M + first + row).read());
                let sum = _mm256_set1_ps(rows.sums.add(block * M + first + row).read());
                let product = _mm256_cvtepi32_ps(_mm256_madd_epi16(sums[row], ones));
                totals[row] = _mm256_fmadd_ps(product, _mm256_mul_ps(scale, by), totals[row]);
                totals[row] = _mm256_fmadd_ps(offset, sum, totals[row]);
            }
        }
        for (row, total) in totals.iter().enumerate() {
            _mm256_storeu_ps(out.as_mut_ptr().add((first + row) * GROUP + half * 8), *total);
        }
    }
}

/// 8-bit weights times `M` rows.
///
/// # Safety
/// See [`super::TileKernel`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn eight<const M: usize>(
    weights: &GroupWeights,
    rows: &Slot,
    blocks: usize,
    out: &mut TileOutputs,
) {
    // SAFETY: the caller's promise.
    unsafe {
        for half in 0..2 {
            let mut row = 0;
            while row < M {
                match M - row {
                    1 => eight_part::<M, 1>(weights, rows, blocks, half, row, out),
                    2 => eight_part::<M, 2>(weights, rows, blocks, half, row, out),
                    3 => eight_part::<M, 3>(weights, rows, blocks, half, row, out),
                    _ => eight_part::<M, STEP>(weights, rows, blocks, half, row, out),
                }
                row += STEP;
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn eight_part<const M: usize, const S: usize>(
    weights: &GroupWeights,
    rows: &Slot,
    blocks: usize,
    half: usize,
    first: usize,
    out: &mut TileOutputs,
) {
    // SAFETY: the caller's promise; all offsets lie within `blocks` blocks. A prefetch may
    // have any address.
    unsafe {
        let sign = _mm256_set1_epi8(i8::MIN);
        let ones = _mm256_set1_epi16(1);
        let mut totals = [_mm256_setzero_ps(); S];
        for block in 0..blocks {
            let bytes = weights.quants.add(block * EIGHT_BYTES + half * 32);
            let values = rows.quants.add(block * BLOCK * M + first * 4);
            let mut sums = [_mm256_setzero_si256(); S];
            for quad in 0..8 {
                let weight = _mm256_loadu_si256(bytes.add(quad * 64).cast());
                if M == 1 {
                    let ahead = bytes.wrapping_add(quad * 64 + PREFETCH_BYTES);
                    _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                }
                let weight = _mm256_xor_si256(weight, sign);
                // The instruction wants one factor unsigned: the weight's sign goes over to
                // the activation, which is never -128. A pair is at most 2 * 128 * 127.
                let size = _mm256_abs_epi8(weight);
                for (row, sum) in sums.iter_mut().enumerate() {
                    let value = _mm256_sign_epi8(broadcast(values, quad * M + row), weight);
                    let pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(size, value), ones);
                    *sum = _mm256_add_epi32(*sum, pairs);
                }
            }
            let scale = load_halves(weights.scales.add(block * GROUP + half * 8).cast());
            for row in 0..S {
                let by = _mm256_set1_ps(rows.scales.add(block * M + first + row).read());
                let product = _mm256_cvtepi32_ps(sums[row]);
                totals[row] = _mm256_fmadd_ps(product, _mm256_mul_ps(scale, by), totals[row]);
            }
        }
        for (row, total) in totals.iter().enumerate() {
            _mm256_storeu_ps(out.as_mut_ptr().add((first + row) * GROUP + half * 8), *total);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn broadcast(values: *const i8, quad: usize) -> __m256i {
    // SAFETY: the callers' offsets lie within the tile.
    _mm256_set1_epi32(unsafe { values.add(quad * 4).cast::<i32>().read_unaligned() })
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn load_halves(from: *const __m128i) -> __m256 {
    // SAFETY: the callers' offsets lie within the scales.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(from) })
}
