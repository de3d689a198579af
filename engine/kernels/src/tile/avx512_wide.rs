//! Integer kernels on AVX-512 VNNI with int16 activations: see `avx2_wide` for how pairs
//! of 16-bit weights are made.

use std::arch::{asm, x86_64::*};

use super::{
    GroupWeights, TileOutputs,
    avx512::{MOST_CHAINS, PREFETCH_BYTES, broadcast, chains, joined, load_halves},
};
use crate::{
    activations::Slot,
    matrix::{BLOCK, EIGHT_BYTES, FOUR_BYTES, GROUP},
};

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
        let mask = _mm512_set1_epi16(15);
        let mut totals = [_mm512_setzero_ps(); M];
        for block in 0..blocks {
            let bytes = weights.quants.add(block * FOUR_BYTES);
            let values = rows.quants.add(block * BLOCK * 2 * M);
            // A block's sum is at most 32 * 15 * 32767.
            let mut sums = [[_mm512_setzero_si512(); M]; MOST_CHAINS];
            for quad in 0..4 {
                let sums = &mut sums[quad % chains(M)];
                let words = load(bytes, quad);
                let low = _mm512_and_si512(words, mask);
                add_pairs(sums, low, values, quad * M, 0);
                let low = _mm512_and_si512(_mm512_srli_epi16::<8>(words), mask);
                add_pairs(sums, low, values, quad * M, 1);
                let high = _mm512_and_si512(_mm512_srli_epi16::<4>(words), mask);
                add_pairs(sums, high, values, (quad + 4) * M, 0);
                let high = _mm512_srli_epi16::<12>(words);
                add_pairs(sums, high, values, (quad + 4) * M, 1);
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
        let mask = _mm512_set1_epi16(255);
        let mut totals = [_mm512_setzero_ps(); M];
        for block in 0..blocks {
            let bytes = weights.quants.add(block * EIGHT_BYTES);
            let values = rows.quants.add(block * BLOCK * 2 * M);
            // The weights are stored 128 too large; that is taken off in advance. A block's
            // sum is at most 32 * 255 * 32767.
            let mut sums = [[_mm512_setzero_si512(); M]; MOST_CHAINS];
            for (row, sum) in sums[0].iter_mut().enumerate() {
                *sum = _mm512_set1_epi32(-128 * rows.totals.add(block * M + row).read());
            }
            for quad in 0..8 {
                let sums = &mut sums[quad % chains(M)];
                let words = load(bytes, quad);
                let low = _mm512_and_si512(words, mask);
                add_pairs(sums, low, values, quad * M, 0);
                add_pairs(sums, _mm512_srli_epi16::<8>(words), values, quad * M, 1);
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

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(bytes: *const u8, index: usize) -> __m512i {
    // SAFETY: the callers' offsets lie within the block; a prefetch may have any address.
    unsafe {
        let bytes = bytes.add(index * 64);
        _mm_prefetch::<_MM_HINT_T0>(bytes.wrapping_add(PREFETCH_BYTES).cast());
        _mm512_loadu_si512(bytes.cast())
    }
}

/// Adds pairs of columns of 16 outputs times the rows' pair `which` of a quad.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn add_pairs<const M: usize>(
    sums: &mut [__m512i; M],
    weights: __m512i,
    values: *const i8,
    quad: usize,
    which: usize,
) {
    for (row, sum) in sums.iter_mut().enumerate() {
        // SAFETY: the callers' offsets lie within the tile.
        let value = unsafe { broadcast(values, (quad + row) * 2 + which) };
        *sum = dot_pairs(*sum, weights, value);
    }
}

/// `_mm512_dpwssd_epi32`, kept in one piece: of the intrinsic the compiler makes a product and a
/// sum, twice the work, where it takes the chain of sums for what limits the loop.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn dot_pairs(mut sum: __m512i, weights: __m512i, values: __m512i) -> __m512i {
    // SAFETY: the instruction reads and writes the registers named and nothing else.
    unsafe {
        asm!(
            "vpdpwssd {sum}, {weights}, {values}",
            sum = inout(zmm_reg) sum,
            weights = in(zmm_reg) weights,
            values = in(zmm_reg) values,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
