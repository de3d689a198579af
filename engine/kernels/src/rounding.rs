//! Quantising the rows of a tile together, on AVX-512: largest values, scales and sums of eight
//! rows are one vector each, and quads of eight rows lie side by side as they are packed.
//!
//! Gives the same bits as [`rows::quantise`](crate::rows::quantise) row by row.

use std::arch::x86_64::*;

use crate::{
    activations::{Slot, TILE},
    kernels::TileQuantiser,
    matrix::BLOCK,
};

/// Quantisers to int8 and to int16: of the first row, the distance between rows, the blocks of a
/// row, and the tile.
///
/// # Safety
/// Rows hold whole blocks, and the slot is a tile of as many rows of quantised activations; the
/// instruction set is there.
pub(crate) const QUANTISERS: [Option<TileQuantiser>; 2] = [Some(quantise), Some(quantise_wide)];

/// A block of eight rows as integers, half after half, and each row's scale.
struct Rounded {
    quants: [[__m512i; TILE]; 2],
    scales: __m256,
}

/// Quantises to int8.
///
/// # Safety
/// See [`QUANTISERS`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn quantise(values: *const f32, stride: usize, blocks: usize, slot: &Slot) {
    // SAFETY: the caller's promise; a narrower tile repeats its first row, and nothing is
    // stored of the repeats.
    unsafe {
        let ones = _mm512_set1_epi8(1);
        let rows = rows(values, stride, slot.width);
        let evens = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
        let odds = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
        for block in 0..blocks {
            let Rounded { quants, scales } = round(&rows, block, 127.0);
            let to = slot.quants.add(block * BLOCK * slot.width);
            let mut sums = _mm512_setzero_si512();
            for (half, q) in quants.iter().enumerate() {
                let pack = |first: usize| {
                    let low = _mm512_packs_epi32(q[first], q[first + 1]);
                    let high = _mm512_packs_epi32(q[first + 2], q[first + 3]);
                    _mm512_packs_epi16(low, high)
                };
                let (low, high) = (pack(0), pack(4));
                for (pair, index) in [evens, odds].into_iter().enumerate() {
                    let quads = _mm512_permutex2var_epi64(low, index, high);
                    sums = _mm512_dpbusd_epi32(sums, ones, quads);
                    let to = to.add((half * 4 + pair * 2) * 4 * slot.width);
                    if slot.width == TILE {
                        _mm512_storeu_si512(to.cast(), quads);
                    } else {
                        let mask = mask(slot.width);
                        let second = _mm512_extracti64x4_epi64::<1>(quads);
                        _mm256_mask_storeu_epi32(to.cast(), mask, _mm512_castsi512_si256(quads));
                        _mm256_mask_storeu_epi32(to.add(4 * slot.width).cast(), mask, second);
                    }
                }
            }
            let sums = _mm256_add_epi32(
                _mm512_castsi512_si256(sums),
                _mm512_extracti64x4_epi64::<1>(sums),
            );
            put_sums(slot, block, scales, sums);
        }
    }
}

/// Quantises to int16.
///
/// # Safety
/// See [`QUANTISERS`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn quantise_wide(values: *const f32, stride: usize, blocks: usize, slot: &Slot) {
    // SAFETY: the caller's promise; a narrower tile repeats its first row, and nothing is
    // stored of the repeats.
    unsafe {
        let ones = _mm512_set1_epi16(1);
        // Of a quad the middle two change places.
        let order = _mm512_set1_epi64(0x0706_0302_0504_0100);
        let order = _mm512_add_epi8(order, _mm512_set4_epi32(0x0808_0808, 0x0808_0808, 0, 0));
        let rows = rows(values, stride, slot.width);
        let mask = mask(slot.width);
        for block in 0..blocks {
            let Rounded { quants, scales } = round(&rows, block, 32767.0);
            let to = slot.quants.add(block * BLOCK * 2 * slot.width);
            let mut sums = _mm512_setzero_si512();
            for (half, q) in quants.iter().enumerate() {
                let pack = |first: usize| {
                    let pair = _mm512_packs_epi32(q[first], q[first + 1]);
                    _mm512_shuffle_epi8(pair, order)
                };
                let [ab, cd, ef, gh] = [pack(0), pack(2), pack(4), pack(6)];
                let first = _mm512_shuffle_i64x2::<0x44>(ab, cd);
                let second = _mm512_shuffle_i64x2::<0xEE>(ab, cd);
                let third = _mm512_shuffle_i64x2::<0x44>(ef, gh);
                let fourth = _mm512_shuffle_i64x2::<0xEE>(ef, gh);
                let quads = [
                    _mm512_shuffle_i64x2::<0x88>(first, third),
                    _mm512_shuffle_i64x2::<0xDD>(first, third),
                    _mm512_shuffle_i64x2::<0x88>(second, fourth),
                    _mm512_shuffle_i64x2::<0xDD>(second, fourth),
                ];
                for (index, quad) in quads.into_iter().enumerate() {
                    sums = _mm512_dpwssd_epi32(sums, quad, ones);
                    let to = to.add((half * 4 + index) * 8 * slot.width);
                    _mm512_mask_storeu_epi64(to.cast(), mask, quad);
                }
            }
            let sums = _mm512_add_epi32(sums, _mm512_srli_epi64::<32>(sums));
            put_sums(slot, block, scales, _mm512_cvtepi64_epi32(sums));
        }
    }
}

