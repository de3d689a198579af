//! One task in one mode, and what is kept so that a broken-off evaluation goes on.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use twn_encoder::{EmbedKind, Embedder, Prompt, ReasoningMode, ReasoningPolicy, Route};

use super::{
    catalogue::Measure,
    data::{MmebInput, MmebTask},
    report::MmebRow,
};
use crate::{
    encode::{BatchLimits, Encoded, encode_all},
    error::EvalError,
    metrics::{Gain, hit, ndcg},
    ranking::best,
    report::mode_name,
};

/// Inputs whose media is in memory at once.
const CHUNK_INPUTS: usize = 16;
/// Cut-off of the gain of documents.
const NDCG_CUTOFF: usize = 5;

/// How to evaluate.
#[derive(Debug, Clone, PartialEq)]
pub struct MmebOptions {
    /// Evaluates the first so many queries only; their candidates are then all that is encoded.
    pub limit_queries: Option<usize>,
    /// Thought tokens of one input at most; `None` takes the encoder's own.
    pub token_budget: Option<u32>,
    /// Whether candidates think.
    pub candidate_mode: ReasoningMode,
    /// Prompt tokens of one batch.
    pub batch_tokens: usize,
    /// Thoughts decoded together.
    pub thoughts: usize,
    /// Folder where each finished task is kept; a task that is there is not run again.
    pub results: Option<PathBuf>,
}

impl Default for MmebOptions {
    fn default() -> Self {
        Self {
            limit_queries: None,
            token_budget: None,
            candidate_mode: ReasoningMode::Never,
            batch_tokens: 8_192,
            thoughts: 8,
            results: None,
        }
    }
}

/// Reads what an earlier evaluation kept of this task, encoder, mode and these options.
///
/// # Errors
/// Fails when it is there and cannot be read.
pub fn finished<E: Embedder>(
    encoder: &E,
    task: &str,
    mode: ReasoningMode,
    options: &MmebOptions,
) -> Result<Option<MmebRow>, EvalError> {
    let Some(path) = kept(encoder, task, mode, options) else { return Ok(None) };
    if !path.is_file() {
        return Ok(None);
    }
    let row = serde_json::from_slice(&fs_err::read(&path)?);
    row.map(Some).map_err(|error| EvalError::data(&path, error.to_string()))
}

fn kept<E: Embedder>(
    encoder: &E,
    task: &str,
    mode: ReasoningMode,
    options: &MmebOptions,
) -> Option<PathBuf> {
    let fingerprint: String = encoder.info().fingerprint.chars().take(16).collect();
    let options_name = format!(
        "{}-{}-{}-{}",
        mode_name(mode),
        mode_name(options.candidate_mode),
        options.limit_queries.map_or("all".to_owned(), |limit| limit.to_string()),
        options.token_budget.map_or("own".to_owned(), |budget| budget.to_string()),
    );
    let folder = options.results.as_ref()?.join(fingerprint).join(options_name);
    Some(folder.join(format!("{task}.json")))
}

/// Evaluates one task with queries in `mode`, and keeps the result where the options say.
/// `done` is told how many of how many inputs are encoded.
///
/// # Errors
/// Fails when media cannot be read, the encoder fails, or the result cannot be kept.
pub fn evaluate_task<E: Embedder>(
    encoder: &mut E,
    data: &MmebTask,
    mode: ReasoningMode,
    options: &MmebOptions,
    done: &mut dyn FnMut(usize, usize),
) -> Result<MmebRow, EvalError> {
    let started = Instant::now();
    let queries = &data.queries[..options.limit_queries.unwrap_or(usize::MAX).min(data.queries.len())];
    let wanted = wanted_candidates(data, queries.iter().map(|query| query.candidates.as_slice()));
    let total = wanted.iter().filter(|wanted| **wanted).count() + queries.len();

    let policy = policy(encoder, options.candidate_mode, options);
    let mut encoded: Vec<Option<Encoded>> = vec![None; data.candidates.len()];
    let positions: Vec<usize> = (0..wanted.len()).filter(|&i| wanted[i]).collect();
    let mut count = 0;
    for chunk in positions.chunks(CHUNK_INPUTS) {
        let inputs: Vec<&MmebInput> = chunk.iter().map(|&i| &data.candidates[i]).collect();
        let kind = EmbedKind::Document;
        for (&position, one) in chunk.iter().zip(encode(encoder, &inputs, kind, &policy, options)?) {
            encoded[position] = Some(one.0);
        }
        count += chunk.len();
        done(count, total);
    }
    let candidate_seconds = started.elapsed().as_secs_f64();

    let policy = self::policy(encoder, mode, options);
    let mut row = MmebRow::new(data, mode_name(mode), queries.len(), positions.len());
    row.candidate_seconds = candidate_seconds;
    let mut sum = 0.0;
    for chunk in queries.chunks(CHUNK_INPUTS) {
        let inputs: Vec<&MmebInput> = chunk.iter().map(|query| &query.input).collect();
        for (query, (one, vision)) in
            chunk.iter().zip(encode(encoder, &inputs, EmbedKind::Query, &policy, options)?)
        {
            let all: Vec<u32>;
            let candidates = if query.candidates.is_empty() {
                all = (0..data.candidates.len() as u32).collect();
                &all
            } else {
                &query.candidates
            };
            let scores: Vec<(f64, u32)> = candidates
                .iter()
                .filter_map(|&position| {
                    let candidate = encoded[position as usize].as_ref()?;
                    Some((dot(&one.embedding, &candidate.embedding), position))
                })
                .collect();
            sum += score(scores, &query.relevance, data.task.group.measure());
            row.add_query(&one, vision);
        }
        count += chunk.len();
        done(count, total);
    }
    row.score = sum / queries.len().max(1) as f64;
    row.query_seconds = started.elapsed().as_secs_f64() - candidate_seconds;
    if let Some(path) = kept(encoder, data.task.name, mode, options) {
        keep(&path, &row)?;
    }
    Ok(row)
}

