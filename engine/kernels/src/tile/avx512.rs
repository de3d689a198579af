//! Integer kernels on AVX-512 VNNI with int8 activations: one instruction multiplies 64 pairs of bytes.

use std::arch::x86_64::*;

use super::{GroupWeights, TileOutputs};
use crate::{
    activations::Slot,
    matrix::{BLOCK, EIGHT_BYTES, FOUR_BYTES, GROUP},
};

/// How far ahead of a kernel its weights are fetched.
pub(super) const PREFETCH_BYTES: usize = 2048;

/// Sums of a row that a kernel keeps apart. With few rows each product would else wait for the
/// one before; with many there are enough to do, and no registers to spare.
pub(super) const fn chains(rows: usize) -> usize {
    if rows <= 2 { MOST_CHAINS } else { 1 }
}

/// The most that [`chains`] says.
pub(super) const MOST_CHAINS: usize = 4;

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
    // SAFETY: the caller's promise; all offsets lie within `blocks` blocks. A prefetch may
    // have any address.
    unsafe {
        let low_bits = _mm512_set1_epi8(15);
        let mut totals = [_mm512_setzero_ps(); M];
        for block in 0..blocks {
            let bytes = weights.quants.add(block * FOUR_BYTES);
            let values = rows.quants.add(block * BLOCK * M);
            let mut sums = [[_mm512_setzero_si512(); M]; MOST_CHAINS];
            for quad in 0..4 {
                let packed = _mm512_loadu_si512(bytes.add(quad * 64).cast());
                let ahead = bytes.wrapping_add(quad * 64 + PREFETCH_BYTES);
                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                let low = _mm512_and_si512(packed, low_bits);
                let high = _mm512_and_si512(_mm512_srli_epi16::<4>(packed), low_bits);
                for (row, sum) in sums[quad % chains(M)].iter_mut().enumerate() {
                    let first = broadcast(values, quad * M + row);
                    let second = broadcast(values, (quad + 4) * M + row);
                    *sum = _mm512_dpbusd_epi32(*sum, low, first);
                    *sum = _mm512_dpbusd_epi32(*sum, high, second);
                }
            }
            let sums = joined(&sums);
            let scale = load_halves(weights.scales.add(block * GROUP).cast());
            let offset = load_halves(weights.offsets.add(block * GROUP).cast());
            for row in 0..M {
                let by = _mm512_set1_ps(rows.scales.add(block * M + row).read());
                let sum = _mm512_set1_ps(rows.sums.add(block * M + row).read());
                let product = _mm512_cvtepi32_ps(sums[row]);
                totals[row] = _mm512_fmadd_ps(product, _mm512_mul_ps(scale, by), totals[row]);
                totals[row] = _mm512_fmadd_ps(offset, sum, totals[row]);
            }
        }
        for (row, total) in totals.iter().enumerate() {
            _mm512_storeu_ps(out.as_mut_ptr().add(row * GROUP), *total);
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
    // SAFETY: the caller's promise; all offsets lie within `blocks` blocks. A prefetch may
    // have any address.
    unsafe {
        let mut totals = [_mm512_setzero_ps(); M];
        for block in 0..blocks {
            let bytes = weights.quants.add(block * EIGHT_BYTES);
            let values = rows.quants.add(block * BLOCK * M);
            // The weights are stored 128 too large; that is taken off in advance.
            let mut sums = [[_mm512_setzero_si512(); M]; MOST_CHAINS];
            for (row, sum) in sums[0].iter_mut().enumerate() {
                *sum = _mm512_set1_epi32(-128 * rows.totals.add(block * M + row).read());
            }
            for quad in 0..8 {
                let weight = _mm512_loadu_si512(bytes.add(quad * 64).cast());
                let ahead = bytes.wrapping_add(quad * 64 + PREFETCH_BYTES);
                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                for (row, sum) in sums[quad % chains(M)].iter_mut().enumerate() {
                    *sum = _mm512_dpbusd_epi32(*sum, weight, broadcast(values, quad * M + row));
                }
            }
            let sums = joined(&sums);
            let scale = load_halves(weights.scales.add(block * GROUP).cast());
            for row in 0..M {
                let by = _mm512_set1_ps(rows.scales.add(block * M + row).read());
                let product = _mm512_cvtepi32_ps(sums[row]);
                totals[row] = _mm512_fmadd_ps(product, _mm512_mul_ps(scale, by), totals[row]);
            }
        }
        for (row, total) in totals.iter().enumerate() {
            _mm512_storeu_ps(out.as_mut_ptr().add(row * GROUP), *total);
        }
    }
}

/// Adds up the chains of each row.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn joined<const M: usize>(sums: &[[__m512i; M]; MOST_CHAINS]) -> [__m512i; M] {
    std::array::from_fn(|row| {
        sums[1..chains(M)]
            .iter()
            .fold(sums[0][row], |total, chain| _mm512_add_epi32(total, chain[row]))
    })
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn broadcast(values: *const i8, quad: usize) -> __m512i {
    // SAFETY: the callers' offsets lie within the tile.
    _mm512_set1_epi32(unsafe { values.add(quad * 4).cast::<i32>().read_unaligned() })
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn load_halves(from: *const __m256i) -> __m512 {
    // SAFETY: the callers' offsets lie within the scales.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from) })
}
