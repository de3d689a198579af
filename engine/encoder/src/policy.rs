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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mode: ReasoningMode, score: f32, has_room: bool, want: (Route, RouteReason)) {
        let policy =
            ReasoningPolicy { mode, threshold: 0.5, token_budget: 8, temperature: 0.0, seed: 0 };
        assert_eq!(policy.route(score, has_room), want);
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
