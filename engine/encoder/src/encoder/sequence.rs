//! Token sequences on their way through the backbone.

use std::{ops::Range, sync::Arc};

use burn::tensor::Tensor;

use super::{
    model::{Model, QueryStates, Role},
    prefill::Start,
};
use crate::{
    backbone::{KvCache, RowExtras, Sight, Span},
    error::EncoderError,
};

/// At most this many tokens run in one forward pass, which bounds activations.
const PASS_TOKENS_MAX: usize = 1024;
/// At most this many tokens of one sequence run in one forward pass, which bounds its
/// attention scores: `heads * CHUNK * context` values.
const CHUNK_TOKENS_MAX: usize = 512;

/// A token sequence, how far it has run, and the sum of the hidden states that its mean
/// is made of.
#[derive(Debug)]
pub(crate) struct Sequence {
    /// All tokens, run or not. Those from `cache.len()` on have not run.
    pub(crate) tokens: Vec<u32>,
    /// Keys and values of the tokens that have run.
    pub(crate) cache: KvCache,
    /// Positions whose hidden states are summed: content and thought.
    pub(crate) pooled: [Range<usize>; 2],
    /// The sum so far.
    pub(crate) sum: StateSum,
    /// What the pixels of the first tokens put into their rows.
    pub(crate) sight: Option<Arc<Sight>>,
}

/// A sum of hidden states.
#[derive(Debug, Clone, Default)]
pub(crate) struct StateSum {
    values: Vec<f64>,
    count: usize,
}

impl Sequence {
    /// Starts tokens from a cache of their first ones. The positions of content and
    /// decoded thought are pooled. The first position is left out, since its activations are
    /// extreme whatever the token; if no content is left, the whole sequence counts as it.
    pub(super) fn new(start: Start, cache: KvCache) -> Self {
        let Start { tokens, content, sight } = start;
        let end = content.end.min(tokens.len());
        let content = content.start.max(1)..end;
        let pooled = match (content.is_empty(), tokens.len()) {
            (false, _) => content,
            (true, 1) => 0..1,
            (true, len) => 1..len,
        };
        Self { tokens, cache, pooled: [pooled, 0..0], sum: StateSum::default(), sight }
    }

    /// Starts `tokens`, of which only the cache is wanted.
    pub(crate) fn unpooled(tokens: Vec<u32>, cache: KvCache) -> Self {
        let pooled = [0..0, 0..0];
        Self { tokens, cache, pooled, sum: StateSum::default(), sight: None }
    }

    /// How many tokens have not run.
    fn waiting(&self) -> usize {
        self.tokens.len() - self.cache.len()
    }

    /// The tokens that are pooled, but for those that stand for pixels.
    pub(crate) fn words(&self) -> Vec<u32> {
        let is_word =
            |at: &usize| self.sight.as_ref().is_none_or(|sight| !sight.stands_for_pixels(*at));
        let count = self.tokens.len();
        let pooled = self.pooled.iter().flat_map(|range| range.start..range.end.min(count));
        pooled.filter(is_word).map(|at| self.tokens[at]).collect()
    }

    /// Tokens that have not run.
    fn rest(&self) -> &[u32] {
        &self.tokens[self.cache.len()..]
    }
}

impl StateSum {
    fn add(&mut self, row: &[f32]) {
        self.values.resize(row.len(), 0.0);
        for (sum, &value) in self.values.iter_mut().zip(row) {
            *sum += f64::from(value);
        }
        self.count += 1;
    }

    /// The mean of what was added.
    pub(crate) fn mean(&self) -> Vec<f32> {
        self.values.iter().map(|&sum| (sum / self.count.max(1) as f64) as f32).collect()
    }
}

