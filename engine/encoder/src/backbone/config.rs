//! Shapes and constants of a Llama-type decoder.

use serde::{Deserialize, Serialize};

use crate::error::EncoderError;

/// Shapes and constants of a Llama-type decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackboneConfig {
    /// Token ids there are.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Inner width of the feed-forward network.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// Added to the mean square under the root.
    pub rms_norm_eps: f32,
    /// The most positions the model was made for.
    pub max_positions: usize,
    /// The output head is the embedding table.
    pub tied_embeddings: bool,
}

impl BackboneConfig {
    /// Refuses shapes that the forward pass cannot run, so that it need not check again.
    pub(super) fn check(&self) -> Result<(), EncoderError> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("layers", self.layers),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim),
        ];
        let impossible = |problem: String| Err(EncoderError::Internal { problem });
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return impossible(format!("backbone has {name} = 0"));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return impossible(format!(
                "backbone has {} heads, not a multiple of its {} key-value heads",
                self.heads, self.kv_heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return impossible(format!("backbone has an odd head_dim = {}", self.head_dim));
        }
        Ok(())
    }

    /// Counts the parameters; tied tables count once.
    pub fn parameters(&self) -> u64 {
        let (hidden, queries, keys) =
            (self.hidden_size, self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let attention = 2 * hidden * queries + 2 * hidden * keys;
        let layer = attention + 3 * hidden * self.intermediate_size + 2 * hidden;
        let tables = if self.tied_embeddings { 1 } else { 2 };
        (tables * self.vocab_size * hidden + self.layers * layer + hidden) as u64
    }
}
