//! Integer kernels on AVX2 with int8 activations: a group is two registers of 8 outputs,
//! and a tile is done four rows at a time.
//!
//! Sums of a block stay in registers, totals in the outputs' memory: so one broadcast quad
//! of activations meets all 16 outputs, and unpacked weights meet four rows.

use std::{arch::x86_64::*, hint::black_box};

use super::{GroupWeights, TileOutputs, avx2_rows};
use crate::{
    activations::Slot,
    matrix::{BLOCK, EIGHT_BYTES, FOUR_BYTES, GROUP},
};

/// Rows done at a time, for want of registers.
pub(super) const STEP: usize = 4;
/// How far ahead of a single row's kernel its weights are fetched.
pub(super) const PREFETCH_BYTES: usize = 1024;

/// Runs a step's block for every row of a tile of `$m`: `$four_rows` for four at a time, and
/// `$part::<M, rows>` for those left.
macro_rules! in_steps {
    ($m:ident, $four_rows:expr, $part:ident, $step:ident, $out:ident) => {{
        let mut first = 0;
        while first < $m {
            match $m - first {
                1 => $part::<$m, 1>(first, $step, $out),
                2 => $part::<$m, 2>(first, $step, $out),
                3 => $part::<$m, 3>(first, $step, $out),
                _ => $four_rows(first, $step, $out),
            }
            first += STEP;
        }
    }};
}
pub(super) use in_steps;

/// One block of a kernel.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) weights: &'a GroupWeights,
    pub(super) rows: &'a Slot,
    pub(super) block: usize,
    /// Loads of 64 bytes in a block. Known at run time only: unrolled, the loop over them
    /// would keep more values than there are registers.
    pub(super) loads: usize,
}

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
            in_steps!(M, avx2_rows::four::<M>, four_part, step, out);
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
    // SAFETY: the caller's promise; all offsets lie within the block. A prefetch may have
    // any address.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        let bytes = step.weights.quants.add(step.block * FOUR_BYTES);
        let values = step.rows.quants.add(step.block * BLOCK * M + first * 4);
        // A pair of products is at most 2 * 15 * 127; eight of them fit 16 bits.
        let mut sums = [[_mm256_setzero_si256(); 2]; S];
        for quad in 0..step.loads {
            four_quads::<M, S>(load_pair::<M>(bytes, quad), values, quad, &mut sums);
        }
        // A loop: closures in closures are calls, and keep the sums out of registers.
        for sums in &mut sums {
            for sum in sums {
                *sum = _mm256_madd_epi16(*sum, ones);
            }
        }
        add_scaled::<M, S, true>(first, step, &sums, out);
    }
}

/// Adds one load of 4-bit weights times `S` rows.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn four_quads<const M: usize, const S: usize>(
    packed: [__m256i; 2],
    values: *const i8,
    quad: usize,
    sums: &mut [[__m256i; 2]; S],
) {
    let mask = _mm256_set1_epi8(15);
    let low = packed.map(|bytes| _mm256_and_si256(bytes, mask));
    let high = packed.map(|bytes| _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask));
    for (row, sums) in sums.iter_mut().enumerate() {
        // SAFETY: the callers' offsets lie within the tile.
        let (first, second) =
            unsafe { (broadcast(values, quad * M + row), broadcast(values, (quad + 4) * M + row)) };
        for (half, sum) in sums.iter_mut().enumerate() {
            *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(low[half], first));
            *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(high[half], second));
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
    out[..M * GROUP].fill(0.0);
    let loads = black_box(EIGHT_BYTES / 64);
    for block in 0..blocks {
        let step = Step { weights, rows, block, loads };
        // SAFETY: the caller's promise.
        unsafe {
            fetch_ahead::<M>(weights.quants.add(block * EIGHT_BYTES), EIGHT_BYTES);
            in_steps!(M, eight_part::<M, STEP>, eight_part, step, out);
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
    // SAFETY: the caller's promise; all offsets lie within the block. A prefetch may have
    // any address.
    unsafe {
        let sign = _mm256_set1_epi8(i8::MIN);
        let ones = _mm256_set1_epi16(1);
        let bytes = step.weights.quants.add(step.block * EIGHT_BYTES);
        let values = step.rows.quants.add(step.block * BLOCK * M + first * 4);
        let mut sums = [[_mm256_setzero_si256(); 2]; S];
        for quad in 0..step.loads {
            let weights = load_pair::<M>(bytes, quad).map(|bytes| _mm256_xor_si256(bytes, sign));
            // The instruction wants one factor unsigned: the weight's sign goes over to
            // the activation, which is never -128. A pair is at most 2 * 128 * 127.
            let sizes = weights.map(|weights| _mm256_abs_epi8(weights));
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = broadcast(values, quad * M + row);
                for (half, sum) in sums.iter_mut().enumerate() {
                    let value = _mm256_sign_epi8(value, weights[half]);
                    let pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(sizes[half], value), ones);
                    *sum = _mm256_add_epi32(*sum, pairs);
                }
            }
        }
        add_scaled::<M, S, false>(first, step, &sums, out);
    }
}