/// Scores one query from its candidates' similarities and positions. Equal similarities
/// keep the order of their positions.
pub fn score(scores: Vec<(f64, u32)>, relevance: &crate::Relevance, measure: Measure) -> f64 {
    let ranking = best(scores, NDCG_CUTOFF);
    match measure {
        Measure::HitAt1 => hit(&ranking, relevance, 1),
        Measure::NdcgAt5 => ndcg(&ranking, relevance, NDCG_CUTOFF, Gain::Graded),
    }
}

/// Which candidates the queries name; a query that names none means all.
fn wanted_candidates<'a>(data: &MmebTask, lists: impl Iterator<Item = &'a [u32]>) -> Vec<bool> {
    let mut wanted = vec![false; data.candidates.len()];
    for list in lists {
        if list.is_empty() {
            return vec![true; wanted.len()];
        }
        for &position in list {
            wanted[position as usize] = true;
        }
    }
    wanted
}

/// Encodes a few inputs; gives also the tokens of each that stand for pixels.
fn encode<E: Embedder>(
    encoder: &mut E,
    inputs: &[&MmebInput],
    kind: EmbedKind,
    policy: &ReasoningPolicy,
    options: &MmebOptions,
) -> Result<Vec<(Encoded, u32)>, EvalError> {
    let prompter = encoder.prompter();
    let what = |input: &MmebInput| format!("{input:?}");
    let prompts = inputs
        .iter()
        .map(|input| {
            let prepared = prompter.prepare(&input.load(kind)?);
            prepared.map_err(|source| EvalError::Encode { what: what(input), source })
        })
        .collect::<Result<Vec<Prompt>, EvalError>>()?;
    let limits = BatchLimits { tokens: options.batch_tokens, thoughts: options.thoughts };
    let encoded = encode_all(encoder, &prompts, policy, limits, &mut |_| {});
    let first = || inputs.first().map(|input| what(input)).unwrap_or_default();
    let encoded = encoded.map_err(|source| EvalError::Encode { what: first(), source })?;
    Ok(encoded.into_iter().zip(prompts.iter().map(|prompt| prompt.vision_tokens)).collect())
}

fn policy<E: Embedder>(encoder: &E, mode: ReasoningMode, options: &MmebOptions) -> ReasoningPolicy {
    let info = encoder.info();
    ReasoningPolicy {
        mode,
        threshold: info.gate_threshold,
        token_budget: options.token_budget.unwrap_or(info.token_budget),
        temperature: 0.0,
        seed: 0,
        convergence: None,
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

impl MmebRow {
    fn add_query(&mut self, one: &Encoded, vision_tokens: u32) {
        let count = self.queries as f64;
        self.think_rate += f64::from(u8::from(one.route == Route::Reasoned)) / count;
        self.prompt_tokens_per_query += f64::from(one.prompt_tokens) / count;
        self.vision_tokens_per_query += f64::from(vision_tokens) / count;
        self.reasoning_tokens_per_query += f64::from(one.reasoning_tokens) / count;
    }
}

/// Writes to a neighbouring file and renames it, so that what is there is whole.
fn keep(path: &Path, row: &MmebRow) -> Result<(), EvalError> {
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    let text = serde_json::to_vec_pretty(row).map_err(std::io::Error::from)?;
    let unfinished = path.with_extension("unfinished");
    fs_err::write(&unfinished, text)?;
    Ok(fs_err::rename(unfinished, path)?)
}
