//! The seam between an evaluation and whoever makes its embeddings: an encoder in this
//! process ([`LocalSource`](super::LocalSource)) or a running server.

use twn_encoder::EmbedKind;

use super::error::EvalError;

/// Describes what makes the embeddings.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceInfo {
    /// Name of the model.
    pub system: String,
    /// Hex digest over all that the encoder is made of.
    pub fingerprint: String,
    /// Length of the embeddings.
    pub dimension: usize,
    /// False when the adapters are freshly initialised.
    pub trained: bool,
    /// The encoder's own threshold.
    pub gate_threshold: f32,
    /// The encoder's own thought budget, in tokens.
    pub token_budget: u32,
}

/// One text to embed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Its name in errors, for example ``query `7` ``.
    pub name: String,
    /// Not empty.
    pub text: String,
}

/// Which inputs are thought about. Each is embedded directly too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Think {
    /// None.
    Nobody,
    /// Those whose gate score is above this.
    Above(f32),
    /// All for which the context has room.
    Everybody,
}

/// How to embed.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbedOptions {
    /// As queries or as documents.
    pub kind: EmbedKind,
    /// Task instruction; `None` takes the encoder's own.
    pub instruction: Option<String>,
    /// Who thinks. Thoughts are greedy.
    pub think: Think,
    /// Tokens of one thought at most, at least 1.
    pub token_budget: u32,
    /// Cuts content to this many tokens; `None` cuts at the context only.
    pub max_content_tokens: Option<usize>,
}

/// One input, embedded directly and, if it was thought about, after the thought.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// Unit vector.
    pub direct: Vec<f32>,
    /// P(thinking helps), in [0, 1].
    pub gate_score: f32,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// `None` without a thought.
    pub reasoned: Option<AfterThought>,
}

/// What a thought made.
#[derive(Debug, Clone, PartialEq)]
pub struct AfterThought {
    /// Unit vector.
    pub embedding: Vec<f32>,
    /// Tokens of the thought, markers included.
    pub reasoning_tokens: u32,
}

/// Inputs embedded, in their order, and the wall time that took.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pass {
    /// One for each input.
    pub embedded: Vec<Embedded>,
    /// Of the wall time, the part of the direct embeddings.
    pub direct_seconds: f64,
    /// Of the wall time, the part of the thoughts and the embeddings after them.
    pub thought_seconds: f64,
    /// Inputs whose embedding was recalled rather than made, so that it cost no time.
    pub recalled: usize,
}

/// Makes embeddings for an evaluation.
pub trait Source {
    /// Describes the encoder.
    fn info(&self) -> &SourceInfo;

    /// Embeds inputs. `done` is told from time to time how many are finished.
    ///
    /// # Errors
    /// Fails as a whole, naming the input where it can.
    fn embed(
        &mut self,
        inputs: &[Input],
        options: &EmbedOptions,
        done: &mut dyn FnMut(usize),
    ) -> Result<Pass, EvalError>;
}
