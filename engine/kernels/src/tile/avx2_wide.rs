//! Integer kernels on AVX2 with int16 activations: see `avx2` for their shape.
//!
//! A load of 64 bytes holds four columns of 16 outputs as two 16-bit words each. A word's
//! low byte is a column of the quad's first pair, the high byte one of the second, so masks
//! and shifts alone make pairs of 16-bit weights; activations lie in the same order.

use std::{arch::x86_64::*, hint::black_box};

use super::{
    GroupWeights, TileOutputs,
    avx2::{STEP, Step, add_scaled, broadcast, fetch_ahead, in_steps, load_pair},
    avx2_rows,
};
use crate::{
    activations::Slot,
    matrix::{BLOCK, EIGHT_BYTES, FOUR_BYTES, GROUP},
};

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
    out[..M * GROUP].fill(0.0);
    let loads = black_box(FOUR_BYTES / 64);
    for block in 0..blocks {
        let step = Step { weights, rows, block, loads };
        // SAFETY: the caller's promise.
        unsafe {
            fetch_ahead::<M>(weights.quants.add(block * FOUR_BYTES), FOUR_BYTES);
            in_steps!(M, avx2_rows::four_wide::<M>, four_part, step, out);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn four_part<const M: usize, const S: usize>(
    first: usize,
    step: Step<'_>,
    out: &mut TileOutputs,
) {
    // SAFETY: the caller's promise; all offsets lie within the block.
    unsafe {
        let bytes = step.weights.quants.add(step.block * FOUR_BYTES);
        let values = step.rows.quants.add(step.block * BLOCK * 2 * M + first * 8);
        // A block's sum is at most 32 * 15 * 32767.
        let mut sums = [[_mm256_setzero_si256(); 2]; S];
        for quad in 0..step.loads {
            four_pairs::<M, S>(load_pair::<M>(bytes, quad), values, quad, &mut sums);
        }
        add_scaled::<M, S, true>(first, step, &sums, out);
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
    out[..M * GROUP].fill(0.0);
    let loads = black_box(EIGHT_BYTES / 64);
    for block in 0..blocks {
        let step = Step { weights, rows, block, loads };
        // SAFETY: the caller's promise.
        unsafe {
            fetch_ahead::<M>(weights.quants.add(block * EIGHT_BYTES), EIGHT_BYTES);
            in_steps!(M, avx2_rows::eight_wide::<M>, eight_part, step, out);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn eight_part<const M: usize, const S: usize>(
    first: usize,
    step: Step<'_>,
    out: &mut TileOutputs,
) {
    // SAFETY: the caller's promise; all offsets lie within the block.
    unsafe {
        let bytes = step.weights.quants.add(step.block * EIGHT_BYTES);
        let values = step.rows.quants.add(step.block * BLOCK * 2 * M + first * 8);
        // The weights are stored 128 too large; that is taken off in advance. A block's sum
        // is at most 32 * 255 * 32767.
        let mut sums: [[__m256i; 2]; S] = std::array::from_fn(|row| {
            let centre = step.rows.centres.add(step.block * M + first + row).read();
            [_mm256_set1_epi32(centre); 2]
        });
        for quad in 0..step.loads {
            eight_pairs::<M, S>(load_pair::<M>(bytes, quad), values, quad, &mut sums);
        }
        add_scaled::<M, S, false>(first, step, &sums, out);
    }
}

/// Adds one load of 4-bit weights times `S` rows.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn four_pairs<const M: usize, const S: usize>(
    words: [__m256i; 2],
    values: *const i8,
    quad: usize,
    sums: &mut [[__m256i; 2]; S],
) {
    let mask = _mm256_set1_epi16(15);
    // SAFETY: the callers' offsets lie within the tile.
    unsafe {
        let low = words.map(|words| _mm256_and_si256(words, mask));
        add_pairs::<M, S>(sums, low, values, quad * M, 0);
        let low = words.map(|words| _mm256_and_si256(_mm256_srli_epi16::<8>(words), mask));
        add_pairs::<M, S>(sums, low, values, quad * M, 1);
        let high = words.map(|words| _mm256_and_si256(_mm256_srli_epi16::<4>(words), mask));
        add_pairs::<M, S>(sums, high, values, (quad + 4) * M, 0);
        let high = words.map(|words| _mm256_srli_epi16::<12>(words));
        add_pairs::<M, S>(sums, high, values, (quad + 4) * M, 1);
    }
}

/// Adds one load of 8-bit weights times `S` rows.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn eight_pairs<const M: usize, const S: usize>(
    words: [__m256i; 2],
    values: *const i8,
    quad: usize,
    sums: &mut [[__m256i; 2]; S],
) {
    let mask = _mm256_set1_epi16(255);
    // SAFETY: the callers' offsets lie within the tile.
    unsafe {
        let low = words.map(|words| _mm256_and_si256(words, mask));
        add_pairs::<M, S>(sums, low, values, quad * M, 0);
        let high = words.map(|words| _mm256_srli_epi16::<8>(words));
        add_pairs::<M, S>(sums, high, values, quad * M, 1);
    }
}

/// Adds pairs of columns of 16 outputs times the rows' pair `which` of a quad.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_pairs<const M: usize, const S: usize>(
    sums: &mut [[__m256i; 2]; S],
    weights: [__m256i; 2],
    values: *const i8,
    quad: usize,
    which: usize,
) {
    for (row, sums) in sums.iter_mut().enumerate() {
        // SAFETY: the callers' offsets lie within the tile.
        let value = unsafe { broadcast(values, (quad + row) * 2 + which) };
        for (half, sum) in sums.iter_mut().enumerate() {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(weights[half], value));
        }
    }
}
