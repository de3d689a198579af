//! A block of weights times four rows of a tile on AVX2, by hand: 16 outputs of four rows are
//! eight sums, and with unpacked weights beside them, or scales and totals, the compiler keeps
//! some in memory.
//!
//! Registers 0 to 7 are the sums, two for each row; 8 to 11 weights, and scales later; 12 and 13
//! belong to the instruction at hand; 14 and 15 are constants.

use std::arch::{asm, x86_64::*};

use super::{
    TileOutputs,
    avx2::{STEP, Step},
};
use crate::matrix::{BLOCK, EIGHT_BYTES, FOUR_BYTES, GROUP};

/// An instruction and its operands.
macro_rules! op {
    ($name:expr, $first:expr, $($more:expr),+) => {
        concat!($name, " ", $first, $(", ", $more,)+ "\n")
    };
}

/// Four bytes of memory for every place of a register.
macro_rules! spread {
    ($name:literal, $to:literal, $from:literal, $at:expr) => {
        op!($name, $to, concat!("dword ptr [{", $from, "} + ", $at, "]"))
    };
}

/// Half of a row's totals.
macro_rules! total {
    ($row:literal, $half:literal) => {
        concat!("ymmword ptr [{out} + 64 * ", $row, " + 32 * ", $half, "]")
    };
}

/// `$row!` for each of the four rows: the registers of its sums, its number, and the rest.
macro_rules! each_row {
    ($row:ident $(, $more:expr)*) => {
        concat!(
            $row!("ymm0", "ymm1", "0" $(, $more)*),
            $row!("ymm2", "ymm3", "1" $(, $more)*),
            $row!("ymm4", "ymm5", "2" $(, $more)*),
            $row!("ymm6", "ymm7", "3" $(, $more)*)
        )
    };
}

/// The sums are zero.
macro_rules! start_at_zero {
    ($first:literal, $second:literal, $row:literal) => {
        concat!(op!("vpxor", $first, $first, $first), op!("vpxor", $second, $second, $second))
    };
}

/// The sums begin with what is taken off since weights are stored 128 too large.
macro_rules! start_at_centre {
    ($first:literal, $second:literal, $row:literal) => {
        concat!(
            "vpbroadcastd ",
            $first,
            ", dword ptr [{centres} + 4 * ",
            $row,
            "]\n",
            op!("vmovdqa", $second, $first)
        )
    };
}

/// Multiplies what a row has at `$at` by both registers of weights, and adds to its sums.
macro_rules! add_products {
    ($multiply:literal, $add:literal, $weights:literal, $more:literal, $first:literal, $second:literal, $at:expr) => {
        concat!(
            spread!("vpbroadcastd", "ymm12", "values", $at),
            op!($multiply, "ymm13", $weights, "ymm12"),
            op!($add, $first, $first, "ymm13"),
            op!($multiply, "ymm12", $more, "ymm12"),
            op!($add, $second, $second, "ymm12")
        )
    };
}

/// Adds the pair at `$at` of a row's quad, in int16.
macro_rules! add_pair {
    ($first:literal, $second:literal, $row:literal, $at:expr) => {
        add_products!(
            "vpmaddwd",
            "vpaddd",
            "ymm10",
            "ymm11",
            $first,
            $second,
            concat!($at, " + 8 * ", $row)
        )
    };
}

/// Adds both quads of a row that meet a load of 4-bit weights, in int8 and sums of 16 bits.
macro_rules! add_quads {
    ($first:literal, $second:literal, $row:literal) => {
        concat!(
            add_products!(
                "vpmaddubsw",
                "vpaddw",
                "ymm8",
                "ymm9",
                $first,
                $second,
                concat!("4 * ", $row)
            ),
            add_products!(
                "vpmaddubsw",
                "vpaddw",
                "ymm10",
                "ymm11",
                $first,
                $second,
                concat!("{half} + 4 * ", $row)
            )
        )
    };
}

