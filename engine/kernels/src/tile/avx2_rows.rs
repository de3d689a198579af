//! The inner loops of the AVX2 kernels for four rows, by hand: 16 outputs of four rows are
//! eight sums, and with unpacked weights beside them the compiler keeps some in memory.

use std::arch::{asm, x86_64::*};

use super::avx2::STEP;
use crate::matrix::{EIGHT_BYTES, FOUR_BYTES};

/// Sums of four rows, two registers of 8 outputs each.
type Sums = [[__m256i; 2]; STEP];

/// Multiplies what a row has at `$at` by both registers of weights, and adds to its sums.
macro_rules! add_row {
    ($multiply:literal, $add:literal, $weights:literal, $sums:literal, $at:literal) => {
        concat!(
            "vpbroadcastd {value}, dword ptr [{values} + ",
            $at,
            "]\n",
            $multiply,
            " {product}, {",
            $weights,
            "0}, {value}\n",
            $add,
            " {",
            $sums,
            "0}, {",
            $sums,
            "0}, {product}\n",
            $multiply,
            " {value}, {",
            $weights,
            "1}, {value}\n",
            $add,
            " {",
            $sums,
            "1}, {",
            $sums,
            "1}, {value}",
        )
    };
}

/// Adds pairs of int16.
macro_rules! add_pairs {
    ($sums:literal, $at:literal) => {
        add_row!("vpmaddwd", "vpaddd", "pair", $sums, $at)
    };
}

/// Adds quads of int8, in sums of 16 bits.
macro_rules! add_quads {
    ($weights:literal, $sums:literal, $at:literal) => {
        add_row!("vpmaddubsw", "vpaddw", $weights, $sums, $at)
    };
}

/// The loop over a block's weights, 64 bytes a round: `$round` adds to the sums. It has the
/// registers `word0` and `word1`, `pair0` and `pair1`, `value` and `product` to itself, and
/// the constants `$constant` beside `quad`, what `values` advances by.
macro_rules! by_four {
    (
        $bytes:ident, $values:ident, $sums:ident, rounds: $rounds:expr, mask: $mask:expr,
        constants: { $($constant:ident = $is:expr),+ }, round: [$($round:tt)+]
    ) => {
        let [[mut a0, mut a1], [mut b0, mut b1], [mut c0, mut c1], [mut d0, mut d1]] = *$sums;
        // SAFETY: reads 64 bytes of weights in every round, and of the rows a quad each, with
        // 4-bit weights another in the second half of the block, as the caller promises;
        // writes nothing.
        unsafe {
            asm!(
                "2:",
                $($round)+
                "add {bytes}, 64",
                "add {values}, {quad}",
                "dec {rounds}",
                "jnz 2b",
                bytes = inout(reg) $bytes => _,
                values = inout(reg) $values => _,
                rounds = inout(reg) $rounds => _,
                $($constant = const $is,)+
                mask = in(ymm_reg) $mask,
                a0 = inout(ymm_reg) a0, a1 = inout(ymm_reg) a1,
                b0 = inout(ymm_reg) b0, b1 = inout(ymm_reg) b1,
                c0 = inout(ymm_reg) c0, c1 = inout(ymm_reg) c1,
                d0 = inout(ymm_reg) d0, d1 = inout(ymm_reg) d1,
                word0 = out(ymm_reg) _, word1 = out(ymm_reg) _,
                pair0 = out(ymm_reg) _, pair1 = out(ymm_reg) _,
                value = out(ymm_reg) _, product = out(ymm_reg) _,
                options(nostack, readonly, pure),
            );
        }
        *$sums = [[a0, a1], [b0, b1], [c0, c1], [d0, d1]];
    };
}

