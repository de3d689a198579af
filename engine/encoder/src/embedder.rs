//! The seam between the engine and whatever makes embeddings.
//!
//! The steps are separate so that one model thread can interleave requests: direct
//! embeddings in batches, thoughts one token at a time, many in one step. `Encoder`
//! is the model; `FakeEmbedder` is deterministic and instant, for tests above.

use std::sync::Arc;

use serde::Serialize;

use crate::{
    adapter::GatePoint,
    content::EncodeInput,
    error::EncoderError,
    pictures::Pictures,
    policy::{Convergence, StopReason},
};

/// Describes a loaded encoder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EncoderInfo {
    /// For example `SmolLM2-135M-Instruct`.
    pub model: String,
    /// Hex digest over backbone, adapters, queries, gate, template and manifest.
    pub fingerprint: String,
    /// Length of the embeddings.
    pub dimension: usize,
    /// The most tokens that prompt, thought and queries may have together.
    pub context_tokens: usize,
    /// False when adapters, queries and gate are freshly initialised.
    pub trained: bool,
    /// The same in plain words.
    pub note: String,
    /// For example `flex (CPU)`.
    pub device: String,
    /// `cache` or `reencode`.
    pub interface: &'static str,
    /// `queries`, `mean` or `queries+mean`, each perhaps with `+lexicon`.
    pub pooling: &'static str,
    /// Number of embedding-query tokens.
    pub embedding_queries: usize,
    /// The manifest's gate threshold.
    pub gate_threshold: f32,
    /// What other thresholds cost and give, as the gate's fit measured it; by rising
    /// threshold, empty without a fit.
    pub gate_curve: Vec<GatePoint>,
    /// The manifest's thought budget, in tokens.
    pub token_budget: u32,
    /// Parameters of the frozen backbone.
    pub backbone_parameters: u64,
    /// Parameters of adapters, queries and gate together.
    pub adapter_parameters: u64,
}

/// A tokenised input.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// Template, instruction and content, as token ids.
    pub tokens: Vec<u32>,
    /// The content was cut to fit the context.
    pub truncated: bool,
    /// Positions in `tokens` that hold the content (the user's turn without its markers).
    pub content: std::ops::Range<usize>,
    /// Of `tokens`, those that stand for pixels.
    pub vision_tokens: u32,
    /// The pixels that these stand for; `None` for text.
    pub pictures: Option<Arc<Pictures>>,
}

/// Turns inputs into prompts; needs no model, so it runs on any thread.
pub trait Prepare: Send + Sync {
    /// Applies the template and the tokenizer, and cuts content that is too long.
    ///
    /// # Errors
    /// Refuses empty content, unsupported parts and an instruction that fills the context.
    fn prepare(&self, input: &EncodeInput) -> Result<Prompt, EncoderError>;
}

/// A direct embedding, the gate's score, and what a thought would continue from.
#[derive(Debug)]
pub struct Direct<C> {
    /// Unit vector.
    pub embedding: Vec<f32>,
    /// P(thinking helps), in [0, 1].
    pub gate_score: f32,
    /// Embedding-query tokens run.
    pub query_tokens: u32,
    /// Prompt tokens whose keys and values were reused.
    pub cached_prompt_tokens: u32,
    /// The most tokens a thought could have in what is left of the context; may be 0.
    pub room: u32,
    /// Keys and values of the prompt.
    pub context: C,
}

/// A prompt of which no direct embedding is made, begun for a thought.
#[derive(Debug)]
pub struct Begun<C> {
    /// Prompt tokens whose keys and values were reused.
    pub cached_prompt_tokens: u32,
    /// What a thought would continue from.
    pub context: C,
}

/// How to decode one thought.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThoughtOptions {
    /// At most this many tokens, markers included.
    pub token_budget: u32,
    /// 0 is greedy.
    pub temperature: f32,
    /// Seed of the sampling.
    pub seed: u64,
    /// Ends the thought when the embedding after it has settled, by the rule of
    /// [`ConvergenceWatch`](crate::ConvergenceWatch).
    pub convergence: Option<Convergence>,
}

/// A thought under way.
pub trait Thought: Send {
    /// Tokens decoded so far, markers included.
    fn tokens(&self) -> u32;
    /// Why it ended; `None` while it can go on.
    fn stop_reason(&self) -> Option<StopReason>;
    /// Ends the thought where it stands, for `reason`. Does nothing if it has ended.
    fn stop(&mut self, reason: StopReason);
    /// Tokens that would run for the embedding after it, queries left out.
    fn behind(&self) -> usize;
}

