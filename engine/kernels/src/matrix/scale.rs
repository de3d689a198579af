//! The scale of an 8-bit block.

use half::{f16, slice::HalfFloatSliceExt};

/// Scales that are tried, from the largest value at 127 levels downwards.
const CANDIDATES: usize = 32;
/// Levels between one candidate and the next. Over a quarter of a level most values of a block
/// move across a part of their rounding, and the last candidate is coarser by 8 of 127 levels.
const STEP: f32 = 0.25;
/// Added and subtracted, rounds a value below 2^22 to the nearest integer.
const ROUND: f32 = 12_582_912.0;

/// The scale under which a block's values have the least squared error, of [`CANDIDATES`] from
/// that on which spends all 127 levels on the largest value. Where a block's values lie on a grid
/// of their own, as those of a file with fewer bits, much of the error can go.
pub(super) fn eight_bit_scale(values: &[f32]) -> f16 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the instructions are there.
        return unsafe { search_avx2(values) };
    }
    search(values)
}

/// [`search`] in wider registers, with the same result: the compiler contracts nothing.
///
/// # Safety
/// The instructions are there.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn search_avx2(values: &[f32]) -> f16 {
    search(values)
}

/// Tries all candidates side by side.
#[inline(always)]
fn search(values: &[f32]) -> f16 {
    let largest = values.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
    let levels = |candidate: usize| 127.0 - candidate as f32 * STEP;
    let mut scales: [f32; CANDIDATES] =
        std::array::from_fn(|candidate| (largest / levels(candidate)).min(f16::MAX.to_f32()));
    let mut halves = [f16::ZERO; CANDIDATES];
    halves.convert_from_f32_slice(&scales);
    halves.convert_to_f32_slice(&mut scales);
    let inverses = scales.map(|scale| 1.0 / scale);
    let mut errors = [0.0_f32; CANDIDATES];
    for value in values {
        for ((error, scale), inverse) in errors.iter_mut().zip(&scales).zip(&inverses) {
            let level = value * inverse + ROUND - ROUND;
            let rest = value - level * scale;
            *error += rest * rest;
        }
    }
    // The smallest halves are so coarse that they can be too small for the largest value.
    let fits = |candidate: &usize| largest <= 127.5 * scales[*candidate];
    let best = (0..CANDIDATES).filter(fits).min_by(|&a, &b| errors[a].total_cmp(&errors[b]));
    halves[best.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// What rounding to a scale's levels makes wrong, squared.
    fn error(values: &[f32], scale: f16) -> f32 {
        let scale = scale.to_f32();
        let rest = |value: &f32| value - (value / scale).round().clamp(-127.0, 127.0) * scale;
        values.iter().map(|value| rest(value).powi(2)).sum()
    }

    fn plain(values: &[f32]) -> f16 {
        let largest = values.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
        f16::from_f32(largest / 127.0)
    }

    #[test]
    fn it_is_never_worse_than_the_scale_of_the_largest() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut searched, mut simple) = (0.0, 0.0);
        for _ in 0..200 {
            let values: Vec<f32> = (0..32).map(|_| rng.random_range(-1.0..1.0_f32)).collect();
            let (got, of_largest) =
                (error(&values, eight_bit_scale(&values)), error(&values, plain(&values)));
            assert!(got <= of_largest * 1.0001);
            searched += got;
            simple += of_largest;
        }
        assert!(searched < 0.8 * simple, "{searched} of {simple}");
    }

    #[test]
    fn values_on_a_grid_lose_much_of_their_error() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let (mut searched, mut simple) = (0.0, 0.0);
        for _ in 0..200 {
            let (step, offset) = (rng.random_range(0.01..0.02), rng.random_range(-0.2..-0.1));
            let level = |rng: &mut ChaCha8Rng| rng.random_range(0..16) as f32;
            let values: Vec<f32> = (0..32).map(|_| level(&mut rng) * step + offset).collect();
            searched += error(&values, eight_bit_scale(&values));
            simple += error(&values, plain(&values));
        }
        assert!(searched < 0.6 * simple, "{searched} of {simple}");
    }

    #[test]
    fn wider_registers_find_the_same() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for count in [1, 7, 31, 32] {
            let values: Vec<f32> = (0..count).map(|_| rng.random_range(-1.0..1.0_f32)).collect();
            assert_eq!(eight_bit_scale(&values), search(&values));
        }
    }

    #[test]
    fn what_is_stored_in_eight_bits_comes_back() {
        let values: Vec<f32> = (-16..16).map(|level| level as f32 * 0.0625 - 6.9375).collect();
        let scale = eight_bit_scale(&values);
        assert!(error(&values, scale) <= 1e-6, "{scale}");
    }

    #[test]
    fn nothing_and_extremes_have_a_scale() {
        assert_eq!(eight_bit_scale(&[0.0; 32]), f16::ZERO);
        assert_eq!(eight_bit_scale(&[1e-12, 0.0]), f16::ZERO);
        assert_eq!(eight_bit_scale(&[3e38, -1.0]), f16::MAX);
        // Below the normal halves the largest value still fits.
        for largest in [1e-3, 1e-4, 2e-5] {
            let scale = eight_bit_scale(&[largest, 0.3 * largest]);
            assert!(largest <= 127.5 * scale.to_f32(), "{scale}");
        }
    }
}
