//! What an evaluation says: a row for each task and mode, means over groups, and the shape
//! of public results.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use twn_encoder::EncoderInfo;

use super::{
    catalogue::{Group, Measure, TASKS, Task},
    score::QueryScore,
};

/// One task in one mode. Figures are means over its queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MmebRow {
    /// The task's name.
    pub task: String,
    /// Its group.
    pub group: Group,
    /// Which of the two scores counts.
    pub measure: Measure,
    /// When queries thought: `never`, `adaptive` or `always`.
    pub mode: String,
    /// The score that counts, from 0 to 1.
    pub score: f64,
    /// Share of the queries whose best candidate is right.
    pub hit_at_1: f64,
    /// Linear NDCG of the first five.
    pub ndcg_linear_at_5: f64,
    /// Queries scored.
    pub queries: usize,
    /// Candidates encoded.
    pub candidates: usize,
    /// What the gate's score had to exceed, in mode `adaptive`.
    pub threshold: Option<f32>,
    /// Share of queries that were embedded after a thought.
    pub think_rate: f64,
    /// Prompt tokens of a query, those that stand for pixels included.
    pub prompt_tokens_per_query: f64,
    /// Thought tokens of a query.
    pub reasoning_tokens_per_query: f64,
    /// Time for the queries, reading media and scoring included. Modes that ran together
    /// count the direct pass in full, and the thoughts' time by its share of their tokens.
    pub query_seconds: f64,
    /// Time for the candidates, which such modes share.
    pub candidate_seconds: f64,
}

impl MmebRow {
    pub(super) fn new(task: Task, mode: &str, queries: usize, candidates: usize) -> Self {
        Self {
            task: task.name.to_owned(),
            group: task.group,
            measure: task.group.measure(),
            mode: mode.to_owned(),
            score: 0.0,
            hit_at_1: 0.0,
            ndcg_linear_at_5: 0.0,
            queries,
            candidates,
            threshold: None,
            think_rate: 0.0,
            prompt_tokens_per_query: 0.0,
            reasoning_tokens_per_query: 0.0,
            query_seconds: 0.0,
            candidate_seconds: 0.0,
        }
    }

    /// Adds one query to the sums; [`Self::finish`] makes means of them.
    pub(super) fn add_query(
        &mut self,
        score: QueryScore,
        prompt_tokens: u32,
        thought: Option<u32>,
    ) {
        self.hit_at_1 += score.hit_at_1;
        self.ndcg_linear_at_5 += score.ndcg_linear_at_5;
        self.think_rate += f64::from(u8::from(thought.is_some()));
        self.prompt_tokens_per_query += f64::from(prompt_tokens);
        self.reasoning_tokens_per_query += f64::from(thought.unwrap_or(0));
    }

    pub(super) fn finish(&mut self) {
        let count = self.queries.max(1) as f64;
        for sum in [
            &mut self.hit_at_1,
            &mut self.ndcg_linear_at_5,
            &mut self.think_rate,
            &mut self.prompt_tokens_per_query,
            &mut self.reasoning_tokens_per_query,
        ] {
            *sum /= count;
        }
        self.score = match self.measure {
            Measure::HitAt1 => self.hit_at_1,
            Measure::NdcgAt5 => self.ndcg_linear_at_5,
        };
    }
}

/// Means over the tasks of a mode, each task counting alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MmebSummary {
    /// When queries thought.
    pub mode: String,
    /// The mean over all tasks that were run.
    pub all: f64,
    /// Tasks that were run; `all` is comparable with published figures only when these are
    /// all 78, and no limit was set.
    pub tasks: usize,
    /// Mean over the tasks of each family.
    pub families: BTreeMap<&'static str, f64>,
    /// Mean over the tasks of each group.
    pub groups: BTreeMap<&'static str, f64>,
    /// Mean share of queries that were thought about.
    pub think_rate: f64,
    /// Mean thought tokens of a query.
    pub reasoning_tokens_per_query: f64,
    /// Time in all.
    pub seconds: f64,
}

