//! One task in one or several modes.

use std::time::Instant;

use twn_encoder::{EmbedKind, Embedder, EncoderError, Prompt, ReasoningMode};

use super::{
    data::{MmebInput, MmebQuery, MmebTask},
    media::MediaFolders,
    report::MmebRow,
    score::score_query,
};
use crate::eval::{
    EvalError, LocalOptions, Think,
    cache::is_unit,
    encode::{BatchLimits, Schedule, encode_all},
    mode_name,
    source::{Embedded, Pass},
};

/// Inputs whose media is in memory at once.
const CHUNK_INPUTS: usize = 16;

/// How to evaluate.
#[derive(Debug, Clone, PartialEq)]
pub struct MmebOptions {
    /// Evaluates the first so many queries only; their candidates are then all that is encoded.
    pub limit_queries: Option<usize>,
    /// What the gate's score must exceed in mode `adaptive`; `None` takes the encoder's own.
    pub threshold: Option<f32>,
    /// Thought tokens of one input at most; `None` takes the encoder's own.
    pub token_budget: Option<u32>,
    /// Whether candidates think.
    pub candidate_mode: ReasoningMode,
    /// How much is done at once.
    pub batch: LocalOptions,
}

impl Default for MmebOptions {
    fn default() -> Self {
        Self {
            limit_queries: None,
            threshold: None,
            token_budget: None,
            candidate_mode: ReasoningMode::Never,
            batch: LocalOptions::default(),
        }
    }
}

/// Evaluates one task with queries in each of `modes`; gives a row for each. Modes share one
/// run: candidates are embedded once, and each query once directly and, where a mode needs
/// it, once after a thought. `done` is told how many of how many inputs are encoded.
///
/// # Errors
/// Fails when media cannot be read, or the encoder refuses or fails on an input.
pub fn evaluate_task<E: Embedder>(
    encoder: &mut E,
    data: &MmebTask,
    media: &MediaFolders,
    modes: &[ReasoningMode],
    options: &MmebOptions,
    done: &mut dyn FnMut(usize, usize),
) -> Result<Vec<MmebRow>, EvalError> {
    let limit = options.limit_queries.unwrap_or(usize::MAX).min(data.queries.len());
    let queries = &data.queries[..limit];
    let wanted = wanted_candidates(data, queries);
    let total = wanted.len() + queries.len();
    let threshold = options.threshold.unwrap_or(encoder.info().gate_threshold);
    let mut run = Run { encoder, data, media, options, threshold };

    let started = Instant::now();
    let mut candidates: Vec<Option<Vec<f32>>> = vec![None; data.candidates.len()];
    let mut count = 0;
    for chunk in wanted.chunks(CHUNK_INPUTS) {
        let inputs = chunk.iter().map(|&at| &data.candidates[at as usize]);
        let inputs: Vec<Named<'_>> = inputs
            .zip(chunk)
            .map(|(input, at)| Named { input, what: "candidate", number: *at })
            .collect();
        let pass = run.encode(&inputs, EmbedKind::Document, &[options.candidate_mode])?;
        for (&at, one) in chunk.iter().zip(&pass.embedded) {
            candidates[at as usize] = Some(run.used(one, options.candidate_mode).0.to_vec());
        }
        count += chunk.len();
        done(count, total);
    }
    let candidate_seconds = started.elapsed().as_secs_f64();

    let mut rows: Vec<MmebRow> = modes
        .iter()
        .map(|&mode| {
            let mut row = MmebRow::new(data.task, mode_name(mode), queries.len(), wanted.len());
            row.threshold = (mode == ReasoningMode::Auto).then_some(threshold);
            row.candidate_seconds = candidate_seconds;
            row
        })
        .collect();
    let mut number = 0;
    for chunk in queries.chunks(CHUNK_INPUTS) {
        let started = Instant::now();
        let numbered = chunk.iter().zip(number..);
        let inputs: Vec<Named<'_>> = numbered
            .map(|(query, number)| Named { input: &query.input, what: "query", number })
            .collect();
        let pass = run.encode(&inputs, EmbedKind::Query, modes)?;
        // What is neither a direct embedding nor a thought is reading media.
        let other = started.elapsed().as_secs_f64() - pass.thought_seconds;
        let thought_tokens: u64 = pass.embedded.iter().map(reasoning_tokens).sum();
        for (row, &mode) in rows.iter_mut().zip(modes) {
            let started = Instant::now();
            let mut tokens = 0;
            for (query, one) in chunk.iter().zip(&pass.embedded) {
                let (vector, thought) = run.used(one, mode);
                let score = score_query(similarities(query, vector, &candidates), &query.relevance);
                row.add_query(score, one.prompt_tokens, thought);
                tokens += u64::from(thought.unwrap_or(0));
            }
            let share = tokens as f64 / thought_tokens.max(1) as f64;
            row.query_seconds +=
                other + pass.thought_seconds * share + started.elapsed().as_secs_f64();
        }
        number += chunk.len() as u32;
        count += chunk.len();
        done(count, total);
    }
    rows.iter_mut().for_each(MmebRow::finish);
    Ok(rows)
}