/// Joins neighbouring sums of 16 bits.
macro_rules! join {
    ($first:literal, $second:literal, $row:literal) => {
        concat!(
            op!("vpmaddwd", $first, $first, "ymm15"),
            op!("vpmaddwd", $second, $second, "ymm15")
        )
    };
}

/// Scales a row's sums and adds its totals.
macro_rules! scale {
    ($first:literal, $second:literal, $row:literal) => {
        concat!(
            spread!("vbroadcastss", "ymm12", "scales", concat!("4 * ", $row)),
            op!("vcvtdq2ps", $first, $first),
            op!("vcvtdq2ps", $second, $second),
            op!("vmulps", $first, $first, "ymm12"),
            op!("vmulps", $second, $second, "ymm12"),
            op!("vfmadd213ps", $first, "ymm8", total!($row, "0")),
            op!("vfmadd213ps", $second, "ymm9", total!($row, "1"))
        )
    };
}

/// Adds the weights' offsets times the sum of a row's activations.
macro_rules! add_offset {
    ($first:literal, $second:literal, $row:literal) => {
        concat!(
            spread!("vbroadcastss", "ymm12", "sums", concat!("4 * ", $row)),
            op!("vfmadd231ps", $first, "ymm10", "ymm12"),
            op!("vfmadd231ps", $second, "ymm11", "ymm12")
        )
    };
}

/// Stores a row's totals.
macro_rules! store {
    ($first:literal, $second:literal, $row:literal) => {
        concat!(
            op!("vmovups", total!($row, "0"), $first),
            op!("vmovups", total!($row, "1"), $second)
        )
    };
}

/// Puts the scales, or the offsets, of 16 outputs into two registers.
macro_rules! load_halves {
    ($from:literal, $first:literal, $second:literal) => {
        concat!(
            op!("vcvtph2ps", $first, concat!("xmmword ptr [{", $from, "}]")),
            op!("vcvtph2ps", $second, concat!("xmmword ptr [{", $from, "} + 16]"))
        )
    };
}

/// A block of 4-bit weights: `$round` for every 64 bytes of it, and `$join` after all.
macro_rules! four_block {
    (
        $step:ident, $first:ident, $out:ident, bytes: $bytes:expr, mask: $mask:expr,
        round: [$($round:tt)+], join: $join:expr
    ) => {{
        let Step { weights, rows, block, .. } = $step;
        let at = block * M + $first;
        // SAFETY: reads a block of the weights and of four rows, as the caller promises, and
        // reads and writes the rows' totals.
        unsafe {
            asm!(
                each_row!(start_at_zero),
                "2:",
                $($round)+
                "add {bytes}, 64",
                "add {values}, {quad}",
                "dec {rounds}",
                "jnz 2b",
                $join,
                load_halves!("weight_scales", "ymm8", "ymm9"),
                load_halves!("offsets", "ymm10", "ymm11"),
                each_row!(scale),
                each_row!(add_offset),
                each_row!(store),
                bytes = inout(reg) weights.quants.add(block * FOUR_BYTES) => _,
                values = inout(reg) rows.quants.add((block * BLOCK * M + $first * 4) * $bytes) => _,
                rounds = inout(reg) FOUR_BYTES / 64 => _,
                weight_scales = in(reg) weights.scales.add(block * GROUP),
                offsets = in(reg) weights.offsets.add(block * GROUP),
                scales = in(reg) rows.scales.add(at),
                sums = in(reg) rows.sums.add(at),
                out = in(reg) $out.as_mut_ptr().add($first * GROUP),
                quad = const 4 * M * $bytes, half = const 16 * M * $bytes,
                in("ymm14") $mask, in("ymm15") _mm256_set1_epi16(1),
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
                out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
                out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
                out("ymm12") _, out("ymm13") _,
                options(nostack),
            );
        }
    }};
}