/// Adds a block of 4-bit weights times four of the `M` rows of a tile, in int16.
///
/// # Safety
/// `bytes` holds a block, `values` the block's part of the tile from the first of the rows.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn four_by_four<const M: usize>(
    bytes: *const u8,
    values: *const i8,
    sums: &mut Sums,
) {
    by_four!(
        bytes, values, sums, rounds: FOUR_BYTES / 64, mask: _mm256_set1_epi16(15),
        constants: { quad = 8 * M, half = 32 * M }, round: [
            "vmovdqu {word0}, ymmword ptr [{bytes}]",
            "vmovdqu {word1}, ymmword ptr [{bytes} + 32]",
            "vpand {pair0}, {word0}, {mask}",
            "vpand {pair1}, {word1}, {mask}",
            add_pairs!("a", "0"),
            add_pairs!("b", "8"),
            add_pairs!("c", "16"),
            add_pairs!("d", "24"),
            "vpsrlw {pair0}, {word0}, 8",
            "vpsrlw {pair1}, {word1}, 8",
            "vpand {pair0}, {pair0}, {mask}",
            "vpand {pair1}, {pair1}, {mask}",
            add_pairs!("a", "4"),
            add_pairs!("b", "12"),
            add_pairs!("c", "20"),
            add_pairs!("d", "28"),
            "vpsrlw {pair0}, {word0}, 4",
            "vpsrlw {pair1}, {word1}, 4",
            "vpand {pair0}, {pair0}, {mask}",
            "vpand {pair1}, {pair1}, {mask}",
            add_pairs!("a", "{half} + 0"),
            add_pairs!("b", "{half} + 8"),
            add_pairs!("c", "{half} + 16"),
            add_pairs!("d", "{half} + 24"),
            "vpsrlw {pair0}, {word0}, 12",
            "vpsrlw {pair1}, {word1}, 12",
            add_pairs!("a", "{half} + 4"),
            add_pairs!("b", "{half} + 12"),
            add_pairs!("c", "{half} + 20"),
            add_pairs!("d", "{half} + 28"),
        ]
    );
}

/// Adds a block of 8-bit weights times four of the `M` rows of a tile, in int16.
///
/// # Safety
/// `bytes` holds a block, `values` the block's part of the tile from the first of the rows.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn eight_by_four<const M: usize>(
    bytes: *const u8,
    values: *const i8,
    sums: &mut Sums,
) {
    by_four!(
        bytes, values, sums, rounds: EIGHT_BYTES / 64, mask: _mm256_set1_epi16(255),
        constants: { quad = 8 * M }, round: [
            "vmovdqu {word0}, ymmword ptr [{bytes}]",
            "vmovdqu {word1}, ymmword ptr [{bytes} + 32]",
            "vpand {pair0}, {word0}, {mask}",
            "vpand {pair1}, {word1}, {mask}",
            add_pairs!("a", "0"),
            add_pairs!("b", "8"),
            add_pairs!("c", "16"),
            add_pairs!("d", "24"),
            "vpsrlw {pair0}, {word0}, 8",
            "vpsrlw {pair1}, {word1}, 8",
            add_pairs!("a", "4"),
            add_pairs!("b", "12"),
            add_pairs!("c", "20"),
            add_pairs!("d", "28"),
        ]
    );
}

/// Adds a block of 4-bit weights times four of the `M` rows of a tile, in int8; the sums
/// are of 16 bits.
///
/// # Safety
/// `bytes` holds a block, `values` the block's part of the tile from the first of the rows.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn narrow_four_by_four<const M: usize>(
    bytes: *const u8,
    values: *const i8,
    sums: &mut Sums,
) {
    by_four!(
        bytes, values, sums, rounds: FOUR_BYTES / 64, mask: _mm256_set1_epi8(15),
        constants: { quad = 4 * M, half = 16 * M }, round: [
            "vmovdqu {word0}, ymmword ptr [{bytes}]",
            "vmovdqu {word1}, ymmword ptr [{bytes} + 32]",
            "vpsrlw {pair0}, {word0}, 4",
            "vpsrlw {pair1}, {word1}, 4",
            "vpand {word0}, {word0}, {mask}",
            "vpand {word1}, {word1}, {mask}",
            "vpand {pair0}, {pair0}, {mask}",
            "vpand {pair1}, {pair1}, {mask}",
            add_quads!("word", "a", "0"),
            add_quads!("pair", "a", "{half} + 0"),
            add_quads!("word", "b", "4"),
            add_quads!("pair", "b", "{half} + 4"),
            add_quads!("word", "c", "8"),
            add_quads!("pair", "c", "{half} + 8"),
            add_quads!("word", "d", "12"),
            add_quads!("pair", "d", "{half} + 12"),
        ]
    );
}
