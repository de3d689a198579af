//! Whether one system is better than another, or only luckier with these queries.
//!
//! The paired bootstrap of Sakai (2006): the queries are drawn again with replacement,
//! many times, and the mean difference is recomputed. For the p-value the differences are
//! first shifted to mean 0, which is the null hypothesis. The seed is fixed by the caller, so the
//! answer is the same every time.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// What the bootstrap says about a difference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Significance {
    /// Mean of `a - b` over the queries.
    pub difference: f64,
    /// Lower end of the 95 % interval of the difference.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Two-sided: how often chance alone gives a difference at least as large.
    pub p_value: f64,
    /// Times the queries were drawn again.
    pub samples: u32,
}

/// Compares two systems' scores on the same queries, in the same order.
///
/// `None` when there are no queries, the lengths differ or `samples` is 0.
pub fn paired_bootstrap(a: &[f64], b: &[f64], samples: u32, seed: u64) -> Option<Significance> {
    if a.is_empty() || a.len() != b.len() || samples == 0 {
        return None;
    }
    let count = a.len();
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let difference = differences.iter().sum::<f64>() / count as f64;

    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut means: Vec<f64> = (0..samples)
        .map(|_| {
            let drawn = (0..count).map(|_| differences[random.random_range(0..count)]);
            drawn.sum::<f64>() / count as f64
        })
        .collect();
    means.sort_unstable_by(f64::total_cmp);

    // The slack makes sums that differ in their last bits count as equal.
    let extreme = difference.abs() - 1e-12;
    let by_chance = means.iter().filter(|mean| (**mean - difference).abs() >= extreme).count();
    Some(Significance {
        difference,
        low: means[quantile(means.len(), 0.025)],
        high: means[quantile(means.len(), 0.975)],
        // The observed sample counts as one of the draws, so p is never 0.
        p_value: (by_chance + 1) as f64 / (f64::from(samples) + 1.0),
        samples,
    })
}

fn quantile(count: usize, share: f64) -> usize {
    ((count as f64 * share) as usize).min(count - 1)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// A case of `tests/golden/bootstrap.json`, computed by scipy with 100,000 samples.
    #[derive(Deserialize)]
    struct Golden {
        a: Vec<f64>,
        b: Vec<f64>,
        difference: f64,
        low: f64,
        high: f64,
        p_value: f64,
    }

    #[test]
    fn intervals_and_p_values_agree_with_scipys_bootstrap() {
        let golden: Vec<Golden> =
            serde_json::from_str(include_str!("../../tests/golden/bootstrap.json")).unwrap();
        assert!(golden.len() >= 5);
        for (case, want) in golden.iter().enumerate() {
            let got = paired_bootstrap(&want.a, &want.b, 20_000, 3).unwrap();
            assert!((got.difference - want.difference).abs() < 1e-12, "case {case}: {got:?}");
            // Two random samples of one distribution: their quantiles differ a little.
            let slack = 0.03 * (want.high - want.low);
            assert!((got.low - want.low).abs() < slack, "case {case}: {got:?}, {}", want.low);
            assert!((got.high - want.high).abs() < slack, "case {case}: {got:?}, {}", want.high);
            // Four standard errors of a share of 20,000.
            let error = 4.0 * (want.p_value * (1.0 - want.p_value) / 20_000.0).sqrt() + 1e-4;
            assert!((got.p_value - want.p_value).abs() < error, "case {case}: {got:?}");
        }
    }

    /// Scores in [0, 1] with a mean advantage of `gain` for the first system.
    fn systems(queries: usize, gain: f64) -> (Vec<f64>, Vec<f64>) {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let b: Vec<f64> = (0..queries).map(|_| random.random_range(0.0..1.0)).collect();
        let a = b.iter().map(|b| b + gain + random.random_range(-0.3..0.3)).collect();
        (a, b)
    }

    #[test]
    fn the_interval_agrees_with_the_normal_approximation() {
        let (a, b) = systems(400, 0.05);
        let got = paired_bootstrap(&a, &b, 20_000, 1).unwrap();
        let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
        let mean = differences.iter().sum::<f64>() / 400.0;
        let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 400.0;
        let margin = 1.96 * (variance / 400.0).sqrt();
        assert!((got.difference - mean).abs() < 1e-12);
        assert!((got.low - (mean - margin)).abs() < 0.1 * margin, "{got:?}, margin {margin}");
        assert!((got.high - (mean + margin)).abs() < 0.1 * margin, "{got:?}, margin {margin}");
        assert!(got.p_value < 0.001, "{got:?}");
    }

    #[test]
    fn equal_systems_do_not_differ_and_noise_seldom_does() {
        let (a, _) = systems(50, 0.0);
        assert_eq!(paired_bootstrap(&a, &a, 1_000, 1).unwrap().p_value, 1.0);
        let (a, b) = systems(50, 0.0);
        let got = paired_bootstrap(&a, &b, 2_000, 1).unwrap();
        assert!(got.p_value > 0.05 && got.low < 0.0 && got.high > 0.0, "{got:?}");
    }

    #[test]
    fn the_sign_and_the_seed_are_kept() {
        let (a, b) = systems(100, 0.1);
        let forward = paired_bootstrap(&a, &b, 1_000, 9).unwrap();
        let backward = paired_bootstrap(&b, &a, 1_000, 9).unwrap();
        assert!((forward.difference + backward.difference).abs() < 1e-12);
        assert_eq!(forward, paired_bootstrap(&a, &b, 1_000, 9).unwrap());
    }

    #[test]
    fn nothing_to_compare_gives_nothing() {
        assert_eq!(paired_bootstrap(&[], &[], 10, 0), None);
        assert_eq!(paired_bootstrap(&[1.0], &[1.0, 2.0], 10, 0), None);
        assert_eq!(paired_bootstrap(&[1.0], &[1.0], 0, 0), None);
        assert_eq!(paired_bootstrap(&[1.0], &[0.0], 3, 0).unwrap().samples, 3);
    }
}
