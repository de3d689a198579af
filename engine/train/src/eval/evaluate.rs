//! One encoder over one test collection, in as many modes as are asked for.
//!
//! The corpus is embedded once, and every query once directly and, where a mode needs it,
//! once after a thought. What a mode scores is then read off, since thoughts are greedy:
//! adaptive answers are those that a run under the gate would give.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use twn_encoder::{EmbedKind, ReasoningMode};

use super::{
    beir::{Beir, BeirQuery},
    calibration::GateReport,
    documents::{Documents, check, embed_documents},
    error::EvalError,
    frontier::Frontier,
    latency::{Latency, RouteLatency},
    metrics::{CUTOFF, QueryScores, recall},
    outcome::{Judged, JudgedThought, QueryOutcome},
    ranking::{Rows, rank},
    row::{Evaluation, QueryResult, Row, mode_name},
    source::{EmbedOptions, Embedded, Input, Pass, Source, SourceInfo, Think},
};

/// Further cut-offs of recall, at most.
const RECALL_CUTOFFS_MAX: usize = 16;

/// How to evaluate.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalOptions {
    /// When queries think: a row for each.
    pub modes: Vec<ReasoningMode>,
    /// Think about every query, whatever the modes, so that gate and frontier are judged.
    pub judge_gate: bool,
    /// Name of the system; `None` takes the model's.
    pub system: Option<String>,
    /// The gate's threshold; `None` takes the encoder's own.
    pub threshold: Option<f32>,
    /// Thought tokens of one input at most; `None` takes the encoder's own.
    pub token_budget: Option<u32>,
    /// Whether documents may think. They are embedded directly unless asked otherwise.
    pub document_mode: ReasoningMode,
    /// Cuts documents to this many tokens of content; `None` cuts at the context only.
    pub max_document_tokens: Option<usize>,
    /// Evaluates the first so many queries only.
    pub limit_queries: Option<usize>,
    /// Further cut-offs of recall, beside 10.
    pub recall_at: Vec<usize>,
    /// Queries, spread over the data, that are embedded once more and alone for their
    /// latency; 0 measures none.
    pub latency_queries: usize,
    /// Instruction of the queries; `None` takes the encoder's own.
    pub query_instruction: Option<String>,
    /// Instruction of the documents; `None` takes the encoder's own.
    pub document_instruction: Option<String>,
    /// Folder of document embeddings to reuse and to fill; `None` keeps nothing.
    pub cache: Option<PathBuf>,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self {
            modes: vec![ReasoningMode::Never],
            judge_gate: false,
            system: None,
            threshold: None,
            token_budget: None,
            document_mode: ReasoningMode::Never,
            max_document_tokens: None,
            limit_queries: None,
            recall_at: Vec::new(),
            latency_queries: 0,
            query_instruction: None,
            document_instruction: None,
            cache: None,
        }
    }
}

impl EvalOptions {
    /// How many of the data's queries are evaluated.
    pub fn queries(&self, data: &Beir) -> usize {
        self.limit_queries.unwrap_or(usize::MAX).min(data.queries.len())
    }

    pub(super) fn threshold(&self, info: &SourceInfo) -> f32 {
        self.threshold.unwrap_or(info.gate_threshold)
    }

    pub(super) fn token_budget(&self, info: &SourceInfo) -> u32 {
        self.token_budget.unwrap_or(info.token_budget)
    }

    /// Who has to think so that every mode can be read off.
    fn think(&self, info: &SourceInfo) -> Think {
        if self.judge_gate || self.modes.contains(&ReasoningMode::Always) {
            Think::Everybody
        } else if self.modes.contains(&ReasoningMode::Auto) {
            Think::Above(self.threshold(info))
        } else {
            Think::Nobody
        }
    }

