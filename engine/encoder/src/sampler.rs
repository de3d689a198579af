//! Choosing the next token.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Chooses tokens greedily or by chance. One belongs to each thought, so that a thought
/// does not depend on what is decoded beside it.
#[derive(Debug)]
pub(crate) struct Sampler {
    temperature: f32,
    rng: ChaCha8Rng,
}

impl Sampler {
    /// Samples at `temperature` from `seed`; 0 is greedy, as is what is no temperature.
    pub(crate) fn new(temperature: f32, seed: u64) -> Self {
        Self { temperature, rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Chooses a token by its logits; `None` when they have no finite maximum.
    pub(crate) fn pick(&mut self, logits: &[f32]) -> Option<u32> {
        let (best, max) = argmax(logits)?;
        if self.temperature.is_nan() || self.temperature <= 0.0 {
            return Some(best);
        }
        let weight = |logit: f32| f64::from((logit - max) / self.temperature).exp();
        let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();
        let mut rest = self.rng.random::<f64>() * total;
        for (id, &logit) in logits.iter().enumerate() {
            rest -= weight(logit);
            if rest < 0.0 {
                return Some(id as u32);
            }
        }
        // Rounding can leave a little over at the end.
        Some(best)
    }
}

/// Logits that are looked at together.
const CHUNK: usize = 1024;
/// Maxima that are kept apart, so that the compiler makes vectors of them.
const LANES: usize = 16;

/// The first of the largest logits, and its value.
fn argmax(logits: &[f32]) -> Option<(u32, f32)> {
    let (mut maxima, mut bad) = ([f32::NEG_INFINITY; LANES], [0_u32; LANES]);
    let (rows, rest) = logits.as_chunks::<LANES>();
    for row in rows {
        for lane in 0..LANES {
            maxima[lane] = if row[lane] > maxima[lane] { row[lane] } else { maxima[lane] };
            bad[lane] |= u32::from(row[lane].is_nan());
        }
    }
    let max = maxima.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    if bad != [0; LANES] || rest.iter().any(|logit| logit.is_nan()) || !max.is_finite() {
        return None;
    }
    let has_max = |chunk: &[f32]| chunk.iter().fold(false, |any, &logit| any | (logit == max));
    let chunk = logits.chunks(CHUNK).position(has_max)? * CHUNK;
    let best = chunk + logits[chunk..].iter().position(|&logit| logit == max)?;
    Some((best as u32, max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_takes_the_first_maximum() {
        assert_eq!(Sampler::new(0.0, 0).pick(&[1.0, 3.0, 3.0, 2.0]), Some(1));
    }

    #[test]
    fn a_maximum_is_found_wherever_it_stands() {
        for len in [1, 15, 16, 17, 1023, 1024, 1025, 5000] {
            for at in [0, len / 2, len - 1] {
                let mut logits: Vec<f32> = (0..len).map(|i| -1.0 - (i % 7) as f32).collect();
                logits[at] = 2.0;
                assert_eq!(Sampler::new(0.0, 0).pick(&logits), Some(at as u32), "{len} {at}");
                logits[len - 1] = 2.0;
                assert_eq!(Sampler::new(0.0, 0).pick(&logits), Some(at as u32), "{len} {at}");
                logits[at] = f32::NAN;
                assert_eq!(Sampler::new(0.0, 0).pick(&logits), None, "{len} {at}");
            }
        }
    }

    #[test]
    fn impossible_logits_are_not_sampled() {
        for logits in [&[][..], &[1.0, f32::NAN], &[f32::INFINITY], &[f32::NEG_INFINITY]] {
            assert_eq!(Sampler::new(0.0, 0).pick(logits), None);
            assert_eq!(Sampler::new(1.0, 0).pick(logits), None);
        }
    }

    #[test]
    fn frequencies_follow_the_temperature() {
        // Weights 1 : 2 : 0 at temperature 1, and 1 : 4 : 0 at temperature 0.5.
        let logits = [0.0, 2.0_f32.ln(), -1e30];
        for (temperature, want) in [(1.0, 2.0 / 3.0), (0.5, 4.0 / 5.0)] {
            let mut sampler = Sampler::new(temperature, 5);
            let mut counts = [0_u32; 3];
            for _ in 0..4000 {
                counts[sampler.pick(&logits).expect("finite") as usize] += 1;
            }
            let share = f64::from(counts[1]) / 4000.0;
            assert!((share - want).abs() < 0.03, "{share} at {temperature}");
            assert_eq!(counts[2], 0);
        }
    }

    #[test]
    fn the_seed_decides() {
        let draw = |seed| {
            let mut sampler = Sampler::new(1.0, seed);
            (0..32).map(|_| sampler.pick(&[0.0; 50]).expect("finite")).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
