//! Systems that stand beside an encoder: BM25, and what another program has measured.

use std::{collections::HashMap, path::Path, time::Instant};

use serde::Deserialize;

use super::{
    beir::Beir,
    bm25::Bm25,
    error::EvalError,
    evaluate::EvalOptions,
    metrics::{CUTOFF, QueryScores},
    row::{Evaluation, QueryResult, Row},
};

/// Bytes of a file of rows; a longer one is refused.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Evaluates BM25.
pub fn evaluate_bm25(data: &Beir, options: &EvalOptions) -> Evaluation {
    let started = Instant::now();
    let index = Bm25::new(data.documents.iter().map(|document| document.content()));
    let indexed = started.elapsed();
    let per_query: Vec<QueryResult> = data.queries[..options.queries(data)]
        .iter()
        .map(|query| QueryResult {
            id: query.id.clone(),
            scores: QueryScores::of(&index.rank(&query.text, CUTOFF), &query.relevance),
            gate_score: None,
            reasoning_tokens: None,
            margin: None,
        })
        .collect();
    let seconds = started.elapsed();
    let row = Row {
        seconds: seconds.as_secs_f64(),
        document_seconds: indexed.as_secs_f64(),
        query_seconds: (seconds - indexed).as_secs_f64(),
        ..Row::of("bm25".into(), None, &per_query)
    };
    Evaluation { row, per_query: Some(per_query) }
}

/// A line of a file of rows, as `twn eval beir --json` prints it.
#[derive(Deserialize)]
struct ReportLine {
    data: DataLine,
    rows: Vec<RowLine>,
}

#[derive(Deserialize)]
struct DataLine {
    name: String,
    documents: usize,
    queries: usize,
}

#[derive(Deserialize)]
struct RowLine {
    system: String,
    mode: Option<String>,
    #[serde(default)]
    threshold: Option<f32>,
    #[serde(default)]
    trained: Option<bool>,
    #[serde(flatten)]
    scores: QueryScores,
    #[serde(default)]
    think_rate: Option<f64>,
    #[serde(default)]
    reasoning_tokens_per_query: Option<f64>,
    seconds: f64,
    #[serde(default)]
    max_document_tokens: Option<usize>,
    #[serde(default)]
    per_query: Option<Vec<QueryResult>>,
}

/// Reads the rows that a file has about `data`: the output of `twn eval beir --json`, or
/// of `bench/peers/minilm_beir.py`, one line for each test collection. Rows that tell each
/// query's result can be compared with others.
///
/// # Errors
/// Refuses a file that has another shape or nothing about this data, and rows about other
/// documents or queries.
pub fn read_baseline(
    path: &Path,
    data: &Beir,
    options: &EvalOptions,
) -> Result<Vec<Evaluation>, EvalError> {
    let bytes = fs_err::metadata(path)?.len();
    if bytes > MAX_FILE_BYTES {
        let problem = format!("{bytes} bytes, at most {MAX_FILE_BYTES}");
        return Err(EvalError::data(path, problem));
    }
    let text = fs_err::read_to_string(path)?;
    let mut evaluations = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line: ReportLine = serde_json::from_str(line)
            .map_err(|error| EvalError::line(path, number + 1, error.to_string()))?;
        if line.data.name != data.name {
            continue;
        }
        if line.data.documents != data.documents.len() {
            let problem = format!(
                "is about {} documents, `{}` has {}",
                line.data.documents,
                data.name,
                data.documents.len()
            );
            return Err(EvalError::line(path, number + 1, problem));
        }
        for row in line.rows {
            let evaluation = evaluation(row, line.data.queries, data, options);
            evaluations
                .push(evaluation.map_err(|problem| EvalError::line(path, number + 1, problem))?);
        }
    }
    if evaluations.is_empty() {
        return Err(EvalError::data(path, format!("has no row about `{}`", data.name)));
    }
    Ok(evaluations)
}

/// Takes a row; where every query's result is told, the queries that are evaluated now.
fn evaluation(
    line: RowLine,
    line_queries: usize,
    data: &Beir,
    options: &EvalOptions,
) -> Result<Evaluation, String> {
    let queries = &data.queries[..options.queries(data)];
    let per_query = match line.per_query {
        None if line_queries != queries.len() => {
            let evaluated = queries.len();
            return Err(format!(
                "row `{}` is about {line_queries} queries, {evaluated} are evaluated",
                line.system
            ));
        }
        None => None,
        Some(results) => {
            let mut by_id: HashMap<String, QueryResult> =
                results.into_iter().map(|result| (result.id.clone(), result)).collect();
            let own = queries.iter().map(|query| {
                by_id
                    .remove(&query.id)
                    .ok_or_else(|| format!("row `{}` lacks query `{}`", line.system, query.id))
            });
            Some(own.collect::<Result<Vec<_>, _>>()?)
        }
    };
    let known = Row {
        scores: line.scores,
        think_rate: line.think_rate,
        reasoning_tokens_per_query: line.reasoning_tokens_per_query,
        system: line.system.clone(),
        mode: line.mode.clone(),
        ..Row::default()
    };
    let summed = per_query
        .as_ref()
        .map(|results| Row::of(line.system.clone(), line.mode.as_deref(), results));
    let row = Row {
        threshold: line.threshold,
        trained: line.trained,
        seconds: line.seconds,
        max_document_tokens: line.max_document_tokens,
        ..summed.unwrap_or(known)
    };
    Ok(Evaluation { row, per_query })
}