    fn query_options(&self, info: &SourceInfo) -> EmbedOptions {
        EmbedOptions {
            kind: EmbedKind::Query,
            instruction: self.query_instruction.clone(),
            think: self.think(info),
            token_budget: self.token_budget(info),
            max_content_tokens: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), EvalError> {
        let counts = [
            ("modes", Some(self.modes.len())),
            ("max_document_tokens", self.max_document_tokens),
            ("limit_queries", self.limit_queries),
            ("token_budget", self.token_budget.map(|budget| budget as usize)),
            ("recall_at", self.recall_at.iter().min().copied()),
        ];
        if let Some((option, _)) = counts.into_iter().find(|(_, value)| *value == Some(0)) {
            return Err(EvalError::Option { option, problem: "is 0, at least 1 is needed".into() });
        }
        if self.recall_at.len() > RECALL_CUTOFFS_MAX {
            let problem =
                format!("{} cut-offs, at most {RECALL_CUTOFFS_MAX}", self.recall_at.len());
            return Err(EvalError::Option { option: "recall_at", problem });
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

/// What is being embedded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The corpus.
    Documents,
    /// The queries.
    Queries,
    /// Single queries, for their latency.
    Latency,
}

/// How far an evaluation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being embedded.
    pub stage: Stage,
    /// So many are embedded.
    pub done: usize,
    /// Of so many.
    pub total: usize,
}

/// What an encoder did on one test collection.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderEvaluation {
    /// One for each mode, in the options' order.
    pub evaluations: Vec<Evaluation>,
    /// One for each query, in the data's order.
    pub outcomes: Vec<QueryOutcome>,
    /// How good the gate is, when every query was thought about.
    pub gate: Option<GateReport>,
    /// What quality costs, when every query was thought about.
    pub frontier: Option<Frontier>,
    /// How long a query takes alone, if that was asked for.
    pub latency: Option<Latency>,
}

/// Evaluates an encoder.
///
/// # Errors
/// Fails when an option is out of bounds, the source refuses a document or query or
/// gives a vector that is not of unit length, or the cache cannot be read or written.
pub fn evaluate(
    source: &mut dyn Source,
    data: &Beir,
    options: &EvalOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<EncoderEvaluation, EvalError> {
    options.check()?;
    let documents = embed_documents(source, data, options, progress)?;
    let rows = documents.rows(source.info().dimension);

    let queries = &data.queries[..options.queries(data)];
    let inputs: Vec<Input> = queries.iter().map(input).collect();
    let how = options.query_options(source.info());
    let total = inputs.len();
    let mut report = |done| progress(Progress { stage: Stage::Queries, done, total });
    let pass = source.embed(&inputs, &how, &mut report)?;
    check(source, &inputs, &pass.embedded)?;

    let started = Instant::now();
    let judge = Judge { rows: &rows, recall_at: &options.recall_at };
    let outcomes: Vec<QueryOutcome> = queries
        .iter()
        .zip(&pass.embedded)
        .map(|(query, embedded)| judge.outcome(query, embedded))
        .collect();
    let made = Made {
        info: source.info(),
        documents: &documents,
        pass: &pass,
        ranking_seconds: started.elapsed().as_secs_f64(),
        queries,
        outcomes: &outcomes,
    };
    let evaluations = options.modes.iter().map(|mode| made.evaluation(*mode, options)).collect();
    let all_thought = how.think == Think::Everybody;
    let gate = all_thought.then(|| GateReport::of(&outcomes)).flatten();
    let frontier = all_thought.then(|| Frontier::of(&outcomes));
    let latency = measure_latency(source, &inputs, &how, options.latency_queries, progress)?;
    Ok(EncoderEvaluation { evaluations, outcomes, gate, frontier, latency })
}

fn input(query: &BeirQuery) -> Input {
    Input { name: format!("query `{}`", query.id), text: query.text.clone() }
}

/// Scores embeddings against the corpus.
struct Judge<'a> {
    rows: &'a Rows,
    recall_at: &'a [usize],
}

impl Judge<'_> {
    fn outcome(&self, query: &BeirQuery, embedded: &Embedded) -> QueryOutcome {
        QueryOutcome {
            gate_score: embedded.gate_score,
            direct: self.judged(query, &embedded.direct),
            reasoned: embedded.reasoned.as_ref().map(|thought| JudgedThought {
                judged: self.judged(query, &thought.embedding),
                reasoning_tokens: thought.reasoning_tokens,
            }),
        }
    }

    fn judged(&self, query: &BeirQuery, embedding: &[f32]) -> Judged {
        let depth = self.recall_at.iter().copied().fold(CUTOFF, usize::max);
        let ranked = rank(embedding, self.rows, &query.relevance, depth);
        let recall_at = |k: &usize| recall(&ranked.nearest, &query.relevance, *k);
        Judged {
            scores: QueryScores::of(&ranked.nearest, &query.relevance),
            recall_at: self.recall_at.iter().map(recall_at).collect(),
            margin: ranked.margin,
        }
    }
}