/// Runs what has not run of every sequence. Returns the hidden state after the last
/// token of each, `[1, hidden]`; `None` for a sequence that had nothing to run.
///
/// # Errors
/// Fails when the device's answer cannot be read.
pub(crate) fn run(
    model: &Model,
    role: Role,
    sequences: &mut [&mut Sequence],
) -> Result<Vec<Option<Tensor<2>>>, EncoderError> {
    let mut last = vec![None; sequences.len()];
    loop {
        let chunks = next_chunks(sequences);
        if chunks.is_empty() {
            return Ok(last);
        }
        let tokens: Vec<u32> = chunks
            .iter()
            .flat_map(|(index, run)| &sequences[*index].tokens[run.clone()])
            .copied()
            .collect();
        let rows = model.backbone.embed(&tokens);
        let (rows, extras) = put_sights(rows, &chunks, sequences);
        let mut spans = Vec::with_capacity(chunks.len());
        let mut rest = chunks.iter().peekable();
        for (index, sequence) in sequences.iter_mut().enumerate() {
            if let Some((_, run)) = rest.next_if(|(chunk, _)| *chunk == index) {
                spans.push(Span { len: run.len(), cache: &mut sequence.cache });
            }
        }
        let hidden = model.backbone.forward_with(rows, &mut spans, model.lora(role), &extras);
        collect(&chunks, hidden, sequences, &mut last)?;
    }
}

/// Runs what has not run of every sequence, and the queries after it. Caches are left without
/// the queries.
///
/// Under the embedding adapter, which is the queries' own, both run in one pass where they fit:
/// that is the same bits, and a pass of a few rows reads all weights for them.
///
/// # Errors
/// Fails when the device's answer cannot be read.
pub(crate) fn run_to_queries(
    model: &Model,
    role: Role,
    sequences: &mut [&mut Sequence],
) -> Result<QueryStates, EncoderError> {
    if role != Role::Embedding || !fit_with_queries(model, sequences) {
        run(model, role, sequences)?;
        let mut caches: Vec<&mut KvCache> =
            sequences.iter_mut().map(|sequence| &mut sequence.cache).collect();
        return Ok(model.query_states(&mut caches));
    }
    let chunks = next_chunks(sequences);
    let tokens: Vec<u32> = sequences.iter().flat_map(|sequence| sequence.rest()).copied().collect();
    let queries = &model.adapters.queries;
    let (rows, count) = (model.backbone.embed(&tokens), queries.count());
    let (mut parts, mut placed) = (Vec::with_capacity(2 * sequences.len()), Vec::new());
    let mut first = 0;
    for (_, run) in &chunks {
        parts.push(rows.clone().slice(first..first + run.len()));
        parts.push(queries.repeated(1));
        first += run.len();
        placed.extend(first + placed.len()..first + placed.len() + count);
    }
    let mut spans: Vec<Span<'_>> = sequences
        .iter_mut()
        .map(|sequence| Span { len: sequence.waiting() + count, cache: &mut sequence.cache })
        .collect();
    let (hidden, inner) = model.backbone.forward_tapped(
        Tensor::cat(parts, 0),
        &mut spans,
        model.lora(Role::Embedding),
        &RowExtras::default(),
        model.gate_tap(&placed),
    );
    let (mut of_tokens, mut of_queries) = (Vec::new(), Vec::new());
    let mut first = 0;
    for ((_, run), sequence) in chunks.iter().zip(sequences.iter_mut()) {
        sequence.cache.truncate(run.end);
        let end = first + run.len();
        of_tokens.push(hidden.clone().slice(first..end));
        of_queries.push(hidden.clone().slice(end..end + count));
        first = end + count;
    }
    let mut last = vec![None; sequences.len()];
    collect(&chunks, Tensor::cat(of_tokens, 0), sequences, &mut last)?;
    Ok(QueryStates::new(Tensor::cat(of_queries, 0), inner, sequences.len()))
}