/// A task's scores as public results have them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PublicScores {
    /// Share of the queries whose best candidate is right.
    #[serde(rename = "hit@1")]
    pub hit_at_1: f64,
    /// Linear NDCG of the first five.
    #[serde(rename = "ndcg_linear@5")]
    pub ndcg_linear_at_5: f64,
    /// Queries ranked.
    pub num_pred: usize,
    /// Queries there are.
    pub num_data: usize,
}

/// A whole evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MmebReport {
    /// The encoder's model.
    pub model: String,
    /// The encoder's fingerprint.
    pub fingerprint: String,
    /// False when the adapters are freshly initialised.
    pub trained: bool,
    /// Every task that was run, in every mode.
    pub rows: Vec<MmebRow>,
    /// One for each mode.
    pub summaries: Vec<MmebSummary>,
    /// Tasks of the benchmark that were not run.
    pub missing: Vec<&'static str>,
    /// By mode, family and task, as public results have them.
    pub metrics: BTreeMap<String, BTreeMap<&'static str, BTreeMap<String, PublicScores>>>,
}

impl MmebReport {
    /// Sums up rows.
    pub fn new(encoder: &EncoderInfo, rows: Vec<MmebRow>) -> Self {
        let mut modes: Vec<String> = Vec::new();
        let mut metrics: BTreeMap<String, BTreeMap<&'static str, BTreeMap<_, _>>> = BTreeMap::new();
        for row in &rows {
            if !modes.contains(&row.mode) {
                modes.push(row.mode.clone());
            }
            let family = metrics.entry(row.mode.clone()).or_default();
            let tasks = family.entry(row.group.family()).or_default();
            let scores = PublicScores {
                hit_at_1: row.hit_at_1,
                ndcg_linear_at_5: row.ndcg_linear_at_5,
                num_pred: row.queries,
                num_data: row.queries,
            };
            tasks.insert(row.task.clone(), scores);
        }
        let summaries = modes.into_iter().map(|mode| summary(mode, &rows)).collect();
        let is_missing = |name: &&str| rows.iter().all(|row| row.task != *name);
        let missing = TASKS.iter().map(|task| task.name).filter(is_missing).collect();
        Self {
            model: encoder.model.clone(),
            fingerprint: encoder.fingerprint.clone(),
            trained: encoder.trained,
            rows,
            summaries,
            missing,
            metrics,
        }
    }
}

fn summary(mode: String, rows: &[MmebRow]) -> MmebSummary {
    let rows: Vec<&MmebRow> = rows.iter().filter(|row| row.mode == mode).collect();
    let mean = |rows: &[&MmebRow], value: fn(&MmebRow) -> f64| {
        rows.iter().map(|row| value(row)).sum::<f64>() / rows.len().max(1) as f64
    };
    let mut families: BTreeMap<&'static str, Vec<&MmebRow>> = BTreeMap::new();
    let mut groups: BTreeMap<&'static str, Vec<&MmebRow>> = BTreeMap::new();
    for row in &rows {
        families.entry(row.group.family()).or_default().push(row);
        groups.entry(row.group.name()).or_default().push(row);
    }
    let means = |parts: BTreeMap<&'static str, Vec<&MmebRow>>| {
        parts.into_iter().map(|(name, rows)| (name, mean(&rows, |row| row.score))).collect()
    };
    MmebSummary {
        all: mean(&rows, |row| row.score),
        tasks: rows.len(),
        families: means(families),
        groups: means(groups),
        think_rate: mean(&rows, |row| row.think_rate),
        reasoning_tokens_per_query: mean(&rows, |row| row.reasoning_tokens_per_query),
        seconds: rows.iter().map(|row| row.query_seconds + row.candidate_seconds).sum(),
        mode,
    }
}