/// Everything that the rows are read off.
struct Made<'a> {
    info: &'a SourceInfo,
    documents: &'a Documents,
    pass: &'a Pass,
    ranking_seconds: f64,
    queries: &'a [BeirQuery],
    outcomes: &'a [QueryOutcome],
}

impl Made<'_> {
    fn evaluation(&self, mode: ReasoningMode, options: &EvalOptions) -> Evaluation {
        let threshold = options.threshold(self.info);
        let thoughts: Vec<Option<&JudgedThought>> =
            self.outcomes.iter().map(|outcome| outcome.thought(mode, threshold)).collect();
        let per_query: Vec<QueryResult> = self
            .queries
            .iter()
            .zip(self.outcomes)
            .zip(&thoughts)
            .map(|((query, outcome), thought)| {
                let judged = thought.map_or(&outcome.direct, |thought| &thought.judged);
                QueryResult {
                    id: query.id.clone(),
                    scores: judged.scores,
                    gate_score: Some(outcome.gate_score),
                    reasoning_tokens: thought.map(|thought| thought.reasoning_tokens),
                    margin: judged.margin,
                }
            })
            .collect();
        let query_seconds = self.query_seconds(&thoughts);
        let row = Row {
            threshold: (mode == ReasoningMode::Auto).then_some(threshold),
            trained: Some(self.info.trained),
            recall_at: self.recall_at(&thoughts, options),
            document_think_rate: Some(self.documents.think_rate()),
            seconds: self.documents.seconds + query_seconds + self.ranking_seconds,
            document_seconds: self.documents.seconds,
            query_seconds,
            cached_documents: self.documents.cached,
            recalled_queries: self.pass.recalled,
            encoded_document_tokens: self.documents.tokens,
            max_document_tokens: options.max_document_tokens,
            ..Row::of(
                options.system.clone().unwrap_or_else(|| self.info.system.clone()),
                Some(mode_name(mode)),
                &per_query,
            )
        };
        Evaluation { row, per_query: Some(per_query) }
    }

    /// The time that this mode's embeddings took. Modes share the pass, so a mode that
    /// thinks about some queries has the thoughts' time by its share of their tokens.
    fn query_seconds(&self, thoughts: &[Option<&JudgedThought>]) -> f64 {
        let tokens = |thought: &JudgedThought| f64::from(thought.reasoning_tokens);
        let own: f64 = thoughts.iter().flatten().map(|thought| tokens(thought)).sum();
        let all: f64 =
            self.outcomes.iter().filter_map(|one| one.reasoned.as_ref()).map(tokens).sum();
        let share = if all > 0.0 { own / all } else { 0.0 };
        self.pass.direct_seconds + share * self.pass.thought_seconds
    }

    fn recall_at(
        &self,
        thoughts: &[Option<&JudgedThought>],
        options: &EvalOptions,
    ) -> BTreeMap<usize, f64> {
        let count = self.outcomes.len().max(1) as f64;
        let mean = |index: usize| {
            let one = |(outcome, thought): (&QueryOutcome, &Option<&JudgedThought>)| {
                let judged = thought.map_or(&outcome.direct, |thought| &thought.judged);
                judged.recall_at.get(index).copied().unwrap_or(0.0)
            };
            self.outcomes.iter().zip(thoughts).map(one).sum::<f64>() / count
        };
        options.recall_at.iter().enumerate().map(|(index, k)| (*k, mean(index))).collect()
    }
}

/// Embeds queries one at a time, evenly spread over the data.
fn measure_latency(
    source: &mut dyn Source,
    inputs: &[Input],
    how: &EmbedOptions,
    most: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<Latency>, EvalError> {
    let total = most.min(inputs.len());
    if total == 0 {
        return Ok(None);
    }
    let (mut direct, mut reasoned) = (Vec::new(), Vec::new());
    for turn in 0..total {
        let input = &inputs[turn * inputs.len() / total..][..1];
        let pass = source.embed(input, how, &mut |_| {})?;
        // What was recalled says nothing about the encoder.
        if pass.recalled == 0 {
            direct.push(pass.direct_seconds);
            if pass.embedded.iter().any(|one| one.reasoned.is_some()) {
                reasoned.push(pass.direct_seconds + pass.thought_seconds);
            }
        }
        progress(Progress { stage: Stage::Latency, done: turn + 1, total });
    }
    let latency =
        Latency { direct: RouteLatency::of(direct), reasoned: RouteLatency::of(reasoned) };
    Ok(Some(latency))
}
