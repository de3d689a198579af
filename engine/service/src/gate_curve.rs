//! The gate's curve: what each threshold costs and gives, as the gate's fit measured it.
//!
//! Under pressure the server moves along it instead of guessing how many thoughts a higher
//! threshold saves.

use twn_encoder::adapter::GatePoint;

/// A gate's curve by rising threshold, at least one point.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GateCurve(Vec<GatePoint>);

impl GateCurve {
    /// Takes the encoder's curve; `None` when nothing is on record.
    pub(crate) fn new(points: &[GatePoint]) -> Option<Self> {
        (!points.is_empty()).then(|| Self(points.to_vec()))
    }

    /// The threshold under pressure `x`, from 0 to 1: that of the point with the best quality
    /// among those which take at most `1 - x` of the tokens that `threshold` takes, and of
    /// equals the cheapest; 1 where no point is so cheap. Never below `threshold`, and never
    /// lower under more pressure: a better point that is no longer affordable was a dearer
    /// one.
    pub(crate) fn threshold_under(&self, threshold: f32, x: f32) -> f32 {
        let affordable = self.tokens_at(threshold) * (1.0 - x.clamp(0.0, 1.0));
        let is_candidate = |point: &&GatePoint| {
            point.threshold >= threshold && point.reasoning_tokens_per_query <= affordable
        };
        // Of equals `max_by` takes the last, which has the highest threshold.
        let best =
            self.0.iter().filter(is_candidate).max_by(|a, b| a.ndcg_at_10.total_cmp(&b.ndcg_at_10));
        best.map_or(1.0, |point| point.threshold)
    }

    /// Thought tokens of a query at any threshold, linear between the points.
    fn tokens_at(&self, threshold: f32) -> f32 {
        let above = self.0.partition_point(|point| point.threshold <= threshold);
        let tokens = |at: usize| self.0[at].reasoning_tokens_per_query;
        match (above.checked_sub(1), self.0.get(above)) {
            (None, _) => tokens(0),
            (Some(below), None) => tokens(below),
            (Some(below), Some(next)) => {
                let from = self.0[below].threshold;
                let way = (threshold - from) / (next.threshold - from);
                tokens(below) + way * (tokens(above) - tokens(below))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: &[(f32, f32, f32)]) -> GateCurve {
        let point = |&(threshold, tokens, ndcg_at_10): &(f32, f32, f32)| GatePoint {
            threshold,
            think_rate: tokens / 40.0,
            reasoning_tokens_per_query: tokens,
            ndcg_at_10,
        };
        GateCurve::new(&points.iter().map(point).collect::<Vec<_>>()).expect("has points")
    }

    /// Quality peaks at 10 tokens and falls a little at 20.
    fn measured() -> GateCurve {
        curve(&[
            (0.0, 40.0, 0.50),
            (0.2, 20.0, 0.60),
            (0.5, 10.0, 0.65),
            (0.8, 4.0, 0.55),
            (1.0, 0.0, 0.40),
        ])
    }

    #[track_caller]
    fn check(threshold: f32, x: f32, want: f32) {
        assert_eq!(measured().threshold_under(threshold, x), want, "{threshold} under {x}");
    }

    #[test]
    fn the_best_affordable_point_is_taken() {
        check(0.2, 0.1, 0.5);
        check(0.2, 0.5, 0.5);
        check(0.2, 0.6, 0.8);
        check(0.2, 0.9, 1.0);
        check(0.2, 1.0, 1.0);
        // A threshold between two points takes what lies between: 7 tokens at 0.65.
        check(0.65, 0.0, 0.8);
        check(0.65, 0.42, 0.8);
        check(0.65, 0.44, 1.0);
    }

    #[test]
    fn equals_cost_the_least_and_nothing_affordable_is_no_thought() {
        let flat = curve(&[(0.1, 30.0, 0.5), (0.4, 20.0, 0.5), (0.7, 10.0, 0.5)]);
        assert_eq!(flat.threshold_under(0.1, 0.2), 0.7);
        assert_eq!(flat.threshold_under(0.1, 0.8), 1.0);
        // Below the first point and above the last one the curve goes on level.
        assert_eq!(flat.threshold_under(0.0, 0.0), 0.7);
        assert_eq!(flat.threshold_under(0.9, 0.5), 1.0);
        assert_eq!(GateCurve::new(&[]), None);
    }

    #[test]
    fn more_pressure_never_lowers_the_threshold() {
        for start in 0..=20 {
            let threshold = start as f32 / 20.0;
            let mut before = threshold;
            for step in 0..=100 {
                let now = measured().threshold_under(threshold, step as f32 / 100.0);
                assert!(now >= before, "{threshold} at {step}: {now} after {before}");
                before = now;
            }
            assert_eq!(before, 1.0);
        }
    }
}
