//! Dot products of a row of signed bytes with rows of four-bit numbers, exact in every form.
//!
//! A row of numbers from 0 to 15 takes half a byte for each. The low halves of its bytes are
//! the first numbers, the high halves the others, so that each half is a row of bytes under a
//! mask.

use super::{Level, level, prefetch};

/// How many rows ahead of the one compared are being fetched.
const ROWS_AHEAD: usize = 32;

/// Rows compared together: their sums over lanes are taken in one go.
const AT_ONCE: usize = 4;

const LOW: u8 = 0x0f;

/// A query as signed bytes, in the two halves that rows have.
#[derive(Debug, Default)]
pub(crate) struct NibbleQuery {
    low: Vec<i8>,
    high: Vec<i8>,
}

impl NibbleQuery {
    /// Takes the values of a query.
    pub(crate) fn set(&mut self, values: impl ExactSizeIterator<Item = i8>) {
        let width = nibble_bytes(values.len());
        self.low.clear();
        self.low.extend(values);
        self.high.clear();
        self.high.extend_from_slice(&self.low[width..]);
        self.high.resize(width, 0);
        self.low.truncate(width);
    }
}

/// Returns the bytes of a row of numbers.
pub(crate) fn nibble_bytes(numbers: usize) -> usize {
    numbers.div_ceil(2)
}

/// Packs numbers from 0 to 15 into the bytes of a row.
pub(crate) fn to_nibbles(numbers: impl ExactSizeIterator<Item = u8>, row: &mut [u8]) {
    let width = nibble_bytes(numbers.len());
    row.fill(0);
    for (at, number) in numbers.enumerate() {
        row[at % width] |= (number & LOW) << if at < width { 0 } else { 4 };
    }
}

/// Puts the dot product of the query with some of `rows` into `out`, in the order of
/// `numbers`: each is that of a row which is there.
pub(crate) fn dot_nibbles_each(
    query: &NibbleQuery,
    rows: &[u8],
    numbers: &[u32],
    out: &mut Vec<i32>,
) {
    dot_each_at(level(), query, rows, numbers, out);
}

fn dot_each_at(
    level: Level,
    query: &NibbleQuery,
    rows: &[u8],
    numbers: &[u32],
    out: &mut Vec<i32>,
) {
    match level {
        Level::Portable => {
            each(query, rows, numbers, out, |some| some.map(|row| dot_portable(query, row)));
        }
        // SAFETY: the level says that the processor has the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { each_avx2(query, rows, numbers, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { each_avx512(query, rows, numbers, out) },
    }
}

/// Goes through rows, some at a time, fetching those to come.
#[inline(always)]
fn each(
    query: &NibbleQuery,
    rows: &[u8],
    numbers: &[u32],
    out: &mut Vec<i32>,
    dots: impl Fn([&[u8]; AT_ONCE]) -> [i32; AT_ONCE],
) {
    let width = query.low.len();
    let row = |number: u32| &rows[number as usize * width..][..width];
    numbers.iter().take(ROWS_AHEAD).for_each(|&next| prefetch(row(next)));
    out.clear();
    out.reserve(numbers.len());
    let (groups, rest) = numbers.as_chunks::<AT_ONCE>();
    for (group, position) in groups.iter().zip((ROWS_AHEAD..).step_by(AT_ONCE)) {
        for &next in numbers.iter().skip(position).take(AT_ONCE) {
            prefetch(row(next));
        }
        let &[a, b, c, d] = group;
        out.extend_from_slice(&dots([row(a), row(b), row(c), row(d)]));
    }
    if let Some(&last) = rest.last() {
        let some = std::array::from_fn(|at| row(*rest.get(at).unwrap_or(&last)));
        out.extend_from_slice(&dots(some)[..rest.len()]);
    }
}

#[inline(always)]
fn dot_portable(query: &NibbleQuery, row: &[u8]) -> i32 {
    dot_halves(&query.low, &query.high, row)
}