/// Tells whether what is left of all sequences fits into one fused pass with queries after it,
/// each with something left and without pixels.
fn fit_with_queries(model: &Model, sequences: &[&mut Sequence]) -> bool {
    let queries = sequences.len() * model.adapters.queries.count();
    let tokens: usize = sequences.iter().map(|sequence| sequence.waiting()).sum();
    model.backbone.decoder().is_some()
        && tokens + queries <= PASS_TOKENS_MAX
        && sequences.iter().all(|sequence| {
            (1..=CHUNK_TOKENS_MAX).contains(&sequence.waiting()) && sequence.sight.is_none()
        })
}

/// Puts pixels into the rows of a pass that stand for some. Rows behind a sequence's pixels
/// are text, whose positions its cache knows.
fn put_sights(
    rows: Tensor<2>,
    chunks: &[(usize, Range<usize>)],
    sequences: &[&mut Sequence],
) -> (Tensor<2>, RowExtras) {
    let mut extras = RowExtras::default();
    let is_seen = |(index, run): &(usize, Range<usize>)| {
        sequences[*index].sight.as_ref().is_some_and(|sight| run.start < sight.positions().len())
    };
    if !chunks.iter().any(is_seen) {
        return (rows, extras);
    }
    let (mut parts, mut first) = (Vec::with_capacity(chunks.len()), 0);
    for (index, run) in chunks {
        let sequence = &sequences[*index];
        let own = rows.clone().slice(first..first + run.len());
        match &sequence.sight {
            Some(sight) => {
                let (own, additions) = sight.put(own, run.clone(), first);
                parts.push(own);
                extras.additions.extend(additions);
                extras.positions.extend(run.clone().map(|index| sight.position(index)));
            }
            None => {
                parts.push(own);
                let next = sequence.cache.next_position();
                extras.positions.extend((next..next + run.len() as u32).map(|at| [at; 3]));
            }
        }
        first += run.len();
    }
    (Tensor::cat(parts, 0), extras)
}

/// Plans the next pass: which positions of which sequences, in order.
fn next_chunks(sequences: &[&mut Sequence]) -> Vec<(usize, Range<usize>)> {
    let mut room = PASS_TOKENS_MAX;
    let mut chunks = Vec::new();
    for (index, sequence) in sequences.iter().enumerate() {
        let len = sequence.waiting().min(CHUNK_TOKENS_MAX).min(room);
        if len > 0 {
            let start = sequence.cache.len();
            chunks.push((index, start..start + len));
            room -= len;
        }
    }
    chunks
}

/// Adds a pass's hidden states to the sums and keeps each sequence's last.
fn collect(
    chunks: &[(usize, Range<usize>)],
    hidden: Tensor<2>,
    sequences: &mut [&mut Sequence],
    last: &mut [Option<Tensor<2>>],
) -> Result<(), EncoderError> {
    let [_, width] = hidden.dims();
    let mut start = 0;
    for (index, run) in chunks {
        if run.end == sequences[*index].tokens.len() {
            let row = start + run.len() - 1;
            last[*index] = Some(hidden.clone().slice(row..row + 1));
        }
        start += run.len();
    }
    let wanted = |(index, run): &(usize, Range<usize>)| {
        let pooled = &sequences[*index].pooled;
        run.clone().any(|position| pooled.iter().any(|range| range.contains(&position)))
    };
    if !chunks.iter().any(wanted) {
        return Ok(());
    }
    let values = host_values(hidden)?;
    let mut rows = values.chunks_exact(width);
    for (index, run) in chunks {
        let sequence = &mut *sequences[*index];
        for (position, row) in run.clone().zip(&mut rows) {
            if sequence.pooled.iter().any(|range| range.contains(&position)) {
                sequence.sum.add(row);
            }
        }
    }
    Ok(())
}

/// Reads a tensor back.
pub(crate) fn host_values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, EncoderError> {
    let problem = |problem: String| EncoderError::Internal { problem };
    let data = tensor.try_into_data().map_err(|error| problem(format!("{error:?}")))?;
    data.try_into_vec::<f32>().map_err(|error| problem(format!("{error:?}")))
}
