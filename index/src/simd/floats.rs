//! Dot products of rows of floats.

use super::{Level, level, prefetch};

/// How many rows ahead of the one compared are being fetched: enough for a
/// fetch from memory to be over when its row's turn comes.
const ROWS_AHEAD: usize = 6;

/// Returns the dot product of two rows of equal length.
#[inline]
pub(crate) fn dot(left: &[f32], right: &[f32]) -> f32 {
    dot_at(level(), left, right)
}

/// Puts the dot product of the query with each row into `out`, in their order.
///
/// `row` returns the values of a row, as many as the query has. The rows are
/// fetched ahead of their turn, so they may lie anywhere.
#[inline]
pub(crate) fn dot_each<'a>(
    query: &[f32],
    rows: &[u32],
    row: impl Fn(u32) -> &'a [f32],
    out: &mut Vec<f32>,
) {
    dot_each_at(level(), query, rows, row, out);
}

fn dot_at(level: Level, left: &[f32], right: &[f32]) -> f32 {
    debug_assert_eq!(left.len(), right.len());
    match level {
        Level::Portable => dot_portable(left, right),
        // SAFETY: the level says that the processor has the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { dot_avx2(left, right) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { dot_avx512(left, right) },
    }
}

fn dot_each_at<'a>(
    level: Level,
    query: &[f32],
    rows: &[u32],
    row: impl Fn(u32) -> &'a [f32],
    out: &mut Vec<f32>,
) {
    match level {
        Level::Portable => each(rows, row, out, |row| dot_portable(query, row)),
        // SAFETY: the level says that the processor has the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { each_avx2(query, rows, row, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { each_avx512(query, rows, row, out) },
    }
}

/// Goes through rows, fetching those to come.
#[inline(always)]
fn each<'a>(
    rows: &[u32],
    row: impl Fn(u32) -> &'a [f32],
    out: &mut Vec<f32>,
    dot: impl Fn(&[f32]) -> f32,
) {
    rows.iter().take(ROWS_AHEAD).for_each(|&next| prefetch(row(next)));
    out.clear();
    for (position, &number) in rows.iter().enumerate() {
        if let Some(&next) = rows.get(position + ROWS_AHEAD) {
            prefetch(row(next));
        }
        out.push(dot(row(number)));
    }
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

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn each_avx2<'a>(query: &[f32], rows: &[u32], row: impl Fn(u32) -> &'a [f32], out: &mut Vec<f32>) {
    each(rows, row, out, |row| dot_avx2(query, row));
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn each_avx512<'a>(
    query: &[f32],
    rows: &[u32],
    row: impl Fn(u32) -> &'a [f32],
    out: &mut Vec<f32>,
) {
    each(rows, row, out, |row| dot_avx512(query, row));
}

/// Sums in four registers of eight lanes, enough to hide the latency of a
/// fused multiply-add.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,fma")]
fn dot_avx2(left: &[f32], right: &[f32]) -> f32 {
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
            let (x, y) =
                unsafe { (_mm256_loadu_ps(a.add(offset)), _mm256_loadu_ps(b.add(offset))) };
            *sum = _mm256_fmadd_ps(x, y, *sum);
        }
        at += STRIDE;
    }
    while at + LANES <= length {
        // SAFETY: `at + LANES` is at most the length of both slices.
        let (x, y) = unsafe { (_mm256_loadu_ps(a.add(at)), _mm256_loadu_ps(b.add(at))) };
        sums[0] = _mm256_fmadd_ps(x, y, sums[0]);
        at += LANES;
    }
    let sum = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
    let four = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    let one = _mm_add_ss(two, _mm_shuffle_ps::<1>(two, two));
    let rest = left[at..length].iter().zip(&right[at..length]).map(|(a, b)| a * b).sum::<f32>();
    _mm_cvtss_f32(one) + rest
}

/// Sums in four registers of sixteen lanes; the end is read under a mask.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
fn dot_avx512(left: &[f32], right: &[f32]) -> f32 {
    use std::arch::x86_64::{
        _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_maskz_loadu_ps,
        _mm512_reduce_add_ps, _mm512_setzero_ps,
    };
    const LANES: usize = 16;
    const STRIDE: usize = 4 * LANES;
    let length = left.len().min(right.len());
    let (a, b) = (left.as_ptr(), right.as_ptr());
    let mut sums = [_mm512_setzero_ps(); 4];
    let mut at = 0;
    while at + STRIDE <= length {
        for (register, sum) in sums.iter_mut().enumerate() {
            let offset = at + register * LANES;
            // SAFETY: `offset + LANES` is at most `at + STRIDE`, which is at
            // most the length of both slices; the loads need no alignment.
            let (x, y) =
                unsafe { (_mm512_loadu_ps(a.add(offset)), _mm512_loadu_ps(b.add(offset))) };
            *sum = _mm512_fmadd_ps(x, y, *sum);
        }
        at += STRIDE;
    }
    while at < length {
        let lanes = LANES.min(length - at);
        let mask = (u32::MAX >> (32 - lanes)) as u16;
        // SAFETY: the mask has a bit for each of the `lanes` values from `at`
        // on, which both slices have; what is masked is not read.
        let (x, y) = unsafe {
            (_mm512_maskz_loadu_ps(mask, a.add(at)), _mm512_maskz_loadu_ps(mask, b.add(at)))
        };
        sums[0] = _mm512_fmadd_ps(x, y, sums[0]);
        at += lanes;
    }
    let [first, second, third, fourth] = sums;
    _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(first, second), _mm512_add_ps(third, fourth)))
}

#[cfg(test)]
mod tests {
    use super::{super::levels_here, *};
    use rand::{Rng, SeedableRng, rngs::StdRng};

    #[test]
    fn every_kernel_agrees_with_the_sum_in_f64_at_every_length() {
        let mut random = StdRng::seed_from_u64(1);
        for length in (0..140).chain([256, 384, 576, 1023]) {
            let mut row =
                || -> Vec<f32> { (0..length).map(|_| random.random_range(-1.0..1.0)).collect() };
            let query = row();
            let rows: Vec<Vec<f32>> = (0..9).map(|_| row()).collect();
            let exact: Vec<f64> = rows
                .iter()
                .map(|row| row.iter().zip(&query).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum())
                .collect();
            let order: Vec<u32> = (0..9).rev().collect();
            let mut out = vec![7.0; 3];
            for level in levels_here() {
                dot_each_at(level, &query, &order, |row| &rows[row as usize], &mut out);
                assert_eq!(out.len(), 9);
                for (&row, &got) in order.iter().zip(&out) {
                    let exact = exact[row as usize];
                    let one = dot_at(level, &query, &rows[row as usize]);
                    assert!((f64::from(got) - exact).abs() < 1e-4, "{level:?} at {length}");
                    assert!((f64::from(one) - exact).abs() < 1e-4, "{level:?} at {length}");
                }
            }
        }
    }
}