#[inline(always)]
fn dot_halves(low: &[i8], high: &[i8], row: &[u8]) -> i32 {
    let halves = low.iter().zip(high).zip(row);
    let products = halves.map(|((&low, &high), &byte)| {
        i32::from(low) * i32::from(byte & LOW) + i32::from(high) * i32::from(byte >> 4)
    });
    products.sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn each_avx2(query: &NibbleQuery, rows: &[u8], numbers: &[u32], out: &mut Vec<i32>) {
    each(query, rows, numbers, out, |some| some.map(|row| dot_avx2(query, row)));
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn each_avx512(query: &NibbleQuery, rows: &[u8], numbers: &[u32], out: &mut Vec<i32>) {
    each(query, rows, numbers, out, |some| dots_avx512(query, some));
}

/// Two products of a number below 16 and a signed byte fit into sixteen bits many times over.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn dot_avx2(query: &NibbleQuery, row: &[u8]) -> i32 {
    use std::arch::x86_64::{
        _mm_add_epi32, _mm_cvtsi128_si32, _mm_shuffle_epi32, _mm256_add_epi16, _mm256_add_epi32,
        _mm256_and_si256, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_loadu_si256,
        _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi8, _mm256_set1_epi16,
        _mm256_setzero_si256, _mm256_srli_epi16,
    };
    const LANES: usize = 32;
    let (low, high) = (&*query.low, &*query.high);
    let length = row.len().min(low.len()).min(high.len());
    let (mask, ones) = (_mm256_set1_epi8(LOW as i8), _mm256_set1_epi16(1));
    let mut sum = _mm256_setzero_si256();
    let mut at = 0;
    while at + LANES <= length {
        // SAFETY: `at + LANES` is at most the length of all three slices; the loads need no
        // alignment.
        let (bytes, low, high) = unsafe {
            (
                _mm256_loadu_si256(row.as_ptr().add(at).cast()),
                _mm256_loadu_si256(low.as_ptr().add(at).cast()),
                _mm256_loadu_si256(high.as_ptr().add(at).cast()),
            )
        };
        let first = _mm256_and_si256(bytes, mask);
        let second = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask);
        let pairs =
            _mm256_add_epi16(_mm256_maddubs_epi16(first, low), _mm256_maddubs_epi16(second, high));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
        at += LANES;
    }
    let four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    let one = _mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two));
    _mm_cvtsi128_si32(one) + dot_halves(&low[at..], &high[at..], &row[at..length])
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dots_avx512(query: &NibbleQuery, rows: [&[u8]; AT_ONCE]) -> [i32; AT_ONCE] {
    use std::arch::x86_64::{
        _mm_add_epi32, _mm_storeu_si128, _mm256_add_epi32, _mm256_castsi256_si128,
        _mm256_extracti128_si256, _mm512_add_epi32, _mm512_and_si512, _mm512_castsi512_si256,
        _mm512_dpbusd_epi32, _mm512_extracti64x4_epi64, _mm512_maskz_loadu_epi8, _mm512_set1_epi8,
        _mm512_setzero_si512, _mm512_srli_epi16, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
        _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
    };
    const LANES: usize = 64;
    let (low, high) = (&*query.low, &*query.high);
    let length = rows.iter().fold(low.len().min(high.len()), |least, row| least.min(row.len()));
    let mask = _mm512_set1_epi8(LOW as i8);
    let mut sums = [_mm512_setzero_si512(); AT_ONCE];
    for at in (0..length).step_by(LANES) {
        let lanes = u64::MAX >> (LANES - LANES.min(length - at));
        // SAFETY: there is a bit for each byte from `at` on, of 64 at most, that all slices
        // have; what is masked is not read.
        let (low, high) = unsafe {
            (
                _mm512_maskz_loadu_epi8(lanes, low.as_ptr().add(at)),
                _mm512_maskz_loadu_epi8(lanes, high.as_ptr().add(at)),
            )
        };
        for (sum, row) in sums.iter_mut().zip(rows) {
            // SAFETY: as above.
            let bytes = unsafe { _mm512_maskz_loadu_epi8(lanes, row.as_ptr().add(at).cast()) };
            let first = _mm512_and_si512(bytes, mask);
            let second = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), mask);
            *sum = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(*sum, first, low), second, high);
        }
    }
    // Lanes of four rows in the place of four lanes of one, twice; then the four parts.
    let [a, b, c, d] = sums;
    let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    let all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    let half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64::<1>(all));
    let sum = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
    let mut out = [0; AT_ONCE];
    // SAFETY: there is room for four numbers; the store needs no alignment.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), sum) };
    out
}

#[cfg(test)]
mod tests {
    use super::{super::levels_here, *};
    use rand::{Rng, SeedableRng, rngs::StdRng};

    #[test]
    fn every_kernel_is_exact_at_every_length_and_at_the_extremes() {
        let mut random = StdRng::seed_from_u64(5);
        for length in (1..150).chain([256, 383, 1024, 16_384]) {
            let mut numbers: Vec<Vec<u8>> =
                (0..9).map(|_| (0..length).map(|_| random.random_range(0..16)).collect()).collect();
            numbers.push(vec![15; length]);
            let width = nibble_bytes(length);
            let mut rows = vec![0; width * numbers.len()];
            for (numbers, row) in numbers.iter().zip(rows.chunks_mut(width)) {
                to_nibbles(numbers.iter().copied(), row);
            }
            let drawn = (0..length).map(|_| random.random_range(-127..=127)).collect();
            for values in [drawn, vec![127; length], vec![-127_i8; length]] {
                let mut query = NibbleQuery::default();
                query.set(values.iter().copied());
                let order: Vec<u32> = (0..10).rev().collect();
                let dot = |&row: &u32| -> i32 {
                    let pairs = numbers[row as usize].iter().zip(&values);
                    pairs.map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
                };
                let due: Vec<i32> = order.iter().map(dot).collect();
                let mut out = vec![7; 3];
                for level in levels_here() {
                    dot_each_at(level, &query, &rows, &order, &mut out);
                    assert_eq!(out, due, "{level:?} at length {length}");
                }
            }
        }
    }
}
