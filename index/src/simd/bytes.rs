//! Dot products of rows of signed bytes, exact in every form.

use super::{Level, level, prefetch};

/// How many rows ahead of the one compared are being fetched.
const ROWS_AHEAD: usize = 8;

/// A query as signed bytes, with what the kernels want to know beforehand.
///
/// Every value is from -127 to 127, as are those of the rows: without -128 two
/// products of a pair fit into sixteen bits.
#[derive(Debug, Clone)]
pub(crate) struct ByteQuery {
    values: Vec<i8>,
    /// 128 times the sum of the values.
    bias: i32,
}

impl ByteQuery {
    pub(crate) fn new(mut values: Vec<i8>) -> Self {
        values.iter_mut().for_each(|value| *value = (*value).max(-127));
        let bias = values.iter().map(|&value| 128 * i32::from(value)).sum();
        Self { values, bias }
    }
}

/// Puts the dot product of the query with each row into `out`, in their order.
///
/// `row` returns the values of a row, as many as the query has and none of
/// them -128. The products are exact integers, rounded to a float.
#[inline]
pub(crate) fn dot_bytes_each<'a>(
    query: &ByteQuery,
    rows: &[u32],
    row: impl Fn(u32) -> &'a [i8],
    out: &mut Vec<f32>,
) {
    dot_each_at(level(), query, rows, row, out);
}

fn dot_each_at<'a>(
    level: Level,
    query: &ByteQuery,
    rows: &[u32],
    row: impl Fn(u32) -> &'a [i8],
    out: &mut Vec<f32>,
) {
    match level {
        Level::Portable => each(rows, row, out, |row| dot_portable(&query.values, row)),
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
    row: impl Fn(u32) -> &'a [i8],
    out: &mut Vec<f32>,
    dot: impl Fn(&[i8]) -> i32,
) {
    rows.iter().take(ROWS_AHEAD).for_each(|&next| prefetch(row(next)));
    out.clear();
    for (position, &number) in rows.iter().enumerate() {
        if let Some(&next) = rows.get(position + ROWS_AHEAD) {
            prefetch(row(next));
        }
        out.push(dot(row(number)) as f32);
    }
}

fn dot_portable(left: &[i8], right: &[i8]) -> i32 {
    left.iter().zip(right).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn each_avx2<'a>(
    query: &ByteQuery,
    rows: &[u32],
    row: impl Fn(u32) -> &'a [i8],
    out: &mut Vec<f32>,
) {
    each(rows, row, out, |row| dot_avx2(&query.values, row));
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn each_avx512<'a>(
    query: &ByteQuery,
    rows: &[u32],
    row: impl Fn(u32) -> &'a [i8],
    out: &mut Vec<f32>,
) {
    each(rows, row, out, |row| dot_avx512(query, row));
}

/// Multiplies magnitudes with signs moved to the other side, since the
/// instruction wants one side unsigned.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn dot_avx2(left: &[i8], right: &[i8]) -> i32 {
    use std::arch::x86_64::{
        _mm_add_epi32, _mm_cvtsi128_si32, _mm_shuffle_epi32, _mm256_abs_epi8, _mm256_add_epi32,
        _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_madd_epi16,
        _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_setzero_si256, _mm256_sign_epi8,
    };
    const LANES: usize = 32;
    let length = left.len().min(right.len());
    let ones = _mm256_set1_epi16(1);
    let mut sums = [_mm256_setzero_si256(); 2];
    let mut at = 0;
    while at + LANES <= length {
        // SAFETY: `at + LANES` is at most the length of both slices; the loads
        // need no alignment.
        let (a, b) = unsafe {
            (
                _mm256_loadu_si256(left.as_ptr().add(at).cast()),
                _mm256_loadu_si256(right.as_ptr().add(at).cast()),
            )
        };
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(b, a));
        let sum = &mut sums[(at / LANES) % 2];
        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
        at += LANES;
    }
    let sum = _mm256_add_epi32(sums[0], sums[1]);
    let four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    let one = _mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two));
    _mm_cvtsi128_si32(one) + dot_portable(&left[at..length], &right[at..length])
}

/// Adds 128 to the row's values, since the instruction wants one side
/// unsigned, and takes off what that adds to the sum.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot_avx512(query: &ByteQuery, row: &[i8]) -> i32 {
    use std::arch::x86_64::{
        _mm512_add_epi32, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_maskz_loadu_epi8,
        _mm512_reduce_add_epi32, _mm512_set1_epi8, _mm512_setzero_si512, _mm512_xor_si512,
    };
    const LANES: usize = 64;
    let values = &query.values;
    let length = values.len().min(row.len());
    let flip = _mm512_set1_epi8(-128);
    let mut sums = [_mm512_setzero_si512(); 2];
    let mut at = 0;
    while at + LANES <= length {
        // SAFETY: `at + LANES` is at most the length of both slices; the loads
        // need no alignment.
        let (a, b) = unsafe {
            (
                _mm512_loadu_si512(values.as_ptr().add(at).cast()),
                _mm512_loadu_si512(row.as_ptr().add(at).cast()),
            )
        };
        let sum = &mut sums[(at / LANES) % 2];
        *sum = _mm512_dpbusd_epi32(*sum, _mm512_xor_si512(b, flip), a);
        at += LANES;
    }
    if at < length {
        let mask = u64::MAX >> (LANES - (length - at));
        // SAFETY: the mask has a bit for each value from `at` on, which both
        // slices have; what is masked is not read, and counts as a query of 0.
        let (a, b) = unsafe {
            (
                _mm512_maskz_loadu_epi8(mask, values.as_ptr().add(at)),
                _mm512_maskz_loadu_epi8(mask, row.as_ptr().add(at)),
            )
        };
        sums[0] = _mm512_dpbusd_epi32(sums[0], _mm512_xor_si512(b, flip), a);
    }
    _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1])) - query.bias
}

#[cfg(test)]
mod tests {
    use super::{super::levels_here, *};
    use rand::{Rng, SeedableRng, rngs::StdRng};

    #[test]
    fn every_kernel_is_exact_at_every_length_and_at_the_extremes() {
        let mut random = StdRng::seed_from_u64(2);
        for length in (0..200).chain([256, 384, 1023, 16_384]) {
            let mut row =
                || -> Vec<i8> { (0..length).map(|_| random.random_range(-127..=127)).collect() };
            let mut rows: Vec<Vec<i8>> = (0..9).map(|_| row()).collect();
            rows.push(vec![127; length]);
            rows.push(vec![-127; length]);
            let order: Vec<u32> = (0..11).rev().collect();
            let mut out = vec![7.0; 3];
            for query in [row(), vec![127; length], vec![-127; length]] {
                let expected: Vec<f32> = order
                    .iter()
                    .map(|&row| {
                        let pairs = rows[row as usize].iter().zip(&query);
                        pairs.map(|(&a, &b)| i32::from(a) * i32::from(b)).sum::<i32>() as f32
                    })
                    .collect();
                let query = ByteQuery::new(query);
                for level in levels_here() {
                    dot_each_at(level, &query, &order, |row| &rows[row as usize], &mut out);
                    assert_eq!(out, expected, "{level:?} at length {length}");
                }
            }
        }
    }
}
