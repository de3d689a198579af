//! From bits to the numbers of those that are set.

use super::{Level, level};
use std::ops::Range;

const WORD_BITS: usize = 64;

/// Adds the numbers within a range whose bits are set to `out`; a bit that is not there is
/// not set.
pub(crate) fn set_bits(bits: &[u64], range: Range<usize>, out: &mut Vec<u32>) {
    set_bits_at(level(), bits, range, out);
}

fn set_bits_at(level: Level, bits: &[u64], range: Range<usize>, out: &mut Vec<u32>) {
    match level {
        Level::Portable => words(bits, range, out, spread),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => words(bits, range, out, spread),
        // SAFETY: the level says that the processor has the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { words_avx512(bits, range, out) },
    }
}

/// Goes through the words of a range; `spread` puts the numbers of a word's bits first and
/// returns how many there are.
#[inline(always)]
fn words(
    bits: &[u64],
    range: Range<usize>,
    out: &mut Vec<u32>,
    spread: impl Fn(u64, u32, &mut [u32; WORD_BITS]) -> usize,
) {
    let mut end = out.len();
    for number in range.start / WORD_BITS..range.end.div_ceil(WORD_BITS) {
        let mut word = bits.get(number).copied().unwrap_or(0);
        let first = number * WORD_BITS;
        if first < range.start {
            word &= u64::MAX << (range.start - first);
        }
        if first + WORD_BITS > range.end {
            word &= u64::MAX >> (first + WORD_BITS - range.end);
        }
        if word == 0 {
            continue;
        }
        out.resize(end + WORD_BITS, 0);
        if let Some(places) = out[end..].first_chunk_mut() {
            end += spread(word, first as u32, places);
        }
    }
    out.truncate(end);
}

#[inline(always)]
fn spread(mut word: u64, first: u32, out: &mut [u32; WORD_BITS]) -> usize {
    let mut count = 0;
    while word != 0 {
        out[count] = first + word.trailing_zeros();
        word &= word - 1;
        count += 1;
    }
    count
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,popcnt")]
fn words_avx512(bits: &[u64], range: Range<usize>, out: &mut Vec<u32>) {
    words(bits, range, out, |word, first, out| spread_avx512(word, first, out));
}

/// Squeezes sixteen numbers at a time to those whose bits are set, without a branch for each.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn spread_avx512(word: u64, first: u32, out: &mut [u32; WORD_BITS]) -> usize {
    use std::arch::x86_64::{
        _mm512_add_epi32, _mm512_maskz_compress_epi32, _mm512_set1_epi32, _mm512_setr_epi32,
        _mm512_storeu_si512,
    };
    const LANES: usize = 16;
    let mut numbers = _mm512_add_epi32(
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
        _mm512_set1_epi32(first as i32),
    );
    let mut count = 0;
    for part in 0..WORD_BITS / LANES {
        let mask = (word >> (part * LANES)) as u16;
        let squeezed = _mm512_maskz_compress_epi32(mask, numbers);
        // SAFETY: at most `LANES` numbers were put by each part before, so that there is room
        // for as many; the store needs no alignment.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().add(count).cast(), squeezed) };
        count += mask.count_ones() as usize;
        numbers = _mm512_add_epi32(numbers, _mm512_set1_epi32(LANES as i32));
    }
    count
}

#[cfg(test)]
mod tests {
    use super::{super::levels_here, *};
    use rand::{Rng, SeedableRng, rngs::StdRng};

    #[test]
    fn set_bits_of_a_range_are_found() {
        let mut random = StdRng::seed_from_u64(9);
        let mut bits: Vec<u64> = (0..20).map(|_| random.random()).collect();
        bits.extend([0, u64::MAX, 1, 1 << 63]);
        let all: Vec<u32> = (0..bits.len() as u32 * 64)
            .filter(|&at| bits[at as usize / 64] >> (at % 64) & 1 == 1)
            .collect();
        for _ in 0..300 {
            let start = random.random_range(0..bits.len() * 64);
            let end = start + random.random_range(0..400);
            let within = all.iter().copied().filter(|&at| (start..end).contains(&(at as usize)));
            let due: Vec<u32> = [7].into_iter().chain(within).collect();
            for level in levels_here() {
                let mut out = vec![7];
                set_bits_at(level, &bits, start..end, &mut out);
                assert_eq!(out, due, "{level:?}, {start}..{end}");
            }
        }
    }
}
