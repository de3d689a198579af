//! Thinking less when the model has much to do or the caller's time is short.
//!
//! Pressure is a number `x` from 0 to 1, the greater of two:
//!
//! - *load*: `level = max(queued / max_queued, thoughts / (2 * places))`, where `queued`
//!   counts the prompt tokens that wait in the search lane, and `thoughts` the searches'
//!   thoughts that live or wait for a place: all places taken is half, as many waiting
//!   again is full. `x = (level - load_from) / (1 - load_from)`.
//! - *deadline*: with time for `a` tokens before the request must be answered, and a
//!   budget of `b`, `x = 1 - a / b`.
//!
//! Where the gate's curve is on record, the threshold becomes that of the curve's best point
//! within `1 - x` of the tokens that the policy's threshold takes ([`GateCurve`]); where it
//! is not, `t` becomes `t + x (1 - t)`. The budget becomes the smaller of
//! `b (1 - x_load (1 - budget_floor))` and `a`, and is at least 1.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use twn_encoder::{Pressure, ReasoningPolicy, ThresholdSource};

use crate::gate_curve::GateCurve;

/// What load and deadlines do to thinking.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PressureOptions {
    /// Level of load from which thinking is held back, from 0 to 1; at 1 it never is.
    pub load_from: f32,
    /// Share of its budget that a thought keeps under full load, from 0 to 1.
    pub budget_floor: f32,
    /// Milliseconds that are kept before a deadline for what follows the encoder.
    pub deadline_margin_ms: u64,
}

impl Default for PressureOptions {
    fn default() -> Self {
        Self { load_from: 0.5, budget_floor: 0.25, deadline_margin_ms: 10 }
    }
}

impl PressureOptions {
    /// Finds an option that is out of its range.
    ///
    /// # Errors
    /// Names the option.
    pub fn validate(&self) -> Result<(), String> {
        for (name, share) in [("load_from", self.load_from), ("budget_floor", self.budget_floor)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("`{name}` is {share}, outside 0 to 1"));
            }
        }
        Ok(())
    }

    pub(crate) fn deadline_margin(&self) -> Duration {
        Duration::from_millis(self.deadline_margin_ms)
    }
}

/// What the model has to do, against its limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Load {
    /// Prompt tokens that wait in the search lane.
    pub(crate) queue_tokens: usize,
    /// How many may.
    pub(crate) max_queue_tokens: usize,
    /// Searches' thoughts that live or wait for a place.
    pub(crate) thoughts: usize,
    /// Thoughts that are decoded together.
    pub(crate) places: usize,
}

impl Load {
    /// The load in [0, 1].
    fn level(&self) -> f32 {
        let queue = self.queue_tokens as f32 / self.max_queue_tokens.max(1) as f32;
        let thoughts = self.thoughts as f32 / (2 * self.places.max(1)) as f32;
        queue.max(thoughts).min(1.0)
    }
}

/// What a policy amounts to under pressure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Grant {
    /// The gate's threshold.
    pub(crate) threshold: f32,
    /// Who set it.
    pub(crate) threshold_source: ThresholdSource,
    /// The thought's budget, at least 1.
    pub(crate) token_budget: u32,
    /// Why they are not the policy's.
    pub(crate) pressure: Pressure,
}

impl Grant {
    /// Grants all that the policy asks for.
    pub(crate) fn in_full(policy: &ReasoningPolicy) -> Self {
        let ReasoningPolicy { threshold, token_budget, .. } = *policy;
        let threshold_source = ThresholdSource::Policy;
        Self { threshold, threshold_source, token_budget, pressure: Pressure::None }
    }

    /// Weighs a policy against load and the tokens that the deadline leaves time for
    /// (`None` while the model's pace is not known). `curve` is the gate's, if on record.
    pub(crate) fn under(
        policy: &ReasoningPolicy,
        load: Load,
        affordable: Option<u32>,
        options: &PressureOptions,
        curve: Option<&GateCurve>,
    ) -> Self {
        let asked = policy.token_budget.max(1);
        let affordable = affordable.unwrap_or(asked).min(asked);
        let by_load = share_above(load.level(), options.load_from);
        let by_deadline = 1.0 - affordable as f32 / asked as f32;

        let x = by_load.max(by_deadline);
        let (threshold, threshold_source) = match curve {
            _ if x <= 0.0 => (policy.threshold, ThresholdSource::Policy),
            Some(curve) => (curve.threshold_under(policy.threshold, x), ThresholdSource::Curve),
            None => {
                let raised = policy.threshold + x * (1.0 - policy.threshold);
                (raised.min(1.0), ThresholdSource::Formula)
            }
        };
        let kept = asked as f32 * (1.0 - by_load * (1.0 - options.budget_floor));
        let token_budget = (kept.ceil() as u32).clamp(1, asked).min(affordable.max(1));
        let pressure = match (threshold == policy.threshold, token_budget == policy.token_budget) {
            (true, true) => Pressure::None,
            _ if by_deadline >= by_load => Pressure::Deadline,
            _ => Pressure::Load,
        };
        Self { threshold, threshold_source, token_budget, pressure }
    }
}

