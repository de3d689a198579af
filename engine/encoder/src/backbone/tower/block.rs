//! One block of the tower: attention within each slice of time, then a feed-forward network.

use burn::tensor::{Tensor, activation::softmax};
use twn_kernels::Decoder;

use super::{
    VisionConfig,
    linear::{LayerNorm, Linear, Loader},
};
use crate::error::EncoderError;

/// Attention scores held at a time, which bounds memory whatever the size of an image.
const SCORES_MAX: usize = 1 << 24;

/// What the blocks share in one pass over slices of one size.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    pub(super) config: &'a VisionConfig,
    /// Slices in the pass.
    pub(super) slices: usize,
    /// Rotary factors, `[patches, 1, head_dim]`; the sines of the first half are negated.
    pub(super) cos: Tensor<3>,
    pub(super) sin: Tensor<3>,
    pub(super) decoder: Option<&'a Decoder>,
}

#[derive(Debug)]
pub(super) struct Block {
    attention_norm: LayerNorm,
    qkv: Linear,
    output: Linear,
    mlp_norm: LayerNorm,
    inner: Linear,
    outer: Linear,
}

impl Block {
    pub(super) fn load(
        config: &VisionConfig,
        loader: &Loader<'_>,
        index: usize,
    ) -> Result<Self, EncoderError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("blocks.{index}.{part}");
        Ok(Self {
            attention_norm: loader.norm(&name("norm1"), hidden)?,
            qkv: loader.linear(&name("attn.qkv"), 3 * hidden, hidden)?,
            output: loader.linear(&name("attn.proj"), hidden, hidden)?,
            mlp_norm: loader.norm(&name("norm2"), hidden)?,
            inner: loader.linear(&name("mlp.linear_fc1"), inner, hidden)?,
            outer: loader.linear(&name("mlp.linear_fc2"), hidden, inner)?,
        })
    }

    /// Runs the block over `[patches, hidden]`.
    pub(super) fn forward(&self, states: Tensor<2>, pass: &Pass<'_>) -> Tensor<2> {
        let qkv = self.qkv.apply(self.attention_norm.apply(states.clone()), pass.decoder);
        let states = states + self.output.apply(attend(qkv, pass), pass.decoder);
        let inner = self.inner.apply(self.mlp_norm.apply(states.clone()), pass.decoder);
        states + self.outer.apply(gelu_tanh(inner), pass.decoder)
    }

    pub(super) fn packed_bytes(&self) -> usize {
        [&self.qkv, &self.output, &self.inner, &self.outer].map(Linear::packed_bytes).iter().sum()
    }
}

/// Lets every patch attend to all patches of its slice: `[patches, hidden]`.
fn attend(qkv: Tensor<2>, pass: &Pass<'_>) -> Tensor<2> {
    let config = pass.config;
    let (heads, width) = (config.heads, config.head_dim());
    let [count, _] = qkv.dims();
    let part = |index: usize| {
        let columns = index * config.hidden_size..(index + 1) * config.hidden_size;
        qkv.clone().slice([0..count, columns]).reshape([count, heads, width])
    };
    let scale = 1.0 / (width as f32).sqrt();
    let queries = rotate(part(0), pass).mul_scalar(scale).swap_dims(0, 1);
    let keys = rotate(part(1), pass).permute([1, 2, 0]);
    let values = part(2).swap_dims(0, 1);
    let slice = count / pass.slices;
    let piece = (SCORES_MAX / (heads * slice)).clamp(1, slice);
    let mut mixed = Vec::new();
    for first in (0..count).step_by(slice) {
        let own = first..first + slice;
        let keys = keys.clone().slice([0..heads, 0..width, own.clone()]);
        let values = values.clone().slice([0..heads, own.clone(), 0..width]);
        for start in own.clone().step_by(piece) {
            let rows = start..(start + piece).min(own.end);
            let queries = queries.clone().slice([0..heads, rows, 0..width]);
            let scores = softmax(queries.matmul(keys.clone()), 2);
            mixed.push(scores.matmul(values.clone()));
        }
    }
    Tensor::cat(mixed, 1).swap_dims(0, 1).reshape([count, heads * width])
}

/// Turns heads, `[patches, heads, head_dim]`, by their patch's place.
fn rotate(heads: Tensor<3>, pass: &Pass<'_>) -> Tensor<3> {
    let [count, number, width] = heads.dims();
    let half = width / 2;
    let first = heads.clone().slice([0..count, 0..number, 0..half]);
    let second = heads.clone().slice([0..count, 0..number, half..width]);
    heads * pass.cos.clone() + Tensor::cat(vec![second, first], 2) * pass.sin.clone()
}

/// GELU by the hyperbolic tangent. Burn's own goes through a power function.
fn gelu_tanh(x: Tensor<2>) -> Tensor<2> {
    let cube = x.clone().square() * x.clone();
    let inner =
        (x.clone() + cube.mul_scalar(0.044_715)).mul_scalar((2.0 / std::f64::consts::PI).sqrt());
    (inner.tanh().add_scalar(1.0) * x).mul_scalar(0.5)
}
