//! Shapes and constants of a Llama-type decoder.

use serde::{Deserialize, Serialize};

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
