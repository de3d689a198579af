//! What an evaluation says: one row per system and mode, and which differences are real.

use serde::Serialize;
use twn_encoder::ReasoningMode;

use super::{
    beir::Beir,
    error::EvalError,
    metrics::QueryScores,
    significance::{Significance, paired_bootstrap},
};

/// Times the queries are drawn again for a comparison.
const BOOTSTRAP_SAMPLES: u32 = 10_000;
const BOOTSTRAP_SEED: u64 = 20_260_101;

/// The name of a mode in the report: `never`, `adaptive` or `always`.
pub fn mode_name(mode: ReasoningMode) -> &'static str {
    match mode {
        ReasoningMode::Never => "never",
        ReasoningMode::Auto => "adaptive",
        ReasoningMode::Always => "always",
    }
}

/// What was evaluated on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DataSummary {
    /// The folder's name.
    pub name: String,
    /// Documents of the corpus.
    pub documents: usize,
    /// Of these, documents without text, which no encoder retrieves.
    pub empty_documents: usize,
    /// Queries evaluated.
    pub queries: usize,
    /// Queries left out, having no relevant document or being over the limit asked for.
    pub skipped_queries: usize,
    /// Judgments in the file.
    pub judgments: usize,
}

impl DataSummary {
    /// Describes `data` of which the first `queries` queries are evaluated.
    pub fn new(data: &Beir, queries: usize) -> Self {
        let empty = |text: &str| text.trim().is_empty();
        Self {
            name: data.name.clone(),
            documents: data.documents.len(),
            empty_documents: data.documents.iter().filter(|d| empty(&d.content())).count(),
            queries,
            skipped_queries: data.skipped_queries + data.queries.len() - queries,
            judgments: data.judgments,
        }
    }
}

/// One line of the table: a system in a mode. Metrics are means over the queries.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The encoder's model, or `bm25`.
    pub system: String,
    /// `never`, `adaptive` or `always`; `None` for a system that cannot think.
    pub mode: Option<&'static str>,
    /// False for an encoder whose adapters are freshly initialised; `None` for a baseline.
    pub trained: Option<bool>,
    /// The five metrics.
    #[serde(flatten)]
    pub scores: QueryScores,
    /// Share of the queries that were embedded after a thought.
    pub think_rate: Option<f64>,
    /// Thought tokens per query, over all queries.
    pub reasoning_tokens_per_query: Option<f64>,
    /// Share of the documents that were embedded after a thought.
    pub document_think_rate: Option<f64>,
    /// Wall time of the whole row: documents, queries and ranking.
    pub seconds: f64,
    /// Of these, encoding documents.
    pub document_seconds: f64,
    /// Of these, encoding queries.
    pub query_seconds: f64,
    /// Documents whose vectors came from the cache and cost no time.
    pub cached_documents: usize,
    /// Prompt tokens of the documents that were encoded in this run.
    pub encoded_document_tokens: u64,
    /// Documents were cut to this many tokens; `None` means at the encoder's context.
    pub max_document_tokens: Option<usize>,
}

/// A row with what it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The line of the table.
    pub row: Row,
    /// The scores of each query, in the data's order.
    pub scores: Vec<QueryScores>,
}

/// The difference in nDCG at 10 between two rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// For example `SmolLM2-135M-Instruct adaptive`.
    pub a: String,
    /// The other.
    pub b: String,
    /// `a - b`, paired over the queries.
    #[serde(flatten)]
    pub significance: Significance,
}

/// A whole evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What was evaluated on.
    pub data: DataSummary,
    /// The table.
    pub rows: Vec<Row>,
    /// Every pair of rows.
    pub comparisons: Vec<Comparison>,
}

impl Report {
    /// Puts evaluations on the same data side by side.
    ///
    /// # Errors
    /// Refuses evaluations with differing numbers of queries.
    pub fn new(data: DataSummary, evaluations: Vec<Evaluation>) -> Result<Self, EvalError> {
        let mut comparisons = Vec::new();
        for (index, a) in evaluations.iter().enumerate() {
            for b in &evaluations[index + 1..] {
                comparisons.push(compare(a, b)?);
            }
        }
        let rows = evaluations.into_iter().map(|evaluation| evaluation.row).collect();
        Ok(Self { data, rows, comparisons })
    }
}

fn compare(a: &Evaluation, b: &Evaluation) -> Result<Comparison, EvalError> {
    let ndcg = |evaluation: &Evaluation| -> Vec<f64> {
        evaluation.scores.iter().map(|scores| scores.ndcg_at_10).collect()
    };
    let name = |row: &Row| match row.mode {
        Some(mode) => format!("{} {mode}", row.system),
        None => row.system.clone(),
    };
    let significance = paired_bootstrap(&ndcg(a), &ndcg(b), BOOTSTRAP_SAMPLES, BOOTSTRAP_SEED)
        .ok_or_else(|| EvalError::Option {
            option: "evaluations",
            problem: format!("{} and {} queries cannot be paired", a.scores.len(), b.scores.len()),
        })?;
    Ok(Comparison { a: name(&a.row), b: name(&b.row), significance })
}