/// An embedding made after a thought.
#[derive(Debug, Clone, PartialEq)]
pub struct Reasoned {
    /// Unit vector.
    pub embedding: Vec<f32>,
    /// The thought without its markers.
    pub thought: String,
    /// Thought tokens decoded, markers included.
    pub reasoning_tokens: u32,
    /// Embedding-query tokens run for this embedding, and for the probes of its thought.
    pub query_tokens: u32,
    /// Why the thought ended.
    pub stop_reason: StopReason,
}

/// Makes embeddings. Lives on one thread, which owns it.
pub trait Embedder: Send + 'static {
    /// What a prompt leaves behind.
    type Context: Send;
    /// A thought under way.
    type Thought: Thought;

    /// Describes the encoder.
    fn info(&self) -> &EncoderInfo;

    /// The part that makes prompts, to share with other threads.
    fn prompter(&self) -> Arc<dyn Prepare>;

    /// Embeds prompts without thinking, in one batch, and asks the gate about each.
    ///
    /// # Errors
    /// Fails as a whole, and only by the encoder's fault.
    fn direct(&mut self, prompts: &[&Prompt]) -> Result<Vec<Direct<Self::Context>>, EncoderError>;

    /// The most tokens that a thought about a prompt could have in what is left of the context;
    /// may be 0.
    fn room(&self, prompt: &Prompt) -> u32;

    /// Begins prompts, in one batch, that are thought about whatever a gate would say: runs
    /// neither queries nor gate, and leaves the prompts to thoughts and to what follows them.
    ///
    /// # Errors
    /// Fails as a whole, and only by the encoder's fault.
    fn begin(&mut self, prompts: &[&Prompt]) -> Result<Vec<Begun<Self::Context>>, EncoderError>;

    /// Opens thoughts that continue from prompts, in one batch. Decodes nothing yet, and leaves
    /// the prompts to the first step where they have to run for the thoughts.
    ///
    /// # Errors
    /// Fails as a whole, and only by the encoder's fault.
    fn open(
        &mut self,
        prompts: Vec<(Self::Context, ThoughtOptions)>,
    ) -> Result<Vec<Self::Thought>, EncoderError>;

    /// Decodes one token of every thought that has not ended, all in one pass; of those that were
    /// just opened, what is left of the prompt runs before it in the same pass.
    ///
    /// # Errors
    /// Fails as a whole, and only by the encoder's fault.
    fn step(&mut self, thoughts: &mut [&mut Self::Thought]) -> Result<(), EncoderError>;

    /// Does a bounded part of what the embeddings after these thoughts will need, if much
    /// of it has gathered; so none of them takes long when its thought ends. Tells whether
    /// there was something to do.
    ///
    /// # Errors
    /// Fails as a whole, and only by the encoder's fault.
    fn catch_up(&mut self, thoughts: &mut [&mut Self::Thought]) -> Result<bool, EncoderError>;

    /// Embeds prompts and thoughts, in one batch. Unfinished thoughts count as ended by
    /// their budget.
    ///
    /// # Errors
    /// Fails as a whole, and only by the encoder's fault.
    fn finish(&mut self, thoughts: Vec<Self::Thought>) -> Result<Vec<Reasoned>, EncoderError>;

    /// Opens one thought.
    ///
    /// # Errors
    /// Fails by the encoder's fault.
    fn think(
        &mut self,
        context: Self::Context,
        options: &ThoughtOptions,
    ) -> Result<Self::Thought, EncoderError> {
        only(self.open(vec![(context, *options)])?)
    }

    /// Embeds one prompt and its thought.
    ///
    /// # Errors
    /// Fails by the encoder's fault.
    fn reasoned(&mut self, thought: Self::Thought) -> Result<Reasoned, EncoderError> {
        only(self.finish(vec![thought])?)
    }
}

/// The one answer of a batch of one.
fn only<T>(answers: Vec<T>) -> Result<T, EncoderError> {
    let count = answers.len();
    match <[T; 1]>::try_from(answers) {
        Ok([answer]) => Ok(answer),
        Err(_) => {
            let problem = format!("a batch of one was given {count} answers");
            Err(EncoderError::Internal { problem })
        }
    }
}
