//! One system in one mode over one test collection.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use twn_encoder::{
    Content, EmbedKind, Embedder, EncodeInput, EncoderError, Prepare, Prompt, ReasoningMode,
    ReasoningPolicy, Route,
};

use super::{
    beir::{Beir, BeirDocument},
    bm25::Bm25,
    cache::{Cache, CacheKey, is_unit},
    encode::{BatchLimits, Encoded, cut_content, encode_all},
    error::EvalError,
    metrics::{CUTOFF, QueryScores},
    ranking::nearest,
    report::{Evaluation, Row, mode_name},
};

/// Documents that are encoded between two writes to the cache.
const CHUNK_DOCUMENTS: usize = 64;

/// How to evaluate.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalOptions {
    /// The gate's threshold; `None` takes the encoder's own.
    pub threshold: Option<f32>,
    /// Thought tokens of one query at most; `None` takes the encoder's own.
    pub token_budget: Option<u32>,
    /// Whether documents may think. They are embedded directly unless asked otherwise.
    pub document_mode: ReasoningMode,
    /// Cuts documents to this many tokens of content; `None` cuts at the context only.
    pub max_document_tokens: Option<usize>,
    /// Evaluates the first so many queries only.
    pub limit_queries: Option<usize>,
    /// Instruction of the queries; `None` takes the encoder's own.
    pub query_instruction: Option<String>,
    /// Instruction of the documents; `None` takes the encoder's own.
    pub document_instruction: Option<String>,
    /// Prompt tokens of one batch.
    pub batch_tokens: usize,
    /// Thoughts decoded together.
    pub thoughts: usize,
    /// Folder of document embeddings to reuse and to fill; `None` keeps nothing.
    pub cache: Option<PathBuf>,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self {
            threshold: None,
            token_budget: None,
            document_mode: ReasoningMode::Never,
            max_document_tokens: None,
            limit_queries: None,
            query_instruction: None,
            document_instruction: None,
            batch_tokens: 2_048,
            thoughts: 8,
            cache: None,
        }
    }
}

impl EvalOptions {
    /// How many of the data's queries are evaluated.
    pub fn queries(&self, data: &Beir) -> usize {
        self.limit_queries.unwrap_or(usize::MAX).min(data.queries.len())
    }

    fn check(&self) -> Result<(), EvalError> {
        let counts = [
            ("batch_tokens", Some(self.batch_tokens)),
            ("thoughts", Some(self.thoughts)),
            ("max_document_tokens", self.max_document_tokens),
            ("limit_queries", self.limit_queries),
            ("token_budget", self.token_budget.map(|budget| budget as usize)),
        ];
        if let Some((option, _)) = counts.into_iter().find(|(_, value)| *value == Some(0)) {
            return Err(EvalError::Option { option, problem: "is 0, at least 1 is needed".into() });
        }
        match self.threshold {
            Some(threshold) if !(0.0..=1.0).contains(&threshold) => Err(EvalError::Option {
                option: "threshold",
                problem: format!("{threshold} is outside 0 to 1"),
            }),
            _ => Ok(()),
        }
    }
}

/// What is being encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The corpus.
    Documents,
    /// The queries.
    Queries,
}

/// How far an evaluation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being encoded.
    pub stage: Stage,
    /// So many are encoded.
    pub done: usize,
    /// Of so many.
    pub total: usize,
}

