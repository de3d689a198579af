//! How the fake behaves.

use std::time::Duration;

use crate::adapter::GatePoint;

/// How a [`FakeEmbedder`] behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct FakeOptions {
    /// Length of the embeddings.
    pub dimension: usize,
    /// The most tokens that prompt, thought and queries may have together.
    pub context_tokens: usize,
    /// Texts of more words than this are thought about, as questions are.
    pub direct_words_max: usize,
    /// Tokens after which a thought closes by itself, closing marker included.
    pub thought_tokens: u32,
    /// How long each batch of direct embeddings takes.
    pub direct_delay: Duration,
    /// How long each decoding step takes, whatever the number of thoughts.
    pub step_delay: Duration,
    /// The gate's curve that it claims.
    pub gate_curve: Vec<GatePoint>,
    /// Reads images, videos and pages: near pictures share tokens. Else they are refused.
    pub reads_media: bool,
    /// What fails.
    pub failure: FakeFailure,
    /// Part of the fingerprint; another seed is another encoder with other embeddings.
    pub seed: u64,
}

/// What a [`FakeEmbedder`] fails at, with [`EncoderError::Internal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FakeFailure {
    /// Nothing.
    #[default]
    Never,
    /// Every call of `direct` after the first this many.
    DirectAfter(u32),
    /// Every call of `step` after the first this many.
    StepAfter(u32),
    /// Every call of `finish`.
    Reasoned,
}

impl Default for FakeOptions {
    fn default() -> Self {
        Self {
            dimension: 32,
            context_tokens: 512,
            direct_words_max: 32,
            thought_tokens: 6,
            direct_delay: Duration::ZERO,
            step_delay: Duration::ZERO,
            gate_curve: Vec::new(),
            reads_media: false,
            failure: FakeFailure::Never,
            seed: 0,
        }
    }
}
