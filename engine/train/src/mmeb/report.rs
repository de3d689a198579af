//! What an evaluation says: a row for each task and mode, means over groups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    catalogue::{Group, Measure, TASKS},
    data::MmebTask,
};

/// One task in one mode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MmebRow {
    /// The task's name.
    pub task: String,
    /// Its group.
    pub group: Group,
    /// How it is scored.
    pub measure: Measure,
    /// When queries thought.
    pub mode: String,
    /// The mean over queries, from 0 to 1.
    pub score: f64,
    /// Queries scored.
    pub queries: usize,
    /// Candidates encoded.
    pub candidates: usize,
    /// Share of queries that were thought about.
    pub think_rate: f64,
    /// Mean prompt tokens of a query.
    pub prompt_tokens_per_query: f64,
    /// Of these, those that stand for pixels.
    pub vision_tokens_per_query: f64,
    /// Mean thought tokens of a query.
    pub reasoning_tokens_per_query: f64,
    /// Time for the queries, preparation and scoring included.
    pub query_seconds: f64,
    /// Time for the candidates.
    pub candidate_seconds: f64,
}

impl MmebRow {
    pub(super) fn new(data: &MmebTask, mode: &str, queries: usize, candidates: usize) -> Self {
        Self {
            task: data.task.name.to_owned(),
            group: data.task.group,
            measure: data.task.group.measure(),
            mode: mode.to_owned(),
            score: 0.0,
            queries,
            candidates,
            think_rate: 0.0,
            prompt_tokens_per_query: 0.0,
            vision_tokens_per_query: 0.0,
            reasoning_tokens_per_query: 0.0,
            query_seconds: 0.0,
            candidate_seconds: 0.0,
        }
    }
}

/// Means over the tasks of a mode.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MmebSummary {
    /// When queries thought.
    pub mode: String,
    /// The mean over all tasks that were run; comparable with published figures only when
    /// these are all 78.
    pub all: f64,
    /// Tasks that were run.
    pub tasks: usize,
    /// Mean over the tasks of each family.
    pub families: BTreeMap<&'static str, f64>,
    /// Mean over the tasks of each group.
    pub groups: BTreeMap<Group, f64>,
    /// Mean share of queries that were thought about.
    pub think_rate: f64,
    /// Mean thought tokens of a query.
    pub reasoning_tokens_per_query: f64,
    /// Time in all.
    pub seconds: f64,
}

/// A whole evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MmebReport {
    /// The encoder's model.
    pub model: String,
    /// The encoder's fingerprint.
    pub fingerprint: String,
    /// Every task that was run, in every mode.
    pub rows: Vec<MmebRow>,
    /// One for each mode.
    pub summaries: Vec<MmebSummary>,
    /// Tasks of the benchmark that were not run.
    pub missing: Vec<&'static str>,
}

impl MmebReport {
    /// Sums up rows.
    pub fn new(model: &str, fingerprint: &str, rows: Vec<MmebRow>) -> Self {
        let mut modes: Vec<String> = Vec::new();
        for row in &rows {
            if !modes.contains(&row.mode) {
                modes.push(row.mode.clone());
            }
        }
        let summaries = modes.into_iter().map(|mode| summary(mode, &rows)).collect();
        let is_missing = |name: &&str| rows.iter().all(|row| row.task != *name);
        let missing = TASKS.iter().map(|task| task.name).filter(is_missing).collect();
        let (model, fingerprint) = (model.to_owned(), fingerprint.to_owned());
        Self { model, fingerprint, rows, summaries, missing }
    }
}

fn summary(mode: String, rows: &[MmebRow]) -> MmebSummary {
    let rows: Vec<&MmebRow> = rows.iter().filter(|row| row.mode == mode).collect();
    let mean = |value: &dyn Fn(&MmebRow) -> f64, rows: &[&MmebRow]| {
        rows.iter().map(|row| value(row)).sum::<f64>() / rows.len().max(1) as f64
    };
    let mut families: BTreeMap<&'static str, Vec<&MmebRow>> = BTreeMap::new();
    let mut groups: BTreeMap<Group, Vec<&MmebRow>> = BTreeMap::new();
    for row in &rows {
        families.entry(row.group.family()).or_default().push(row);
        groups.entry(row.group).or_default().push(row);
    }
    let score = |row: &MmebRow| row.score;
    MmebSummary {
        all: mean(&score, &rows),
        tasks: rows.len(),
        families: families.into_iter().map(|(name, rows)| (name, mean(&score, &rows))).collect(),
        groups: groups.into_iter().map(|(group, rows)| (group, mean(&score, &rows))).collect(),
        think_rate: mean(&|row| row.think_rate, &rows),
        reasoning_tokens_per_query: mean(&|row| row.reasoning_tokens_per_query, &rows),
        seconds: rows.iter().map(|row| row.query_seconds + row.candidate_seconds).sum(),
        mode,
    }
}
