//! One line of the table: a system in a mode, and what it was made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use twn_encoder::ReasoningMode;

use super::metrics::QueryScores;

/// The name of a mode in the report: `never`, `adaptive` or `always`.
pub fn mode_name(mode: ReasoningMode) -> &'static str {
    match mode {
        ReasoningMode::Never => "never",
        ReasoningMode::Auto => "adaptive",
        ReasoningMode::Always => "always",
    }
}

/// One line of the table. Metrics are means over the queries.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Row {
    /// The encoder's model, or a baseline's name.
    pub system: String,
    /// `never`, `adaptive` or `always`; `None` for a system that cannot think.
    pub mode: Option<String>,
    /// The threshold that the gate's score was compared with, in mode `adaptive`.
    pub threshold: Option<f32>,
    /// False for an encoder whose adapters are freshly initialised; `None` for a baseline.
    pub trained: Option<bool>,
    /// The five metrics.
    #[serde(flatten)]
    pub scores: QueryScores,
    /// Recall at further cut-offs, where they were asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub recall_at: BTreeMap<usize, f64>,
    /// Share of the queries that were embedded after a thought.
    pub think_rate: Option<f64>,
    /// Thought tokens per query, over all queries.
    pub reasoning_tokens_per_query: Option<f64>,
    /// Share of the documents that were embedded after a thought.
    pub document_think_rate: Option<f64>,
    /// Time of the whole row: documents, queries and ranking. Modes share the embedding
    /// of the documents and the direct pass, and each counts them in full; the thoughts'
    /// time goes by tokens.
    pub seconds: f64,
    /// Of these, embedding documents.
    pub document_seconds: f64,
    /// Of these, embedding queries.
    pub query_seconds: f64,
    /// Documents whose vectors came from the cache and cost no time.
    pub cached_documents: usize,
    /// Queries whose embedding the server recalled, at no cost.
    pub recalled_queries: usize,
    /// Prompt tokens of the documents that were embedded in this run.
    pub encoded_document_tokens: u64,
    /// Documents were cut to this many tokens; `None` means at the encoder's context.
    pub max_document_tokens: Option<usize>,
    /// Every query's result, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_query: Option<Vec<QueryResult>>,
}

/// What one query scored in a row, and what that cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryResult {
    /// Its name in the judgments.
    pub id: String,
    /// The metrics.
    #[serde(flatten)]
    pub scores: QueryScores,
    /// P(thinking helps); `None` for a system without a gate.
    #[serde(default)]
    pub gate_score: Option<f32>,
    /// Tokens of its thought; `None` when it was embedded directly.
    #[serde(default)]
    pub reasoning_tokens: Option<u32>,
    /// Similarity of the best relevant document minus that of the best irrelevant one; `None`
    /// where the corpus lacks either, and for a system that does not compare vectors.
    #[serde(default)]
    pub margin: Option<f64>,
}

impl Row {
    /// Sums up queries; what does not follow from them is left at its default.
    pub(super) fn of(system: String, mode: Option<&str>, per_query: &[QueryResult]) -> Self {
        let count = per_query.len().max(1) as f64;
        let scores: Vec<QueryScores> = per_query.iter().map(|one| one.scores).collect();
        let thoughts = per_query.iter().filter_map(|one| one.reasoning_tokens);
        // In integers: the sum of no floats is -0.
        let tokens: u64 = thoughts.clone().map(u64::from).sum();
        Self {
            system,
            scores: QueryScores::mean(&scores),
            think_rate: mode.map(|_| thoughts.count() as f64 / count),
            reasoning_tokens_per_query: mode.map(|_| tokens as f64 / count),
            mode: mode.map(str::to_owned),
            ..Self::default()
        }
    }

    /// Names the row in a comparison, for example `SmolLM2-135M-Instruct adaptive`.
    pub fn name(&self) -> String {
        match &self.mode {
            Some(mode) => format!("{} {mode}", self.system),
            None => self.system.clone(),
        }
    }
}

/// A row with what it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The line of the table.
    pub row: Row,
    /// Every query's result in the data's order; `None` when only the means are known.
    pub per_query: Option<Vec<QueryResult>>,
}
