//! The table of kernels for each instruction set.

use half::f16;

#[cfg(target_arch = "x86_64")]
use crate::rounding;
use crate::{
    ActivationBits, Isa, Precision,
    activations::{Form, Integers, Slot, TILE},
    attention::{self, AttentionTile},
    lanes,
    matrix::GROUP,
    rope, rows, slopes,
    tile::{self, TileKernel},
    training::{TileInput, TileSet},
};

/// Rows, scales, epsilon, slopes, and what is computed.
type NormaliseBackward = unsafe fn(&[f32], &[f32], f32, &[f32], &mut [f32]);

/// The first row, the distance between rows, blocks of a row, and the tile.
pub(crate) type TileQuantiser = unsafe fn(*const f32, usize, usize, &Slot);

/// Kernels for one instruction set. All are unsafe for want of it; their own conditions
/// stand where they are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernels {
    /// By the tile's width less one.
    pub(crate) four: [TileKernel; TILE],
    pub(crate) eight: [TileKernel; TILE],
    /// For int16 activations.
    pub(crate) four_wide: [TileKernel; TILE],
    pub(crate) eight_wide: [TileKernel; TILE],
    pub(crate) dense: [TileKernel; TILE],
    pub(crate) normalise: unsafe fn(*const f32, *const f32, usize, f32, *mut f32),
    pub(crate) quantise: unsafe fn(*const f32, usize, &Slot),
    pub(crate) quantise_wide: unsafe fn(*const f32, usize, &Slot),
    /// To int8, laid out as int16.
    pub(crate) quantise_widened: unsafe fn(*const f32, usize, &Slot),
    /// The rows of a tile together, to int8 and to int16, where there is a kernel for it.
    pub(crate) quantise_tiles: [Option<TileQuantiser>; 2],
    /// 8-bit weights are multiplied faster by int16 than by int8.
    widens_eight: bool,
    pub(crate) spread: unsafe fn(*const f32, usize, &Slot),
    pub(crate) gate: unsafe fn(*const f32, *const f32, *mut f32),
    pub(crate) add_low_rank_half: unsafe fn(*const f16, *const f32, usize, usize, usize, *mut f32),
    pub(crate) add_low_rank_single:
        unsafe fn(*const f32, *const f32, usize, usize, usize, *mut f32),
    pub(crate) rotate: unsafe fn(*const f32, rope::Angles<'_>, f32, *mut f32),
    pub(crate) place_half: unsafe fn(&[f32], *const f32, *mut f16, usize, usize),
    pub(crate) place_single: unsafe fn(&[f32], *const f32, *mut f32, usize, usize),
    pub(crate) attend_half: unsafe fn(&AttentionTile<'_>),
    pub(crate) attend_single: unsafe fn(&AttentionTile<'_>),
    pub(crate) gate_backward: unsafe fn(&[[f32; GROUP]; 3], &mut [f32; GROUP], &mut [f32; GROUP]),
    pub(crate) normalise_backward: NormaliseBackward,
    pub(crate) softmax: unsafe fn(&[f32], &[f32], &mut [f32]),
    pub(crate) softmax_backward: unsafe fn(&[f32], &[f32], &mut [f32]),
    /// Of products of f32 matrices.
    pub(crate) tiles: TileSet,
}

impl Kernels {
    /// Finds the kernels for an instruction set.
    ///
    /// # Panics
    /// Panics when this machine does not have it, so that the kernels are sound to call.
    pub(crate) fn of(isa: Isa) -> &'static Self {
        assert!(Isa::available().contains(&isa), "this machine has no {}", isa.name());
        match isa {
            Isa::Portable => &portable::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &avx2::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &avx512::KERNELS,
        }
    }

    /// What activations are made of that meet weights of `precision`, or of several if that is
    /// less than 8 bits.
    pub(crate) fn form(&self, bits: ActivationBits, precision: Precision) -> Form {
        match (bits, precision) {
            (_, Precision::Dense) => Form::Dense,
            (ActivationBits::Eight, Precision::Eight) if self.widens_eight => {
                Form::Quantised(Integers::EightInSixteen)
            }
            (ActivationBits::Eight, _) => Form::Quantised(Integers::Eight),
            (ActivationBits::Sixteen, _) => Form::Quantised(Integers::Sixteen),
        }
    }
}

/// An array of a kernel for tiles of 1 to 8 rows.
macro_rules! widths {
    ($($kernel:ident)::+ $(, $lanes:ty)?) => {
        [
            $($kernel)::+::<$($lanes,)? 1>,
            $($kernel)::+::<$($lanes,)? 2>,
            $($kernel)::+::<$($lanes,)? 3>,
            $($kernel)::+::<$($lanes,)? 4>,
            $($kernel)::+::<$($lanes,)? 5>,
            $($kernel)::+::<$($lanes,)? 6>,
            $($kernel)::+::<$($lanes,)? 7>,
            $($kernel)::+::<$($lanes,)? 8>,
        ]
    };
}

/// Kernels for tiles of 1 to 8 rows and 1 to 3 vectors.
macro_rules! shapes {
    ($kernel:ident) => {
        shapes!($kernel, 1 2 3 4 5 6 7 8)
    };
    ($kernel:ident, $($rows:literal)*) => {
        [$([$kernel::<$rows, 1>, $kernel::<$rows, 2>, $kernel::<$rows, 3>]),*]
    };
}

/// A module with the entry points of one instruction set: here the generic kernels inline,
/// and their intrinsics with them.
macro_rules! entries {
    (
        $module:ident, $lanes:ty, $rows:literal, $tiles:ident, $wide:ident, $quantisers:expr,
        widens_eight: $widens:literal $(, #[$feature:meta])?
    ) => {
        mod $module {
            use super::*;
            use crate::tile::{GroupWeights, TileOutputs};

            pub(super) static KERNELS: Kernels = Kernels {
                four: widths!(tile::$tiles::four),
                eight: widths!(tile::$tiles::eight),
                four_wide: widths!(tile::$wide::four),
                eight_wide: widths!(tile::$wide::eight),
                dense: widths!(dense),
                normalise,
                quantise: quantise::<i8>,
                quantise_wide: quantise::<i16>,
                quantise_widened: quantise::<rows::Widened>,
                quantise_tiles: $quantisers,
                widens_eight: $widens,
                spread,
                gate,
                add_low_rank_half: add_low_rank::<f16>,
                add_low_rank_single: add_low_rank::<f32>,
                rotate,
                place_half: place::<f16>,
                place_single: place::<f32>,
                attend_half: attend::<f16>,
                attend_single: attend::<f32>,
                gate_backward,
                normalise_backward,
                softmax,
                softmax_backward,
                tiles: TileSet {
                    width: <$lanes as lanes::Lanes>::WIDTH,
                    rows: $rows,
                    tiles: shapes!(product_tile),
                },
            };

            // Registers: a sum for every row and vector, a row of vectors, and one value.
            $(#[$feature])?
            unsafe fn product_tile<const M: usize, const L: usize>(input: &TileInput) {
                unsafe { crate::training::tile::<$lanes, M, L>(input) }
            }

            // SAFETY of all: the caller's promise for the kernel that is called.
            $(#[$feature])?
            unsafe fn dense<const M: usize>(
                weights: &GroupWeights,
                rows: &Slot,
                blocks: usize,
                out: &mut TileOutputs,
            ) {
                unsafe { tile::dense::<$lanes, M>(weights, rows, blocks, out) }
            }

            $(#[$feature])?
            unsafe fn normalise(
                row: *const f32,
                scales: *const f32,
                count: usize,
                eps: f32,
                out: *mut f32,
            ) {
                unsafe { rows::normalise::<$lanes>(row, scales, count, eps, out) }
            }

            $(#[$feature])?
            unsafe fn quantise<Q: rows::Quant>(row: *const f32, count: usize, slot: &Slot) {
                unsafe { rows::quantise::<$lanes, Q>(row, count, slot) }
            }

            $(#[$feature])?
            unsafe fn spread(row: *const f32, count: usize, slot: &Slot) {
                unsafe { rows::spread(row, count, slot) }
            }

            $(#[$feature])?
            unsafe fn gate(gates: *const f32, values: *const f32, out: *mut f32) {
                unsafe { rows::gate::<$lanes>(gates, values, out) }
            }

            $(#[$feature])?
            unsafe fn add_low_rank<E: lanes::Element>(
                b: *const E,
                u: *const f32,
                stride: usize,
                rank: usize,
                rows: usize,
                out: *mut f32,
            ) {
                unsafe { rows::add_low_rank::<$lanes, E>(b, u, stride, rank, rows, out) }
            }

            $(#[$feature])?
            unsafe fn rotate(
                head: *const f32,
                angles: rope::Angles<'_>,
                scale: f32,
                out: *mut f32,
            ) {
                unsafe { rope::rotate::<$lanes>(head, angles, scale, out) }
            }

            $(#[$feature])?
            unsafe fn place<E: lanes::Element>(
                key: &[f32],
                value: *const f32,
                keys: *mut E,
                head_width: usize,
                slot: usize,
            ) {
                unsafe { rope::place::<$lanes, E>(key, value, keys, head_width, slot) }
            }

            $(#[$feature])?
            unsafe fn attend<E: lanes::Element>(tile: &AttentionTile<'_>) {
                unsafe { attention::attend::<$lanes, E>(tile) }
            }

            $(#[$feature])?
            unsafe fn gate_backward(
                inputs: &[[f32; GROUP]; 3],
                by_gates: &mut [f32; GROUP],
                by_values: &mut [f32; GROUP],
            ) {
                unsafe { slopes::gate_backward_group::<$lanes>(inputs, by_gates, by_values) }
            }

            $(#[$feature])?
            unsafe fn normalise_backward(
                row: &[f32],
                scales: &[f32],
                eps: f32,
                slopes: &[f32],
                out: &mut [f32],
            ) {
                unsafe { slopes::normalise_backward_row::<$lanes>(row, scales, eps, slopes, out) }
            }

            $(#[$feature])?
            unsafe fn softmax(scores: &[f32], mask: &[f32], out: &mut [f32]) {
                unsafe { slopes::softmax_row::<$lanes>(scores, mask, out) }
            }

            $(#[$feature])?
            unsafe fn softmax_backward(shares: &[f32], slopes: &[f32], out: &mut [f32]) {
                unsafe { slopes::softmax_backward_row::<$lanes>(shares, slopes, out) }
            }
        }
    };
}

entries!(portable, lanes::Portable, 4, portable, portable_wide, [None; 2], widens_eight: false);
#[cfg(target_arch = "x86_64")]
entries!(
    avx2,
    lanes::Avx2,
    4,
    avx2,
    avx2_wide,
    [None; 2],
    widens_eight: true,
    #[target_feature(enable = "avx2,fma,f16c")]
);
#[cfg(target_arch = "x86_64")]
entries!(
    avx512,
    lanes::Avx512,
    8,
    avx512,
    avx512_wide,
    rounding::QUANTISERS,
    widens_eight: false,
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
);
