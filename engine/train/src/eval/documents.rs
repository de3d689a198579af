//! The corpus's embeddings, made once for all modes.

use std::time::Instant;

use twn_encoder::{EmbedKind, ReasoningMode, Route};

use super::{
    beir::{Beir, BeirDocument},
    cache::{Cache, CacheKey, Encoded, is_unit},
    error::EvalError,
    evaluate::{EvalOptions, Progress, Stage},
    ranking::Rows,
    source::{EmbedOptions, Embedded, Input, Source, Think},
};

/// Documents that are embedded between two writes to the cache.
const CHUNK_DOCUMENTS: usize = 128;

/// The corpus's embeddings; `None` is a document without content.
pub(super) struct Documents {
    encoded: Vec<Option<Encoded>>,
    /// Documents whose vectors came from the cache.
    pub(super) cached: usize,
    /// Prompt tokens of the others.
    pub(super) tokens: u64,
    /// Wall time.
    pub(super) seconds: f64,
}

impl Documents {
    /// The vectors end to end, zeros for a document without content.
    pub(super) fn rows(&self, dimension: usize) -> Rows {
        let mut values = vec![0.0; self.encoded.len() * dimension];
        for (row, encoded) in values.chunks_exact_mut(dimension).zip(&self.encoded) {
            if let Some(encoded) = encoded {
                row.copy_from_slice(&encoded.embedding);
            }
        }
        Rows { values, present: self.encoded.iter().map(Option::is_some).collect() }
    }

    /// Share of the documents with content that were embedded after a thought.
    pub(super) fn think_rate(&self) -> f64 {
        let filled = self.encoded.iter().flatten();
        let thought = filled.clone().filter(|one| one.route == Route::Reasoned).count();
        thought as f64 / filled.count().max(1) as f64
    }
}

/// Embeds the corpus, or reads what an earlier run embedded.
pub(super) fn embed_documents(
    source: &mut dyn Source,
    data: &Beir,
    options: &EvalOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Documents, EvalError> {
    let how = document_options(source, options);
    let mut cache = match &options.cache {
        Some(root) => Some(Cache::open(root, &cache_key(source, data, &how))?),
        None => None,
    };
    let mut encoded = cache.as_mut().map_or_else(Vec::new, Cache::take_records);
    let cached = encoded.len();

    let started = Instant::now();
    let total = data.documents.len();
    for chunk in data.documents[cached..].chunks(CHUNK_DOCUMENTS) {
        let before = encoded.len();
        let mut report =
            |done| progress(Progress { stage: Stage::Documents, done: before + done, total });
        let records = embed_chunk(source, chunk, &how, &mut report)?;
        if let Some(cache) = &mut cache {
            cache.append(&records)?;
        }
        encoded.extend(records);
    }
    let tokens = encoded[cached..].iter().flatten().map(|one| u64::from(one.prompt_tokens)).sum();
    Ok(Documents { encoded, cached, tokens, seconds: started.elapsed().as_secs_f64() })
}

/// Embeds the documents that have content, in one go.
fn embed_chunk(
    source: &mut dyn Source,
    chunk: &[BeirDocument],
    how: &EmbedOptions,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<Option<Encoded>>, EvalError> {
    let mut filled = Vec::new();
    let mut inputs = Vec::new();
    for (position, document) in chunk.iter().enumerate() {
        let text = document.content();
        if !text.is_empty() {
            filled.push(position);
            inputs.push(Input { name: format!("document `{}`", document.id), text });
        }
    }
    let pass = source.embed(&inputs, how, done)?;
    check(source, &inputs, &pass.embedded)?;
    let mut records = vec![None; chunk.len()];
    for (position, one) in filled.into_iter().zip(pass.embedded) {
        records[position] = Some(record(one));
    }
    Ok(records)
}

/// Keeps the embedding of the route that was taken.
fn record(one: Embedded) -> Encoded {
    let Embedded { direct, prompt_tokens, reasoned, .. } = one;
    match reasoned {
        None => {
            Encoded { embedding: direct, route: Route::Direct, prompt_tokens, reasoning_tokens: 0 }
        }
        Some(thought) => Encoded {
            embedding: thought.embedding,
            route: Route::Reasoned,
            prompt_tokens,
            reasoning_tokens: thought.reasoning_tokens,
        },
    }
}

/// Refuses vectors that cannot be ranked, and a source that lost some.
pub(super) fn check(
    source: &dyn Source,
    inputs: &[Input],
    embedded: &[Embedded],
) -> Result<(), EvalError> {
    let dimension = source.info().dimension;
    if embedded.len() != inputs.len() {
        let what = format!("{} inputs", inputs.len());
        let problem = format!("only {} answers", embedded.len());
        return Err(EvalError::Vector { what, problem });
    }
    for (input, one) in inputs.iter().zip(embedded) {
        let after = one.reasoned.as_ref().map(|thought| &thought.embedding);
        for vector in std::iter::once(&one.direct).chain(after) {
            let problem = if vector.len() != dimension {
                format!("{} dimensions instead of {dimension}", vector.len())
            } else if !is_unit(vector) {
                "a length other than 1".to_owned()
            } else {
                continue;
            };
            return Err(EvalError::Vector { what: input.name.clone(), problem });
        }
    }
    Ok(())
}

fn document_options(source: &dyn Source, options: &EvalOptions) -> EmbedOptions {
    EmbedOptions {
        kind: EmbedKind::Document,
        instruction: options.document_instruction.clone(),
        think: match options.document_mode {
            ReasoningMode::Never => Think::Nobody,
            ReasoningMode::Auto => Think::Above(options.threshold(source.info())),
            ReasoningMode::Always => Think::Everybody,
        },
        token_budget: options.token_budget(source.info()),
        max_content_tokens: options.max_document_tokens,
    }
}

fn cache_key(source: &dyn Source, data: &Beir, how: &EmbedOptions) -> CacheKey {
    let info = source.info();
    let policy = match how.think {
        Think::Nobody => "never".to_owned(),
        Think::Above(threshold) => format!("adaptive {threshold} {}", how.token_budget),
        Think::Everybody => format!("always {}", how.token_budget),
    };
    CacheKey {
        fingerprint: info.fingerprint.clone(),
        corpus_digest: data.corpus_digest(),
        documents: data.documents.len(),
        dimension: info.dimension,
        max_document_tokens: how.max_content_tokens,
        instruction: how.instruction.clone(),
        policy,
    }
}
