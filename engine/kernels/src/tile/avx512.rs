//! Integer kernels on AVX-512 VNNI with int8 activations: one instruction multiplies 64 pairs of bytes.

use std::arch::x86_64::*;

use super::{GroupWeights, TileOutputs};
use crate::{
    activations::Slot,
    matrix::{BLOCK, EIGHT_BYTES, FOUR_BYTES, GROUP},
};

/// How far ahead of a kernel its weights are fetched.
const PREFETCH_BYTES: usize = 4096;

/// Blocks that a kernel sums side by side: a product waits for the one before of its sum, and
/// those of eight rows alone are too few to fill the time.
pub(super) const SIDE_BY_SIDE: usize = 2;

/// Sums of a row's block that a kernel keeps apart, for the same reason; from five rows on there
/// are enough of them, and no registers to spare.
pub(super) const fn chains(rows: usize) -> usize {
    if rows <= 4 { MOST_CHAINS } else { 1 }
}

/// The most that [`chains`] says.
pub(super) const MOST_CHAINS: usize = 2;

/// The sums of a block: of each chain, row by row.
pub(super) type Sums<const M: usize> = [[__m512i; M]; MOST_CHAINS];

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
    // SAFETY: the callers' blocks lie within the group and the tile. A prefetch may have any
    // address.
    unsafe {
        let low_bits = _mm512_set1_epi8(15);
        let bytes = weights.quants.add(first * FOUR_BYTES);
        let values = rows.quants.add(first * BLOCK * M);
        let mut sums = [[[_mm512_setzero_si512(); M]; MOST_CHAINS]; B];
        for quad in 0..4 {
            for (block, sums) in sums.iter_mut().enumerate() {
                let packed = load(bytes.add(block * FOUR_BYTES), quad);
                let values = values.add(block * BLOCK * M);
                let low = _mm512_and_si512(packed, low_bits);
                let high = _mm512_and_si512(_mm512_srli_epi16::<4>(packed), low_bits);
                add_quads::<M, 0>(sums, low, values, quad * M);
                add_quads::<M, 1>(sums, high, values, (quad + 4) * M);
            }
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
    // SAFETY: the callers' blocks lie within the group and the tile. A prefetch may have any
    // address.
    unsafe {
        let bytes = weights.quants.add(first * EIGHT_BYTES);
        let values = rows.quants.add(first * BLOCK * M);
        let mut sums: [Sums<M>; B] = std::array::from_fn(|block| centred(rows, first + block));
        for quad in (0..8).step_by(2) {
            for (block, sums) in sums.iter_mut().enumerate() {
                let bytes = bytes.add(block * EIGHT_BYTES);
                let values = values.add(block * BLOCK * M);
                add_quads::<M, 0>(sums, load(bytes, quad), values, quad * M);
                add_quads::<M, 1>(sums, load(bytes, quad + 1), values, (quad + 1) * M);
            }
        }
        for (block, sums) in sums.iter().enumerate() {
            add_scaled::<M, false>(weights, rows, first + block, joined(sums), totals);
        }
    }
}

/// Adds quads of columns of 16 outputs times the rows' quad to the sums that `TURN` falls to.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn add_quads<const M: usize, const TURN: usize>(
    sums: &mut Sums<M>,
    weights: __m512i,
    values: *const i8,
    quad: usize,
) {
    for (row, sum) in sums[TURN % chains(M)].iter_mut().enumerate() {
        // SAFETY: the callers' offsets lie within the tile.
        *sum = _mm512_dpbusd_epi32(*sum, weights, unsafe { broadcast(values, quad + row) });
    }
}

/// What the sums of a block of 8-bit weights begin with: the weights are stored 128 too large,
/// and that is taken off in advance.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn centred<const M: usize>(rows: &Slot, block: usize) -> Sums<M> {
    let mut sums = [[_mm512_setzero_si512(); M]; MOST_CHAINS];
    for (row, sum) in sums[0].iter_mut().enumerate() {
        // SAFETY: the callers' blocks lie within the tile.
        *sum = _mm512_set1_epi32(unsafe { rows.centres.add(block * M + row).read() });
    }
    sums
}

/// Adds a block's integer sums, scaled, to the totals; and where `OFFSETS`, the weights'
/// offsets times the sums of the block's activations.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn add_scaled<const M: usize, const OFFSETS: bool>(
    weights: &GroupWeights,
    rows: &Slot,
    block: usize,
    sums: [__m512i; M],
    totals: &mut [__m512; M],
) {
    // SAFETY: the callers' blocks lie within the group and the tile.
    unsafe {
        let scale = load_halves(weights.scales.add(block * GROUP).cast());
        let offset = match OFFSETS {
            true => load_halves(weights.offsets.add(block * GROUP).cast()),
            false => scale,
        };
        for (row, total) in totals.iter_mut().enumerate() {
            let by = _mm512_set1_ps(rows.scales.add(block * M + row).read());
            let product = _mm512_cvtepi32_ps(sums[row]);
            *total = _mm512_fmadd_ps(product, _mm512_mul_ps(scale, by), *total);
            if OFFSETS {
                let sum = _mm512_set1_ps(rows.sums.add(block * M + row).read());
                *total = _mm512_fmadd_ps(offset, sum, *total);
            }
        }
    }
}

/// Stores the totals.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn put<const M: usize>(totals: &[__m512; M], out: &mut TileOutputs) {
    for (outputs, total) in out.as_chunks_mut::<GROUP>().0.iter_mut().zip(totals) {
        // SAFETY: the outputs are 16.
        unsafe { _mm512_storeu_ps(outputs.as_mut_ptr(), *total) };
    }
}

/// Adds up the chains of each row.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn joined<const M: usize>(sums: &Sums<M>) -> [__m512i; M] {
    std::array::from_fn(|row| {
        sums[1..chains(M)]
            .iter()
            .fold(sums[0][row], |total, chain| _mm512_add_epi32(total, chain[row]))
    })
}

/// Loads 64 bytes of a block, and has those fetched that lie further on.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn load(bytes: *const u8, index: usize) -> __m512i {
    // SAFETY: the callers' offsets lie within the block; a prefetch may have any address.
    unsafe {
        let bytes = bytes.add(index * 64);
        _mm_prefetch::<_MM_HINT_T1>(bytes.wrapping_add(PREFETCH_BYTES).cast());
        _mm512_loadu_si512(bytes.cast())
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn broadcast(values: *const i8, quad: usize) -> __m512i {
    // SAFETY: the callers' offsets lie within the tile.
    _mm512_set1_epi32(unsafe { values.add(quad * 4).cast::<i32>().read_unaligned() })
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_halves(from: *const __m256i) -> __m512 {
    // SAFETY: the callers' offsets lie within the scales.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from) })
}
