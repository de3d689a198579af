//! Shapes and constants of a decoder of the Llama family.

use serde::{Deserialize, Serialize};

use super::VisionConfig;
use crate::error::EncoderError;

/// Shapes and constants of a decoder of the Llama family: Llama itself, Qwen3, and the text
/// side of Qwen3-VL. What only some of them have is left out of the written form where it is
/// not there, so that the digests of the others stay what they were.
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
    /// Queries and keys are normalised head by head before they are rotated.
    #[serde(default, skip_serializing_if = "is_false")]
    pub head_norms: bool,
    /// Positions have three axes, among which the rotary frequencies are dealt out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_axes: Option<RopeAxes>,
    /// The vision tower in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vision: Option<VisionConfig>,
}

/// How rotary frequencies are dealt out among the axes time, height and width, interleaved
/// as Qwen3-VL does it: of each three in a row the second turns by the height and the third
/// by the width, as long as these have some left; all others turn by the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RopeAxes {
    /// Frequencies of time, height and width.
    pub sections: [usize; 3],
}

impl RopeAxes {
    /// The axis by which frequency `index` turns.
    pub fn axis(self, index: usize) -> usize {
        match index % 3 {
            axis @ (1 | 2) if index < 3 * self.sections[axis] => axis,
            _ => 0,
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
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
        if let Some(axes) = self.rope_axes
            && axes.sections.iter().sum::<usize>() != self.head_dim / 2
        {
            return impossible(format!(
                "backbone deals {:?} rotary frequencies out, its heads have {}",
                axes.sections,
                self.head_dim / 2
            ));
        }
        match &self.vision {
            Some(vision) => {
                vision.check(self).map_err(|problem| EncoderError::Internal { problem })
            }
            None => Ok(()),
        }
    }

    /// Counts the parameters, the vision tower's included; tied tables count once.
    pub fn parameters(&self) -> u64 {
        let (hidden, queries, keys) =
            (self.hidden_size, self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let attention = 2 * hidden * queries + 2 * hidden * keys;
        let head_norms = if self.head_norms { 2 * self.head_dim } else { 0 };
        let layer = attention + 3 * hidden * self.intermediate_size + 2 * hidden + head_norms;
        let tables = if self.tied_embeddings { 1 } else { 2 };
        let decoder = tables * self.vocab_size * hidden + self.layers * layer + hidden;
        decoder as u64 + self.vision.as_ref().map_or(0, |vision| vision.parameters(hidden))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qwen3_vl_deals_its_frequencies_out_as_published() {
        let axes = RopeAxes { sections: [24, 20, 20] };
        let of = |axis: usize| (0..64).filter(|&i| axes.axis(i) == axis).collect::<Vec<_>>();
        assert_eq!(of(1), (1..59).step_by(3).collect::<Vec<_>>());
        assert_eq!(of(2), (2..60).step_by(3).collect::<Vec<_>>());
        assert_eq!(of(0).len(), 24);
    }
}
