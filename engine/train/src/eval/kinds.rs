//! The table once more for each kind of query.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    beir::BeirQuery,
    calibration::GateReport,
    error::EvalError,
    outcome::QueryOutcome,
    report::{Comparison, compare_all},
    row::{Evaluation, QueryResult, Row},
};

/// More kinds than this are no kinds: then there is no breakdown.
const KINDS_MAX: usize = 32;
/// Queries that name no kind, where others do.
const UNNAMED: &str = "other";

/// The rows over the queries of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KindReport {
    /// As the data calls it.
    pub kind: String,
    /// Queries of this kind.
    pub queries: usize,
    /// Share of them that thinking helped, when all were thought about.
    pub helped: Option<f64>,
    /// The gate's AUROC among them, when all were thought about.
    pub gate_auroc: Option<f64>,
    /// Every row that tells its queries' results.
    pub rows: Vec<KindRow>,
    /// Every pair of these rows.
    pub comparisons: Vec<Comparison>,
}

/// A row of one kind. Metrics are means over the kind's queries.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KindRow {
    /// As in the whole table.
    pub system: String,
    /// As in the whole table.
    pub mode: Option<String>,
    /// The five metrics.
    #[serde(flatten)]
    pub scores: super::metrics::QueryScores,
    /// Share of the queries that were embedded after a thought.
    pub think_rate: Option<f64>,
    /// Thought tokens per query, over the kind's queries.
    pub reasoning_tokens_per_query: Option<f64>,
}

/// Splits evaluations by the kind of their queries, in the order of the kinds' names.
/// Empty when no query names a kind. `outcomes` is empty when not all queries were
/// thought about.
pub(super) fn by_kind(
    queries: &[BeirQuery],
    outcomes: &[QueryOutcome],
    evaluations: &[Evaluation],
) -> Result<Vec<KindReport>, EvalError> {
    let mut members: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (position, query) in queries.iter().enumerate() {
        members.entry(query.kind.as_deref().unwrap_or(UNNAMED)).or_default().push(position);
    }
    let is_named = queries.iter().any(|query| query.kind.is_some());
    if !is_named || members.len() > KINDS_MAX {
        return Ok(Vec::new());
    }
    members.into_iter().map(|(kind, own)| report(kind, &own, outcomes, evaluations)).collect()
}

fn report(
    kind: &str,
    members: &[usize],
    outcomes: &[QueryOutcome],
    evaluations: &[Evaluation],
) -> Result<KindReport, EvalError> {
    let part: Vec<Evaluation> =
        evaluations.iter().filter_map(|evaluation| part_of(evaluation, members)).collect();
    let own: Vec<QueryOutcome> =
        members.iter().filter_map(|position| outcomes.get(*position).cloned()).collect();
    let gate = GateReport::of(&own);
    Ok(KindReport {
        kind: kind.to_owned(),
        queries: members.len(),
        helped: gate.as_ref().map(|gate| gate.helped),
        gate_auroc: gate.and_then(|gate| gate.auroc),
        comparisons: compare_all(&part)?,
        rows: part.into_iter().map(|evaluation| kind_row(evaluation.row)).collect(),
    })
}

/// The evaluation over some of its queries; `None` when it does not tell their results.
fn part_of(evaluation: &Evaluation, members: &[usize]) -> Option<Evaluation> {
    let results = evaluation.per_query.as_ref()?;
    let own: Option<Vec<QueryResult>> =
        members.iter().map(|position| results.get(*position).cloned()).collect();
    let own = own?;
    let row = Row::of(evaluation.row.system.clone(), evaluation.row.mode.as_deref(), &own);
    Some(Evaluation { row, per_query: Some(own) })
}

fn kind_row(row: Row) -> KindRow {
    let Row { system, mode, scores, think_rate, reasoning_tokens_per_query, .. } = row;
    KindRow { system, mode, scores, think_rate, reasoning_tokens_per_query }
}