/// Evaluates an encoder with queries in `mode`.
///
/// # Errors
/// Fails when an option is out of bounds, the encoder refuses a document or query or
/// gives a vector that is not of unit length, or the cache cannot be read or written.
pub fn evaluate<E: Embedder>(
    encoder: &mut E,
    data: &Beir,
    mode: ReasoningMode,
    options: &EvalOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Evaluation, EvalError> {
    options.check()?;
    let started = Instant::now();
    let documents = encode_documents(encoder, data, options, progress)?;
    let queries = encode_queries(encoder, data, mode, options, progress)?;

    let dimension = encoder.info().dimension;
    let rows = documents.rows(dimension);
    let present: Vec<bool> = documents.encoded.iter().map(Option::is_some).collect();
    let scores: Vec<QueryScores> = data
        .queries
        .iter()
        .zip(&queries.encoded)
        .map(|(query, encoded)| {
            let ranking = nearest(&encoded.embedding, &rows, &present, CUTOFF);
            QueryScores::of(&ranking, &query.relevance)
        })
        .collect();

    let info = encoder.info();
    let tokens =
        |all: &[Encoded]| all.iter().map(|one| f64::from(one.reasoning_tokens)).sum::<f64>();
    let filled: Vec<&Encoded> = documents.encoded.iter().flatten().collect();
    let row = Row {
        system: info.model.clone(),
        mode: Some(mode_name(mode)),
        trained: Some(info.trained),
        scores: QueryScores::mean(&scores),
        think_rate: Some(think_rate(queries.encoded.iter())),
        reasoning_tokens_per_query: Some(
            tokens(&queries.encoded) / queries.encoded.len().max(1) as f64,
        ),
        document_think_rate: Some(think_rate(filled.into_iter())),
        seconds: started.elapsed().as_secs_f64(),
        document_seconds: documents.seconds.as_secs_f64(),
        query_seconds: queries.seconds.as_secs_f64(),
        cached_documents: documents.cached,
        encoded_document_tokens: documents.tokens,
        max_document_tokens: options.max_document_tokens,
    };
    Ok(Evaluation { row, scores })
}

/// Evaluates the lexical baseline.
pub fn evaluate_bm25(data: &Beir, options: &EvalOptions) -> Evaluation {
    let started = Instant::now();
    let index = Bm25::new(data.documents.iter().map(|document| document.content()));
    let indexed = started.elapsed();
    let scores: Vec<QueryScores> = data.queries[..options.queries(data)]
        .iter()
        .map(|query| QueryScores::of(&index.rank(&query.text, CUTOFF), &query.relevance))
        .collect();
    let seconds = started.elapsed();
    let row = Row {
        system: "bm25".into(),
        mode: None,
        trained: None,
        scores: QueryScores::mean(&scores),
        think_rate: None,
        reasoning_tokens_per_query: None,
        document_think_rate: None,
        seconds: seconds.as_secs_f64(),
        document_seconds: indexed.as_secs_f64(),
        query_seconds: (seconds - indexed).as_secs_f64(),
        cached_documents: 0,
        encoded_document_tokens: 0,
        max_document_tokens: None,
    };
    Evaluation { row, scores }
}

fn think_rate<'a>(encoded: impl ExactSizeIterator<Item = &'a Encoded>) -> f64 {
    let count = encoded.len().max(1) as f64;
    encoded.filter(|one| one.route == Route::Reasoned).count() as f64 / count
}

/// The corpus's embeddings; `None` is a document without content.
struct Documents {
    encoded: Vec<Option<Encoded>>,
    cached: usize,
    tokens: u64,
    seconds: Duration,
}

impl Documents {
    /// The vectors end to end, zeros for a document without content.
    fn rows(&self, dimension: usize) -> Vec<f32> {
        let mut rows = vec![0.0; self.encoded.len() * dimension];
        for (row, encoded) in rows.chunks_exact_mut(dimension).zip(&self.encoded) {
            if let Some(encoded) = encoded {
                row.copy_from_slice(&encoded.embedding);
            }
        }
        rows
    }
}