/// How far `level` is on the way from `from` to 1.
fn share_above(level: f32, from: f32) -> f32 {
    if level <= from { 0.0 } else { ((level - from) / (1.0 - from)).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twn_encoder::{ReasoningMode, adapter::GatePoint};

    const IDLE: Load = Load { queue_tokens: 0, max_queue_tokens: 1_000, thoughts: 0, places: 8 };

    fn policy() -> ReasoningPolicy {
        ReasoningPolicy {
            mode: ReasoningMode::Auto,
            threshold: 0.5,
            token_budget: 64,
            temperature: 0.0,
            seed: 0,
            convergence: None,
        }
    }

    #[track_caller]
    fn check(load: Load, affordable: Option<u32>, want: (f32, u32, Pressure)) {
        let options = PressureOptions::default();
        let grant = Grant::under(&policy(), load, affordable, &options, None);
        assert_eq!((grant.threshold, grant.token_budget, grant.pressure), want, "{load:?}");
    }

    #[test]
    fn without_pressure_the_policy_holds() {
        check(IDLE, None, (0.5, 64, Pressure::None));
        check(IDLE, Some(64), (0.5, 64, Pressure::None));
        check(Load { thoughts: 8, queue_tokens: 500, ..IDLE }, None, (0.5, 64, Pressure::None));
        assert_eq!(
            Grant::under(&policy(), IDLE, None, &PressureOptions::default(), None),
            Grant::in_full(&policy())
        );
    }

    #[test]
    fn load_raises_the_threshold_and_shrinks_the_budget() {
        check(Load { thoughts: 12, ..IDLE }, None, (0.75, 40, Pressure::Load));
        check(Load { queue_tokens: 750, ..IDLE }, None, (0.75, 40, Pressure::Load));
        check(Load { thoughts: 16, ..IDLE }, None, (1.0, 16, Pressure::Load));
        check(Load { thoughts: 900, ..IDLE }, None, (1.0, 16, Pressure::Load));
    }

    #[test]
    fn deadlines_grant_what_there_is_time_for() {
        check(IDLE, Some(32), (0.75, 32, Pressure::Deadline));
        check(IDLE, Some(0), (1.0, 1, Pressure::Deadline));
        // Both press: the smaller budget, the higher threshold, and the stronger reason.
        check(Load { thoughts: 12, ..IDLE }, Some(16), (0.875, 16, Pressure::Deadline));
        check(Load { thoughts: 16, ..IDLE }, Some(48), (1.0, 16, Pressure::Load));
    }

    #[test]
    fn a_curve_on_record_replaces_the_formula() {
        let point = |threshold, reasoning_tokens_per_query, ndcg_at_10| GatePoint {
            threshold,
            think_rate: 0.5,
            reasoning_tokens_per_query,
            ndcg_at_10,
        };
        let points = [point(0.5, 20.0, 0.6), point(0.7, 11.0, 0.58), point(1.0, 0.0, 0.4)];
        let curve = GateCurve::new(&points);
        let under = |thoughts, affordable| {
            let (load, options) = (Load { thoughts, ..IDLE }, PressureOptions::default());
            let grant = Grant::under(&policy(), load, affordable, &options, curve.as_ref());
            (grant.threshold, grant.token_budget, grant.threshold_source, grant.pressure)
        };
        use ThresholdSource::{Curve, Policy};
        assert_eq!(under(0, None), (0.5, 64, Policy, Pressure::None));
        // The formula would say 0.625 and 0.75.
        assert_eq!(under(10, None), (0.7, 52, Curve, Pressure::Load));
        assert_eq!(under(12, None), (1.0, 40, Curve, Pressure::Load));
        assert_eq!(under(0, Some(48)), (0.7, 48, Curve, Pressure::Deadline));
        assert_eq!(under(99, None), (1.0, 16, Curve, Pressure::Load));
    }

    #[test]
    fn pressure_only_ever_takes_away() {
        let options = PressureOptions { budget_floor: 0.0, ..PressureOptions::default() };
        for thoughts in 0..40 {
            for affordable in [None, Some(0), Some(1), Some(63), Some(1_000)] {
                let load = Load { thoughts, ..IDLE };
                let grant = Grant::under(&policy(), load, affordable, &options, None);
                assert!((0.5..=1.0).contains(&grant.threshold), "{grant:?}");
                assert!((1..=64).contains(&grant.token_budget), "{grant:?}");
            }
        }
    }

    #[test]
    fn options_can_switch_load_off_and_are_checked() {
        let off = PressureOptions { load_from: 1.0, ..PressureOptions::default() };
        let busy = Load { thoughts: 99, queue_tokens: 5_000, ..IDLE };
        assert_eq!(Grant::under(&policy(), busy, None, &off, None), Grant::in_full(&policy()));
        assert!(off.validate().is_ok());
        for bad in [-0.1, 1.1, f32::NAN] {
            let options = PressureOptions { load_from: bad, ..off };
            assert!(options.validate().is_err_and(|problem| problem.contains("load_from")));
            let options = PressureOptions { budget_floor: bad, ..off };
            assert!(options.validate().is_err_and(|problem| problem.contains("budget_floor")));
        }
    }
}
