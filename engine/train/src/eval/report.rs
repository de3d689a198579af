//! What an evaluation says: one row per system and mode, and which differences are real.

use serde::Serialize;

use super::{
    beir::Beir,
    calibration::GateReport,
    error::EvalError,
    evaluate::EncoderEvaluation,
    frontier::{Frontier, FrontierPoint},
    kinds::{KindReport, by_kind},
    latency::Latency,
    outcome::QueryOutcome,
    row::{Evaluation, Row},
    significance::{Significance, paired_bootstrap},
};

/// Times the queries are drawn again for a comparison.
const BOOTSTRAP_SAMPLES: u32 = 10_000;
const BOOTSTRAP_SEED: u64 = 20_260_101;

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

/// The threshold that gives the best quality for a share of the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Choice {
    /// Share of the tokens of always thinking.
    pub token_share: f64,
    /// That is so many tokens per query.
    pub token_budget: f64,
    /// The best point within it.
    #[serde(flatten)]
    pub point: FrontierPoint,
}

/// A whole evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What was evaluated on.
    pub data: DataSummary,
    /// The table.
    pub rows: Vec<Row>,
    /// Every pair of rows whose queries' results are known.
    pub comparisons: Vec<Comparison>,
    /// The same for each kind of query, where the data tells kinds apart.
    pub kinds: Vec<KindReport>,
    /// How good the gate is.
    pub gate: Option<GateReport>,
    /// The threshold for a share of the tokens, where that was asked for.
    pub choice: Option<Choice>,
    /// How long one query takes alone.
    pub latency: Option<Latency>,
    /// What quality costs.
    pub frontier: Option<Frontier>,
}

/// What a report has beside its tables.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ReportOptions {
    /// Chooses the threshold for this share of the tokens that always thinking takes.
    pub token_share: Option<f64>,
    /// Writes every query's result into the rows, so that another run can be compared.
    pub per_query: bool,
}

impl Report {
    /// Puts baselines and an encoder on the same data side by side.
    ///
    /// # Errors
    /// Refuses evaluations with differing numbers of queries.
    pub fn new(
        data: &Beir,
        baselines: Vec<Evaluation>,
        encoder: EncoderEvaluation,
        options: ReportOptions,
    ) -> Result<Self, EvalError> {
        let EncoderEvaluation { evaluations, outcomes, gate, frontier, latency } = encoder;
        let evaluations: Vec<Evaluation> = baselines.into_iter().chain(evaluations).collect();
        let queries = &data.queries[..outcomes.len().min(data.queries.len())];
        let comparisons = compare_all(&evaluations)?;
        // Without thoughts about all queries there is nothing to say of the gate.
        let judged: &[QueryOutcome] = if gate.is_some() { &outcomes[..] } else { &[] };
        let kinds = by_kind(queries, judged, &evaluations)?;
        let rows = evaluations
            .into_iter()
            .map(|Evaluation { row, per_query }| Row {
                per_query: per_query.filter(|_| options.per_query),
                ..row
            })
            .collect();
        let choice = frontier.as_ref().zip(options.token_share).and_then(|(f, s)| choose(f, s));
        let data = DataSummary::new(data, queries.len());
        Ok(Self { data, rows, comparisons, kinds, gate, choice, latency, frontier })
    }
}

fn choose(frontier: &Frontier, token_share: f64) -> Option<Choice> {
    let token_budget = frontier.always()?.reasoning_tokens_per_query * token_share;
    let point = frontier.threshold_for_share(token_share)?;
    Some(Choice { token_share, token_budget, point })
}

/// Compares every pair of evaluations that tell their queries' results.
pub(super) fn compare_all(evaluations: &[Evaluation]) -> Result<Vec<Comparison>, EvalError> {
    let mut comparisons = Vec::new();
    for (index, a) in evaluations.iter().enumerate() {
        for b in &evaluations[index + 1..] {
            comparisons.extend(compare(a, b)?);
        }
    }
    Ok(comparisons)
}

fn compare(a: &Evaluation, b: &Evaluation) -> Result<Option<Comparison>, EvalError> {
    let ndcg = |evaluation: &Evaluation| -> Option<Vec<f64>> {
        let results = evaluation.per_query.as_ref()?;
        Some(results.iter().map(|result| result.scores.ndcg_at_10).collect())
    };
    let Some((of_a, of_b)) = ndcg(a).zip(ndcg(b)) else { return Ok(None) };
    let significance = paired_bootstrap(&of_a, &of_b, BOOTSTRAP_SAMPLES, BOOTSTRAP_SEED)
        .ok_or_else(|| EvalError::Option {
            option: "evaluations",
            problem: format!("{} and {} queries cannot be paired", of_a.len(), of_b.len()),
        })?;
    Ok(Some(Comparison { a: a.row.name(), b: b.row.name(), significance }))
}
