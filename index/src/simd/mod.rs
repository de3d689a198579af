//! The instructions worth choosing by hand: dot products and prefetches.
//!
//! Each product has three forms, chosen once by what the processor has:
//! AVX-512, AVX2, and plain code that compilers turn into vectors themselves.
//! Every score that leaves the crate comes from [`dot`], so a scan and a walk
//! give the same row the same score.
#![allow(unsafe_code)]

mod blocks;
mod bytes;
mod floats;
mod nibbles;
mod places;

pub(crate) use blocks::{BLOCK_ROWS, dot_blocks, nearest_in_blocks, to_blocks};
pub(crate) use bytes::{ByteQuery, dot_bytes_each};
pub(crate) use floats::{dot, dot_each};
pub(crate) use nibbles::{NibbleQuery, dot_nibbles_each, nibble_bytes, to_nibbles};
pub(crate) use places::set_bits;

use std::sync::OnceLock;

/// Bytes in one cache line.
const LINE_BYTES: usize = 64;

/// Which form of each kernel this processor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 with its byte products (F, BW and VNNI), and counting of bits.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// Returns the best form, found out on the first call.
#[inline]
fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(detect)
}

fn detect() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let has_vnni = has!("avx512f") && has!("avx512bw") && has!("avx512vnni");
        if has_vnni && has!("popcnt") {
            return Level::Avx512;
        }
        if has!("avx2") && has!("fma") {
            return Level::Avx2;
        }
    }
    Level::Portable
}

/// Asks the processor to fetch values that are about to be read.
#[inline]
pub(crate) fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = values.as_ptr().cast::<i8>();
        for offset in (0..size_of_val(values)).step_by(LINE_BYTES) {
            // SAFETY: SSE is part of x86-64, and a prefetch reads nothing; the
            // pointer stays within a live slice all the same.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(offset)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, LINE_BYTES);
}

#[cfg(test)]
fn levels_here() -> Vec<Level> {
    #[cfg(target_arch = "x86_64")]
    match detect() {
        Level::Avx512 => vec![Level::Portable, Level::Avx2, Level::Avx512],
        Level::Avx2 => vec![Level::Portable, Level::Avx2],
        Level::Portable => vec![Level::Portable],
    }
    #[cfg(not(target_arch = "x86_64"))]
    vec![Level::Portable]
}
