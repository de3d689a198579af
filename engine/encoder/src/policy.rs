//! When to think: the request's wish, and the route that the gate's verdict gives it.

use serde::{Deserialize, Serialize};

/// Who decides about thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningMode {
    /// The gate decides for every input.
    #[default]
    Auto,
    /// Embed directly.
    Never,
    /// Think, then embed.
    Always,
}

/// When a thought has done its work: the embedding after it no longer moves. The rule is
/// [`ConvergenceWatch`](crate::ConvergenceWatch)'s.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Convergence {
    /// Thought tokens from one probe to the next, at least 1.
    pub every: u32,
    /// Cosine from which two successive probes count as the same, in [0, 1].
    pub similarity: f32,
}

impl Convergence {
    /// Tells whether a thought of this budget could end by it: that takes three probes,
    /// and a thought whose budget is spent is not probed.
    pub fn can_end(self, token_budget: u32) -> bool {
        u64::from(self.every) * 3 < u64::from(token_budget)
    }
}

/// A fully resolved policy: every default has been filled in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReasoningPolicy {
    /// Who decides.
    pub mode: ReasoningMode,
    /// `Auto` thinks when the gate's score is above this; in [0, 1].
    pub threshold: f32,
    /// At most this many thought tokens, at least 1.
    pub token_budget: u32,
    /// Decoding temperature; 0 is greedy.
    pub temperature: f32,
    /// Seed of the sampling when the temperature is above 0.
    pub seed: u64,
    /// End a thought early when its embedding has settled.
    #[serde(default)]
    pub convergence: Option<Convergence>,
}

/// Which way an input took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// Nothing was encoded.
    #[default]
    None,
    /// Embedded from the prompt alone.
    Direct,
    /// Embedded after a thought.
    Reasoned,
}

/// Why the route was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteReason {
    /// `Auto`: the score was above the threshold.
    GateAboveThreshold,
    /// `Auto`: the score was not above the threshold.
    GateBelowThreshold,
    /// The policy was `Never`.
    PolicyNever,
    /// The policy was `Always`.
    PolicyAlways,
    /// The caller gave the vector.
    VectorSupplied,
    /// The document's content was the stored one.
    Unchanged,
    /// The prompt left no room for a thought in the context.
    NoRoom,
}

/// Why a thought ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model wrote the closing marker.
    Closed,
    /// The model ended its turn without the closing marker.
    EndOfTurn,
    /// The token budget was spent.
    Budget,
    /// The request's deadline was near.
    Deadline,
    /// The context was full.
    ContextFull,
    /// The embedding had settled.
    Converged,
}

impl ReasoningPolicy {
    /// Decides the route for a gate score, given whether the context has room for a thought.
    pub fn route(&self, gate_score: f32, has_room: bool) -> (Route, RouteReason) {
        let wanted = match self.mode {
            ReasoningMode::Never => return (Route::Direct, RouteReason::PolicyNever),
            ReasoningMode::Always => RouteReason::PolicyAlways,
            ReasoningMode::Auto if gate_score > self.threshold => RouteReason::GateAboveThreshold,
            ReasoningMode::Auto => return (Route::Direct, RouteReason::GateBelowThreshold),
        };
        if has_room { (Route::Reasoned, wanted) } else { (Route::Direct, RouteReason::NoRoom) }
    }

    /// Clears what decides nothing under this policy, so that policies which lead to the
    /// same embedding are equal.
    #[must_use]
    pub fn effective(self) -> Self {
        if self.mode == ReasoningMode::Never {
            return Self {
                mode: self.mode,
                threshold: 0.0,
                token_budget: 0,
                temperature: 0.0,
                seed: 0,
                convergence: None,
            };
        }
        Self {
            threshold: if self.mode == ReasoningMode::Auto { self.threshold } else { 0.0 },
            seed: if self.temperature > 0.0 { self.seed } else { 0 },
            convergence: self.convergence.filter(|rule| rule.can_end(self.token_budget)),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(mode: ReasoningMode) -> ReasoningPolicy {
        ReasoningPolicy {
            mode,
            threshold: 0.5,
            token_budget: 8,
            temperature: 0.0,
            seed: 0,
            convergence: None,
        }
    }

    #[track_caller]
    fn check(mode: ReasoningMode, score: f32, has_room: bool, want: (Route, RouteReason)) {
        assert_eq!(policy(mode).route(score, has_room), want);
    }

    #[test]
    fn what_decides_nothing_makes_no_difference() {
        use ReasoningMode::{Always, Auto, Never};
        let effective = |mode, change: &dyn Fn(&mut ReasoningPolicy)| {
            let mut changed = policy(mode);
            change(&mut changed);
            changed.effective() == policy(mode).effective()
        };
        let rule = |every| Some(Convergence { every, similarity: 0.9 });
        assert!(effective(Never, &|p| p.token_budget = 9) && effective(Never, &|p| p.seed = 1));
        assert!(effective(Always, &|p| p.threshold = 0.1) && effective(Always, &|p| p.seed = 1));
        assert!(effective(Auto, &|p| p.convergence = rule(3)));
        assert!(!effective(Auto, &|p| p.convergence = rule(2)));
        assert!(!effective(Auto, &|p| p.threshold = 0.1));
        assert!(!effective(Always, &|p| p.token_budget = 9));
        assert!(!effective(Always, &|p| p.temperature = 0.5));
        let warm = |seed| ReasoningPolicy { temperature: 0.5, seed, ..policy(Always) };
        assert_ne!(warm(1).effective(), warm(2).effective());
        assert_ne!(policy(Auto).effective(), policy(Always).effective());
    }

    #[test]
    fn route_follows_mode_score_and_room() {
        use ReasoningMode::{Always, Auto, Never};
        check(Never, 1.0, true, (Route::Direct, RouteReason::PolicyNever));
        check(Always, 0.0, true, (Route::Reasoned, RouteReason::PolicyAlways));
        check(Always, 0.0, false, (Route::Direct, RouteReason::NoRoom));
        check(Auto, 0.5, true, (Route::Direct, RouteReason::GateBelowThreshold));
        check(Auto, 0.51, true, (Route::Reasoned, RouteReason::GateAboveThreshold));
        check(Auto, 0.51, false, (Route::Direct, RouteReason::NoRoom));
    }
}