/// Has weights fetched that will be read two blocks or more later, where several rows share
/// them; one row's kernel does so load by load.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn fetch_ahead<const M: usize>(block: *const u8, bytes: usize) {
    if M > 1 {
        for line in (0..bytes).step_by(64) {
            _mm_prefetch::<_MM_HINT_T0>(block.wrapping_add(PREFETCH_BYTES + line).cast());
        }
    }
}

/// Loads the bytes of all 16 outputs for load `index` of a block.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn load_pair<const M: usize>(bytes: *const u8, index: usize) -> [__m256i; 2] {
    // SAFETY: the callers' offsets lie within the block; a prefetch may have any address.
    unsafe {
        let bytes = bytes.add(index * 64);
        if M == 1 {
            _mm_prefetch::<_MM_HINT_T0>(bytes.wrapping_add(PREFETCH_BYTES).cast());
        }
        [_mm256_loadu_si256(bytes.cast()), _mm256_loadu_si256(bytes.add(32).cast())]
    }
}

/// Adds a block's integer sums, scaled, to the totals; and where `OFFSETS`, the weights'
/// offsets times the sums of the block's activations.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn add_scaled<const M: usize, const S: usize, const OFFSETS: bool>(
    first: usize,
    step: Step<'_>,
    sums: &[[__m256i; 2]; S],
    out: &mut TileOutputs,
) {
    // SAFETY: the caller's promise; all offsets lie within the block and the outputs.
    unsafe {
        let scales = load_scales(step.weights.scales.add(step.block * GROUP).cast());
        let offsets = match OFFSETS {
            true => load_scales(step.weights.offsets.add(step.block * GROUP).cast()),
            false => scales,
        };
        for (row, sums) in sums.iter().enumerate() {
            let at = step.block * M + first + row;
            let by = _mm256_set1_ps(step.rows.scales.add(at).read());
            for (half, sum) in sums.iter().enumerate() {
                let to = out.as_mut_ptr().add((first + row) * GROUP + half * 8);
                let product = _mm256_mul_ps(_mm256_cvtepi32_ps(*sum), by);
                let mut total = _mm256_fmadd_ps(product, scales[half], _mm256_loadu_ps(to));
                if OFFSETS {
                    let sum = _mm256_set1_ps(step.rows.sums.add(at).read());
                    total = _mm256_fmadd_ps(offsets[half], sum, total);
                }
                _mm256_storeu_ps(to, total);
            }
        }
    }
}

/// Reads four bytes of activations into every place.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn broadcast(values: *const i8, quad: usize) -> __m256i {
    // SAFETY: the callers' offsets lie within the tile.
    _mm256_set1_epi32(unsafe { values.add(quad * 4).cast::<i32>().read_unaligned() })
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn load_scales(from: *const __m128i) -> [__m256; 2] {
    // SAFETY: the callers' offsets lie within the scales.
    unsafe {
        let load = |from| _mm256_cvtph_ps(_mm_loadu_si128(from));
        [load(from), load(from.add(1))]
    }
}