/// An input with its place in the data, for errors.
struct Named<'a> {
    input: &'a MmebInput,
    what: &'static str,
    number: u32,
}

struct Run<'a, E> {
    encoder: &'a mut E,
    data: &'a MmebTask,
    media: &'a MediaFolders,
    options: &'a MmebOptions,
    threshold: f32,
}

impl<E: Embedder> Run<'_, E> {
    /// Encodes a few inputs, with thoughts as far as one of the modes needs them.
    fn encode(
        &mut self,
        inputs: &[Named<'_>],
        kind: EmbedKind,
        modes: &[ReasoningMode],
    ) -> Result<Pass, EvalError> {
        let task = self.data.task.name;
        let failed = |one: &Named<'_>, source: EncoderError| EvalError::Encode {
            what: format!("{} {} of {task}", one.what, one.number + 1),
            source,
        };
        let prompter = self.encoder.prompter();
        let prompts = inputs
            .iter()
            .map(|one| {
                let input = self.media.load(one.input, kind)?;
                prompter.prepare(&input).map_err(|source| failed(one, source))
            })
            .collect::<Result<Vec<Prompt>, EvalError>>()?;
        let think = if modes.contains(&ReasoningMode::Always) {
            Think::Everybody
        } else if modes.contains(&ReasoningMode::Auto) {
            Think::Above(self.threshold)
        } else {
            Think::Nobody
        };
        let LocalOptions { batch_tokens, thoughts } = self.options.batch;
        let schedule = Schedule {
            think,
            token_budget: self.options.token_budget.unwrap_or(self.encoder.info().token_budget),
            limits: BatchLimits { tokens: batch_tokens, thoughts },
        };
        let pass = encode_all(self.encoder, &prompts, &schedule, &mut |_| {});
        let pass = pass.map_err(|source| match inputs.first() {
            Some(one) => failed(one, source),
            None => EvalError::Encode { what: task.to_owned(), source },
        })?;
        let vectors = pass.embedded.iter().zip(inputs).flat_map(|(one, named)| {
            let reasoned = one.reasoned.as_ref().map(|after| &after.embedding);
            [Some(&one.direct), reasoned].into_iter().flatten().map(move |vector| (vector, named))
        });
        for (vector, one) in vectors {
            if !is_unit(vector) {
                let what = format!("{} {} of {task}", one.what, one.number + 1);
                return Err(EvalError::Vector { what, problem: "a length other than 1".into() });
            }
        }
        Ok(pass)
    }

    /// The embedding that counts in a mode, and the tokens of its thought.
    fn used<'e>(&self, one: &'e Embedded, mode: ReasoningMode) -> (&'e [f32], Option<u32>) {
        let wants = match mode {
            ReasoningMode::Never => false,
            ReasoningMode::Auto => one.gate_score > self.threshold,
            ReasoningMode::Always => true,
        };
        match one.reasoned.as_ref().filter(|_| wants) {
            Some(after) => (&after.embedding, Some(after.reasoning_tokens)),
            None => (&one.direct, None),
        }
    }
}

fn reasoning_tokens(one: &Embedded) -> u64 {
    one.reasoned.as_ref().map_or(0, |after| u64::from(after.reasoning_tokens))
}

/// A query's dot products with its candidates.
fn similarities(
    query: &MmebQuery,
    vector: &[f32],
    candidates: &[Option<Vec<f32>>],
) -> Vec<(f64, u32)> {
    let similar = |position: u32| {
        let candidate = candidates[position as usize].as_ref()?;
        let products = vector.iter().zip(candidate).map(|(x, y)| f64::from(*x) * f64::from(*y));
        Some((products.sum(), position))
    };
    if query.candidates.is_empty() {
        (0..candidates.len() as u32).filter_map(similar).collect()
    } else {
        query.candidates.iter().copied().filter_map(similar).collect()
    }
}

/// Which candidates the queries name, rising; a query that names none means all.
fn wanted_candidates(data: &MmebTask, queries: &[MmebQuery]) -> Vec<u32> {
    if queries.iter().any(|query| query.candidates.is_empty()) {
        return (0..data.candidates.len() as u32).collect();
    }
    let mut wanted: Vec<u32> =
        queries.iter().flat_map(|query| query.candidates.iter().copied()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}