fn encode_documents<E: Embedder>(
    encoder: &mut E,
    data: &Beir,
    options: &EvalOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Documents, EvalError> {
    let policy = policy(encoder, options.document_mode, options);
    let mut cache = match &options.cache {
        Some(root) => Some(Cache::open(root, &cache_key(encoder, data, &policy, options))?),
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
        let records = encode_chunk(encoder, chunk, &policy, options, &mut report)?;
        if let Some(cache) = &mut cache {
            cache.append(&records)?;
        }
        encoded.extend(records);
    }
    let tokens = encoded[cached..].iter().flatten().map(|one| u64::from(one.prompt_tokens)).sum();
    Ok(Documents { encoded, cached, tokens, seconds: started.elapsed() })
}

/// Encodes the documents that have content, in one go.
fn encode_chunk<E: Embedder>(
    encoder: &mut E,
    chunk: &[BeirDocument],
    policy: &ReasoningPolicy,
    options: &EvalOptions,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<Option<Encoded>>, EvalError> {
    let prompter = encoder.prompter();
    let mut filled = Vec::new();
    let mut prompts = Vec::new();
    for (position, document) in chunk.iter().enumerate() {
        let content = document.content();
        if content.is_empty() {
            continue;
        }
        let instruction = options.document_instruction.clone();
        let what = || format!("document `{}`", document.id);
        let mut prompt = prepare(&*prompter, content, instruction, EmbedKind::Document, what)?;
        cut_content(&mut prompt, options.max_document_tokens.unwrap_or(usize::MAX));
        filled.push(position);
        prompts.push(prompt);
    }
    let what = |index: usize| {
        let document = filled.get(index).map(|position| chunk[*position].id.as_str());
        format!("document `{}`", document.unwrap_or_default())
    };
    let embedded = encode_checked(encoder, &prompts, policy, options, done, &what)?;
    let mut records = vec![None; chunk.len()];
    for (position, one) in filled.into_iter().zip(embedded) {
        records[position] = Some(one);
    }
    Ok(records)
}

struct Queries {
    encoded: Vec<Encoded>,
    seconds: Duration,
}

fn encode_queries<E: Embedder>(
    encoder: &mut E,
    data: &Beir,
    mode: ReasoningMode,
    options: &EvalOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Queries, EvalError> {
    let started = Instant::now();
    let queries = &data.queries[..options.queries(data)];
    let prompter = encoder.prompter();
    let what = |index: usize| format!("query `{}`", queries[index].id);
    let prompts = queries
        .iter()
        .enumerate()
        .map(|(index, query)| {
            let instruction = options.query_instruction.clone();
            let text = query.text.clone();
            prepare(&*prompter, text, instruction, EmbedKind::Query, || what(index))
        })
        .collect::<Result<Vec<Prompt>, EvalError>>()?;
    let total = prompts.len();
    let mut report = |done| progress(Progress { stage: Stage::Queries, done, total });
    let policy = policy(encoder, mode, options);
    let encoded = encode_checked(encoder, &prompts, &policy, options, &mut report, &what)?;
    Ok(Queries { encoded, seconds: started.elapsed() })
}

fn prepare(
    prompter: &dyn Prepare,
    text: String,
    instruction: Option<String>,
    kind: EmbedKind,
    what: impl Fn() -> String,
) -> Result<Prompt, EvalError> {
    let input = EncodeInput { content: Content::text(text), instruction, kind };
    prompter.prepare(&input).map_err(|source| EvalError::Encode { what: what(), source })
}

/// Encodes, and refuses vectors that cannot be ranked. `what` names an input for errors.
fn encode_checked<E: Embedder>(
    encoder: &mut E,
    prompts: &[Prompt],
    policy: &ReasoningPolicy,
    options: &EvalOptions,
    done: &mut dyn FnMut(usize),
    what: &dyn Fn(usize) -> String,
) -> Result<Vec<Encoded>, EvalError> {
    let limits = BatchLimits { tokens: options.batch_tokens, thoughts: options.thoughts };
    let batch = |source: EncoderError| {
        let last = what(prompts.len().saturating_sub(1));
        EvalError::Encode { what: format!("a batch from {} to {last}", what(0)), source }
    };
    let encoded = encode_all(encoder, prompts, policy, limits, done).map_err(batch)?;
    let dimension = encoder.info().dimension;
    for (index, one) in encoded.iter().enumerate() {
        let problem = if one.embedding.len() != dimension {
            format!("{} dimensions instead of {dimension}", one.embedding.len())
        } else if !is_unit(&one.embedding) {
            "a length other than 1".to_owned()
        } else {
            continue;
        };
        return Err(EvalError::Vector { what: what(index), problem });
    }
    Ok(encoded)
}

fn policy<E: Embedder>(encoder: &E, mode: ReasoningMode, options: &EvalOptions) -> ReasoningPolicy {
    let info = encoder.info();
    ReasoningPolicy {
        mode,
        threshold: options.threshold.unwrap_or(info.gate_threshold),
        token_budget: options.token_budget.unwrap_or(info.token_budget),
        temperature: 0.0,
        seed: 0,
        convergence: None,
    }
}

fn cache_key<E: Embedder>(
    encoder: &E,
    data: &Beir,
    policy: &ReasoningPolicy,
    options: &EvalOptions,
) -> CacheKey {
    let info = encoder.info();
    let policy = match policy.mode {
        ReasoningMode::Never => "never".to_owned(),
        mode => format!("{} {} {}", mode_name(mode), policy.threshold, policy.token_budget),
    };
    CacheKey {
        fingerprint: info.fingerprint.clone(),
        corpus_digest: data.corpus_digest(),
        documents: data.documents.len(),
        dimension: info.dimension,
        max_document_tokens: options.max_document_tokens,
        instruction: options.document_instruction.clone(),
        policy,
    }
}