/// Adds a block of 4-bit weights times rows `first` to `first + 3` of the tile's `M`, in int8, to
/// their totals. A pair of products is at most 2 * 15 * 127; eight of them fit 16 bits.
///
/// # Safety
/// The tile has the rows, and the step's block lies within group and tile.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn four<const M: usize>(first: usize, step: Step<'_>, out: &mut TileOutputs) {
    debug_assert!(first + STEP <= M);
    four_block!(
        step, first, out, bytes: 1, mask: _mm256_set1_epi8(15), round: [
            "vmovdqu ymm8, ymmword ptr [{bytes}]",
            "vmovdqu ymm9, ymmword ptr [{bytes} + 32]",
            "vpsrlw ymm10, ymm8, 4",
            "vpsrlw ymm11, ymm9, 4",
            "vpand ymm8, ymm8, ymm14",
            "vpand ymm9, ymm9, ymm14",
            "vpand ymm10, ymm10, ymm14",
            "vpand ymm11, ymm11, ymm14",
            each_row!(add_quads),
        ], join: each_row!(join)
    );
}

/// As [`four`], in int16. A block's sum is at most 32 * 15 * 32767.
///
/// # Safety
/// As [`four`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn four_wide<const M: usize>(
    first: usize,
    step: Step<'_>,
    out: &mut TileOutputs,
) {
    debug_assert!(first + STEP <= M);
    four_block!(
        step, first, out, bytes: 2, mask: _mm256_set1_epi16(15), round: [
            "vmovdqu ymm8, ymmword ptr [{bytes}]",
            "vmovdqu ymm9, ymmword ptr [{bytes} + 32]",
            "vpand ymm10, ymm8, ymm14",
            "vpand ymm11, ymm9, ymm14",
            each_row!(add_pair, "0"),
            "vpsrlw ymm10, ymm8, 8",
            "vpsrlw ymm11, ymm9, 8",
            "vpand ymm10, ymm10, ymm14",
            "vpand ymm11, ymm11, ymm14",
            each_row!(add_pair, "4"),
            "vpsrlw ymm10, ymm8, 4",
            "vpsrlw ymm11, ymm9, 4",
            "vpand ymm10, ymm10, ymm14",
            "vpand ymm11, ymm11, ymm14",
            each_row!(add_pair, "{half} + 0"),
            "vpsrlw ymm10, ymm8, 12",
            "vpsrlw ymm11, ymm9, 12",
            each_row!(add_pair, "{half} + 4"),
        ], join: ""
    );
}

/// As [`four`], of 8-bit weights in int16. A block's sum is at most 32 * 255 * 32767.
///
/// # Safety
/// As [`four`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn eight_wide<const M: usize>(
    first: usize,
    step: Step<'_>,
    out: &mut TileOutputs,
) {
    debug_assert!(first + STEP <= M);
    let Step { weights, rows, block, .. } = step;
    let at = block * M + first;
    // SAFETY: as in `four_block`.
    unsafe {
        asm!(
            each_row!(start_at_centre),
            "2:",
            "vmovdqu ymm8, ymmword ptr [{bytes}]",
            "vmovdqu ymm9, ymmword ptr [{bytes} + 32]",
            "vpand ymm10, ymm8, ymm14",
            "vpand ymm11, ymm9, ymm14",
            each_row!(add_pair, "0"),
            "vpsrlw ymm10, ymm8, 8",
            "vpsrlw ymm11, ymm9, 8",
            each_row!(add_pair, "4"),
            "add {bytes}, 64",
            "add {values}, {quad}",
            "dec {rounds}",
            "jnz 2b",
            load_halves!("weight_scales", "ymm8", "ymm9"),
            each_row!(scale),
            each_row!(store),
            bytes = inout(reg) weights.quants.add(block * EIGHT_BYTES) => _,
            values = inout(reg) rows.quants.add((block * BLOCK * M + first * 4) * 2) => _,
            rounds = inout(reg) EIGHT_BYTES / 64 => _,
            weight_scales = in(reg) weights.scales.add(block * GROUP),
            scales = in(reg) rows.scales.add(at),
            centres = in(reg) rows.centres.add(at),
            out = in(reg) out.as_mut_ptr().add(first * GROUP),
            quad = const 8 * M,
            in("ymm14") _mm256_set1_epi16(255),
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
            out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
            out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm12") _, out("ymm13") _,
            options(nostack),
        );
    }
}
