//! What thinking did for each query: its direct and its reasoned result side by side.
//!
//! With both at hand every threshold of the gate can be judged without encoding anything
//! again, since a greedy thought does not depend on who asked for it.

use twn_encoder::ReasoningMode;

use super::metrics::QueryScores;

/// How one embedding of a query did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Judged {
    /// The metrics at 10.
    pub scores: QueryScores,
    /// Recall at each further cut-off that was asked for, in that order.
    pub recall_at: Vec<f64>,
    /// Similarity of the best relevant document minus that of the best irrelevant one;
    /// `None` when the corpus lacks either.
    pub margin: Option<f64>,
}

/// How a query did after a thought.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JudgedThought {
    /// The reasoned embedding's result.
    pub judged: Judged,
    /// Tokens of the thought.
    pub reasoning_tokens: u32,
}

/// One query, embedded both ways.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QueryOutcome {
    /// P(thinking helps), in [0, 1].
    pub gate_score: f32,
    /// The direct embedding's result.
    pub direct: Judged,
    /// The reasoned embedding's; `None` when there was no thought.
    pub reasoned: Option<JudgedThought>,
}

impl QueryOutcome {
    /// The thought that this query is answered with in `mode`: `Auto` thinks when the
    /// gate's score is above `threshold`. `None` is the direct route.
    pub fn thought(&self, mode: ReasoningMode, threshold: f32) -> Option<&JudgedThought> {
        let wanted = match mode {
            ReasoningMode::Never => false,
            ReasoningMode::Auto => self.gate_score > threshold,
            ReasoningMode::Always => true,
        };
        self.reasoned.as_ref().filter(|_| wanted)
    }

    /// By how much thinking widened the margin; `None` when there is nothing to compare.
    pub fn gain(&self) -> Option<f64> {
        Some(self.reasoned.as_ref()?.judged.margin? - self.direct.margin?)
    }

    /// By how much thinking raised nDCG@10; `None` without a thought.
    pub fn ndcg_gain(&self) -> Option<f64> {
        Some(self.reasoned.as_ref()?.judged.scores.ndcg_at_10 - self.direct.scores.ndcg_at_10)
    }
}