/// Where the rows of a tile begin; those that it lacks are its first.
fn rows(values: *const f32, stride: usize, width: usize) -> [*const f32; TILE] {
    std::array::from_fn(|row| values.wrapping_add(if row < width { row * stride } else { 0 }))
}

/// Selects the rows that a tile has.
fn mask(width: usize) -> __mmask8 {
    u8::MAX >> (TILE - width)
}

/// Rounds a block of eight rows, each by the scale that takes its largest value to `limit`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn round(rows: &[*const f32; TILE], block: usize, limit: f32) -> Rounded {
    // SAFETY: the callers' rows hold the block.
    unsafe {
        let mut maxima = [_mm512_setzero_ps(); TILE];
        for (row, maximum) in rows.iter().zip(&mut maxima) {
            let at = row.add(block * BLOCK);
            let low = _mm512_abs_ps(_mm512_loadu_ps(at));
            let high = _mm512_abs_ps(_mm512_loadu_ps(at.add(16)));
            *maximum = _mm512_max_ps(low, high);
        }
        let largest = largest(&maxima);
        let limits = _mm256_set1_ps(limit);
        let is_some = _mm256_cmp_ps_mask::<_CMP_GT_OQ>(largest, _mm256_setzero_ps());
        let inverse = _mm256_maskz_div_ps(is_some, limits, largest);
        let mut inverses = [0.0; TILE];
        _mm256_storeu_ps(inverses.as_mut_ptr(), _mm256_min_ps(inverse, _mm256_set1_ps(f32::MAX)));
        let mut quants = [[_mm512_setzero_si512(); TILE]; 2];
        for (half, quants) in quants.iter_mut().enumerate() {
            for (row, quants) in quants.iter_mut().enumerate() {
                let values = _mm512_loadu_ps(rows[row].add(block * BLOCK + half * 16));
                let inverse = _mm512_set1_ps(inverses[row]);
                *quants = _mm512_cvtps_epi32(_mm512_mul_ps(values, inverse));
            }
        }
        Rounded { quants, scales: _mm256_div_ps(largest, limits) }
    }
}

/// The largest of each of eight vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2")]
fn largest(vectors: &[__m512; TILE]) -> __m256 {
    let two = |index: usize| {
        let (left, right) = (vectors[index], vectors[index + 1]);
        let pair = _mm512_max_ps(_mm512_unpacklo_ps(left, right), _mm512_unpackhi_ps(left, right));
        _mm512_castps_pd(pair)
    };
    let four = |index: usize| {
        let (left, right) = (two(index), two(index + 2));
        let low = _mm512_castpd_ps(_mm512_unpacklo_pd(left, right));
        let high = _mm512_castpd_ps(_mm512_unpackhi_pd(left, right));
        _mm512_max_ps(low, high)
    };
    let (left, right) = (four(0), four(4));
    let eight = _mm512_max_ps(
        _mm512_shuffle_f32x4::<0x44>(left, right),
        _mm512_shuffle_f32x4::<0xEE>(left, right),
    );
    // Each quarter with its neighbour; the first and the third hold all that is left.
    let eight = _mm512_max_ps(eight, _mm512_shuffle_f32x4::<0xB1>(eight, eight));
    _mm512_castps512_ps256(_mm512_shuffle_f32x4::<0x08>(eight, eight))
}

/// Stores a block's scales, and its sums as the kernels want them.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
unsafe fn put_sums(slot: &Slot, block: usize, scales: __m256, sums: __m256i) {
    let (at, mask) = (block * slot.width, mask(slot.width));
    // SAFETY: the callers' block lies within the slot.
    unsafe {
        _mm256_mask_storeu_ps(slot.scales.add(at), mask, scales);
        let products = _mm256_mul_ps(scales, _mm256_cvtepi32_ps(sums));
        _mm256_mask_storeu_ps(slot.sums.add(at), mask, products);
        let centres = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32::<7>(sums));
        _mm256_mask_storeu_epi32(slot.centres.add(at), mask, centres);
    }
}
