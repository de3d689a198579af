//! Both embeddings of one input, for those who want to see what thinking changed.

use std::time::Duration;

use twn_encoder::{Pressure, Route, StopReason};

/// Both embeddings of one input. The answer's own is the one of its route.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Unit vector, made from the prompt alone.
    pub direct: Vec<f32>,
    /// Unit vector, made after a thought; `None` when the context had no room for one.
    pub reasoned: Option<Vec<f32>>,
    /// The thought.
    pub thought: Option<String>,
    /// What was run for the explanation alone.
    pub cost: ExplanationCost,
}

/// What was run for an explanation alone: nothing when the gate chose to think, since then
/// both embeddings were made on the way; and the queries of the direct embedding when the policy
/// did. It stands beside the answer's usage, which tells what the answer's own embedding cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExplanationCost {
    /// Thought tokens decoded.
    pub reasoning_tokens: u32,
    /// Embedding-query tokens run.
    pub query_tokens: u32,
    /// The thought tokens that were granted, if a thought was run for the explanation.
    pub granted_budget: Option<u32>,
    /// Why that thought ended.
    pub stop_reason: Option<StopReason>,
    /// Why less was granted than the policy asks for.
    pub pressure: Pressure,
    /// Decoding that thought.
    pub reasoning: Duration,
    /// The embedding queries after it.
    pub reembed: Duration,
}

impl Explanation {
    /// The embedding that an answer of this route does not have.
    pub(crate) fn other(&self, route: Route) -> Option<&[f32]> {
        match route {
            Route::Reasoned => Some(&self.direct),
            Route::Direct | Route::None => self.reasoned.as_deref(),
        }
    }
}
