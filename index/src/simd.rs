//! The two instructions worth choosing by hand: a dot product and a prefetch.
//!
//! Every score in the crate comes from [`dot`], so a scan and a walk give the
//! same row the same score.
#![allow(unsafe_code)]

/// Floats in one cache line.
const LINE_FLOATS: usize = 16;

/// Cache lines asked for ahead of a visit; the hardware follows on from there.
const PREFETCH_LINES: usize = 4;

/// Returns the dot product of two rows of equal length.
#[inline]
pub(crate) fn dot(left: &[f32], right: &[f32]) -> f32 {
    debug_assert_eq!(left.len(), right.len());
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: both features were just detected, which is all the kernel
        // asks for; it reads no further than the shorter slice.
        return unsafe { dot_avx2(left, right) };
    }
    dot_portable(left, right)
}

/// Asks the processor to fetch the start of a row that is about to be read.
#[inline]
pub(crate) fn prefetch(row: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in row.chunks(LINE_FLOATS).take(PREFETCH_LINES) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of x86-64, and a prefetch reads nothing; the
        // pointer is that of a live slice all the same.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (row, LINE_FLOATS, PREFETCH_LINES);
}

/// Sums in eight independent lanes, which compilers turn into vector code.
fn dot_portable(left: &[f32], right: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut lanes = [0.0_f32; LANES];
    let (left_chunks, right_chunks) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let rest = left_chunks.remainder().iter().zip(right_chunks.remainder());
    let rest: f32 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in left_chunks.zip(right_chunks) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// Sums in four registers of eight lanes, enough to hide the latency of a
/// fused multiply-add.
///
/// # Safety
/// The processor must have AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn dot_avx2(left: &[f32], right: &[f32]) -> f32 {
    use std::arch::x86_64::{
        _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehl_ps, _mm_shuffle_ps, _mm256_add_ps,
        _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
        _mm256_setzero_ps,
    };
    const LANES: usize = 8;
    const STRIDE: usize = 4 * LANES;
    let length = left.len().min(right.len());
    let (a, b) = (left.as_ptr(), right.as_ptr());
    let mut sums = [_mm256_setzero_ps(); 4];
    let mut at = 0;
    while at + STRIDE <= length {
        for (register, sum) in sums.iter_mut().enumerate() {
            let offset = at + register * LANES;
            // SAFETY: `offset + LANES` is at most `at + STRIDE`, which is at
            // most the length of both slices; the loads need no alignment.
            unsafe {
                *sum = _mm256_fmadd_ps(
                    _mm256_loadu_ps(a.add(offset)),
                    _mm256_loadu_ps(b.add(offset)),
                    *sum,
                );
            }
        }
        at += STRIDE;
    }
    while at + LANES <= length {
        // SAFETY: `at + LANES` is at most the length of both slices.
        unsafe {
            sums[0] =
                _mm256_fmadd_ps(_mm256_loadu_ps(a.add(at)), _mm256_loadu_ps(b.add(at)), sums[0]);
        }
        at += LANES;
    }
    let sum = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
    let four = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    let one = _mm_add_ss(two, _mm_shuffle_ps::<1>(two, two));
    let rest = left[at..length].iter().zip(&right[at..length]).map(|(a, b)| a * b).sum::<f32>();
    _mm_cvtss_f32(one) + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    #[test]
    fn every_kernel_agrees_with_the_sum_in_f64_at_every_length() {
        let mut random = StdRng::seed_from_u64(1);
        for length in (0..140).chain([384, 576, 1023]) {
            let left: Vec<f32> = (0..length).map(|_| random.random_range(-1.0..1.0)).collect();
            let right: Vec<f32> = (0..length).map(|_| random.random_range(-1.0..1.0)).collect();
            let exact: f64 =
                left.iter().zip(&right).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            for (name, got) in
                [("chosen", dot(&left, &right)), ("portable", dot_portable(&left, &right))]
            {
                assert!((f64::from(got) - exact).abs() < 1e-4, "{name} at length {length}");
            }
            prefetch(&left);
        }
    }
}
