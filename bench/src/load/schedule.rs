//! When each request of an open loop is due, counted from the start of the run.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How requests are spread over time. `rate` is in requests per second, above 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Arrivals {
    /// Equal gaps.
    Fixed { rate: f64 },
    /// Exponentially distributed gaps, the same for the same seed.
    Poisson { rate: f64, seed: u64 },
}

impl Arrivals {
    /// The moments before `window` at which requests are due, ascending.
    pub(crate) fn within(self, window: Duration) -> Box<dyn Iterator<Item = Duration> + Send> {
        let window_s = window.as_secs_f64();
        let due_s: Box<dyn Iterator<Item = f64> + Send> = match self {
            // Multiplied, not summed up: a gap that is not exact would drift.
            Self::Fixed { rate } => Box::new((0u64..).map(move |index| index as f64 / rate)),
            Self::Poisson { rate, seed } => {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                let mut now_s = 0.0;
                Box::new(std::iter::repeat_with(move || {
                    // 1 - u is in (0, 1], so the logarithm is finite.
                    now_s -= (1.0 - random.random::<f64>()).ln() / rate;
                    now_s
                }))
            }
        };
        Box::new(due_s.take_while(move |due_s| *due_s < window_s).map(Duration::from_secs_f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_s(arrivals: Arrivals, window_s: u64) -> Vec<f64> {
        let due = arrivals.within(Duration::from_secs(window_s));
        due.map(|due| due.as_secs_f64()).collect()
    }

    #[test]
    fn fixed_arrivals_do_not_drift() {
        let due = due_s(Arrivals::Fixed { rate: 3.0 }, 1_000);
        assert_eq!(due.len(), 3_000);
        assert_eq!(due[0], 0.0);
        for (index, due) in due.iter().enumerate() {
            assert!((due - index as f64 / 3.0).abs() < 1e-6, "request {index} is due at {due}");
        }
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() {
        let rate = 200.0;
        let due = due_s(Arrivals::Poisson { rate, seed: 4 }, 100);
        let expected = rate * 100.0;
        // Four standard deviations of a Poisson count.
        assert!((due.len() as f64 - expected).abs() < 4.0 * expected.sqrt(), "{}", due.len());
        let gaps: Vec<f64> = due.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| *gap >= 0.0));
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // An exponential distribution's deviation is its mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "{}", variance.sqrt() / mean);
        let long = gaps.iter().filter(|gap| **gap > 1.0 / rate).count() as f64;
        assert!((long / gaps.len() as f64 - (-1.0f64).exp()).abs() < 0.02);
    }

    #[test]
    fn a_seed_gives_the_same_arrivals() {
        let of = |seed| due_s(Arrivals::Poisson { rate: 50.0, seed }, 10);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
