//! The scale of an 8-bit block.

use half::f16;

/// Scales that are tried, from the largest value at 127 levels downwards.
const CANDIDATES: u32 = 32;
/// Levels between one candidate and the next. Over a quarter of a level most values of a block
/// move across a part of their rounding, and all candidates together cost 8 of 127 levels at most.
const STEP: f32 = 0.25;
/// Added and subtracted, rounds a value below 2^22 to the nearest integer.
const ROUND: f32 = 12_582_912.0;

/// The scale under which a block's values have the least squared error, of [`CANDIDATES`] below
/// that which spends all 127 levels on the largest value. Where a block's values lie on a grid of
/// their own, as those of a file with fewer bits, much of the error can go.
pub(super) fn eight_bit_scale(values: &[f32]) -> f16 {
    let largest = values.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
    let scale = |levels: f32| f16::from_f32((largest / levels).min(f16::MAX.to_f32()));
    let mut best = (scale(127.0), f32::INFINITY);
    for candidate in 0..CANDIDATES {
        let scale = scale(127.0 - candidate as f32 * STEP);
        let error = squared_error(values, scale.to_f32());
        if error < best.1 {
            best = (scale, error);
        }
    }
    best.0
}

/// What rounding to 127 levels of a scale makes wrong; infinite for a scale of zero.
fn squared_error(values: &[f32], scale: f32) -> f32 {
    if scale == 0.0 {
        return f32::INFINITY;
    }
    let inverse = 1.0 / scale;
    // Lanes that the compiler can keep side by side.
    let mut sums = [0.0_f32; 8];
    for values in values.chunks(8) {
        for (sum, value) in sums.iter_mut().zip(values) {
            let level = (value * inverse).clamp(-127.0, 127.0) + ROUND - ROUND;
            let error = value - level * scale;
            *sum += error * error;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn error(values: &[f32], scale: f16) -> f32 {
        squared_error(values, scale.to_f32())
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
            assert!(got <= of_largest);
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
    }
}
