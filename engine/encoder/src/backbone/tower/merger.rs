//! From the patches of one token to a row of the decoder.

use burn::tensor::{Tensor, activation::gelu};
use twn_kernels::Decoder;

use super::{
    VisionConfig,
    linear::{LayerNorm, Linear, Loader},
};
use crate::error::EncoderError;

#[derive(Debug)]
pub(super) struct Merger {
    norm: LayerNorm,
    /// The norm runs over a token's patches together rather than over each.
    is_norm_merged: bool,
    merged_width: usize,
    inner: Linear,
    outer: Linear,
}

impl Merger {
    /// Reads a merger to rows `out` wide.
    pub(super) fn load(
        config: &VisionConfig,
        loader: &Loader<'_>,
        name: &str,
        is_norm_merged: bool,
        out: usize,
    ) -> Result<Self, EncoderError> {
        let merged = config.merged_width();
        let norm_width = if is_norm_merged { merged } else { config.hidden_size };
        Ok(Self {
            norm: loader.norm(&format!("{name}.norm"), norm_width)?,
            is_norm_merged,
            merged_width: merged,
            inner: loader.linear(&format!("{name}.linear_fc1"), merged, merged)?,
            outer: loader.linear(&format!("{name}.linear_fc2"), out, merged)?,
        })
    }

    /// Merges `[patches, hidden]` into `[tokens, out]`.
    pub(super) fn forward(&self, states: Tensor<2>, decoder: Option<&Decoder>) -> Tensor<2> {
        let [patches, hidden] = states.dims();
        let merged = [patches * hidden / self.merged_width, self.merged_width];
        let normed = if self.is_norm_merged {
            self.norm.apply(states.reshape(merged))
        } else {
            self.norm.apply(states).reshape(merged)
        };
        self.outer.apply(gelu(self.inner.apply(normed, decoder)), decoder)
    }

    pub(super) fn packed_bytes(&self) -> usize {
        self.inner.packed_bytes() + self.outer.packed_bytes()
    }
}
