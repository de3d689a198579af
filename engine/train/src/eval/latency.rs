//! How long one query takes on its own, by route.

use serde::Serialize;

/// Time from a query's text to its embedding, one query at a time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Latency {
    /// Without a thought. For a query that thought, the time until it could have answered.
    pub direct: Option<RouteLatency>,
    /// With a thought.
    pub reasoned: Option<RouteLatency>,
}

/// Times of one route, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RouteLatency {
    /// Queries measured.
    pub queries: usize,
    /// Half of them took at most this.
    pub p50_ms: f64,
    /// Of a hundred of them, ninety-five took at most this.
    pub p95_ms: f64,
    /// Their mean.
    pub mean_ms: f64,
}

impl RouteLatency {
    /// Sums up times, in seconds; `None` for none.
    pub(super) fn of(mut seconds: Vec<f64>) -> Option<Self> {
        if seconds.is_empty() {
            return None;
        }
        seconds.sort_unstable_by(f64::total_cmp);
        // The nearest rank: the smallest time that this share of the queries does not exceed.
        let at = |share: f64| {
            let rank = (share * seconds.len() as f64).ceil() as usize;
            seconds[rank.clamp(1, seconds.len()) - 1] * 1e3
        };
        let mean_ms = seconds.iter().sum::<f64>() / seconds.len() as f64 * 1e3;
        Some(Self { queries: seconds.len(), p50_ms: at(0.5), p95_ms: at(0.95), mean_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let got = RouteLatency::of(hundred).unwrap();
        assert_eq!((got.p50_ms, got.p95_ms, got.mean_ms), (50e3, 95e3, 50.5e3));
        let got = RouteLatency::of(vec![2.0, 1.0]).unwrap();
        assert_eq!((got.queries, got.p50_ms, got.p95_ms), (2, 1e3, 2e3));
        assert_eq!(RouteLatency::of(Vec::new()), None);
    }
}
