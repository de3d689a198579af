//! One decoder layer.

use burn::tensor::Tensor;

use super::{
    BackboneConfig, Span, attention::attend, cache_of, norm::RmsNorm, passes, rope::Rotation,
    weights::Weights,
};
use crate::{
    adapter::{LoraLayer, Target},
    error::EncoderError,
};

/// What all layers share in one forward pass.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    /// The shapes.
    pub(super) config: &'a BackboneConfig,
    /// Rotary factors of the rows.
    pub(super) rotation: Rotation,
    /// The causal mask of each span.
    pub(super) masks: Vec<Option<Tensor<3>>>,
}

/// One decoder layer. Matrices are `[in, out]` views of `[out, in]` weights: a product
/// with the view reads the weights where they lie.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attention_norm: RmsNorm,
    /// Queries, keys and values side by side.
    pub(super) qkv: Tensor<2>,
    /// Of queries and of keys, head by head.
    head_norms: Option<[RmsNorm; 2]>,
    pub(super) output: Tensor<2>,
    pub(super) mlp_norm: RmsNorm,
    pub(super) gate: Tensor<2>,
    pub(super) up: Tensor<2>,
    pub(super) down: Tensor<2>,
}

impl Layer {
    /// Reads layer `index`.
    pub(super) fn load(
        config: &BackboneConfig,
        weights: &Weights<'_>,
        index: usize,
    ) -> Result<Self, EncoderError> {
        let name = |target: Target| format!("model.layers.{index}.{}.weight", target.module());
        let matrix = |target: Target| {
            let (input, output) = target.shape(config);
            Ok::<_, EncoderError>(weights.matrix(&name(target), [output, input])?.transpose())
        };
        let norm = |which: &str, width: usize| {
            let name = format!("model.layers.{index}.{which}.weight");
            weights.norm(&name, width, config.rms_norm_eps)
        };
        let head_norm = |which: &str| norm(&format!("self_attn.{which}_norm"), config.head_dim);
        let head_norms = match config.head_norms {
            true => Some([head_norm("q")?, head_norm("k")?]),
            false => None,
        };
        let (hidden, kv_width) = (config.hidden_size, config.kv_heads * config.head_dim);
        let qkv = weights.stacked(
            &[
                (name(Target::Query), config.heads * config.head_dim),
                (name(Target::Key), kv_width),
                (name(Target::Value), kv_width),
            ],
            hidden,
        )?;
        Ok(Self {
            attention_norm: norm("input_layernorm", hidden)?,
            qkv: qkv.transpose(),
            head_norms,
            output: matrix(Target::Output)?,
            mlp_norm: norm("post_attention_layernorm", hidden)?,
            gate: matrix(Target::Gate)?,
            up: matrix(Target::Up)?,
            down: matrix(Target::Down)?,
        })
    }

    /// Runs the layer numbered `index` over `[T, hidden]`.
    pub(super) fn forward(
        &self,
        hidden: Tensor<2>,
        pass: &Pass<'_>,
        spans: &mut [Span<'_>],
        index: usize,
        lora: Option<&LoraLayer>,
    ) -> Tensor<2> {
        let normed = self.attention_norm.apply(hidden.clone());
        let mixed = self.attend(normed, pass, spans, index, lora);
        let hidden = hidden + linear(mixed, &self.output, Target::Output, lora);

        let normed = self.mlp_norm.apply(hidden.clone());
        let gate = linear(normed.clone(), &self.gate, Target::Gate, lora);
        let up = linear(normed, &self.up, Target::Up, lora);
        hidden + linear(passes::gate(gate, up), &self.down, Target::Down, lora)
    }

    /// Projects, rotates and lets every span attend to its own cache: `[T, heads * head_dim]`.
    fn attend(
        &self,
        normed: Tensor<2>,
        pass: &Pass<'_>,
        spans: &mut [Span<'_>],
        index: usize,
        lora: Option<&LoraLayer>,
    ) -> Tensor<2> {
        let config = pass.config;
        let [count, _] = normed.dims();
        let query_width = config.heads * config.head_dim;
        let kv_width = config.kv_heads * config.head_dim;

        let qkv = self.project(normed, config, lora);
        let unturned = qkv.clone().slice([0..count, 0..query_width + kv_width]);
        let turned = pass.rotation.apply(self.normalise_heads(unturned, config));
        let queries = turned.clone().slice([0..count, 0..query_width]);
        let heads = [count, config.kv_heads, config.head_dim];
        let keys = turned.slice([0..count, query_width..query_width + kv_width]).reshape(heads);
        let values = qkv
            .slice([0..count, query_width + kv_width..query_width + 2 * kv_width])
            .reshape(heads);

        let mut start = 0;
        let mut mixed = Vec::with_capacity(spans.len());
        for (span, mask) in spans.iter_mut().zip(&pass.masks) {
            let len = span.len;
            let rows = start..start + len;
            let (all_keys, all_values) = cache_of(span).append(
                index,
                keys.clone().slice(rows.clone()),
                values.clone().slice(rows.clone()),
            );
            let queries = queries.clone().slice(rows);
            mixed.push(attend(config, queries, all_keys, all_values, mask.clone()));
            start += len;
        }
        Tensor::cat(mixed, 0)
    }

    /// Normalises queries and keys, `[T, (heads + kv_heads) * head_dim]`, head by head.
    pub(super) fn normalise_heads(&self, rows: Tensor<2>, config: &BackboneConfig) -> Tensor<2> {
        let Some([query_norm, key_norm]) = &self.head_norms else { return rows };
        let [count, width] = rows.dims();
        let query_width = config.heads * config.head_dim;
        let part = |norm: &RmsNorm, columns: std::ops::Range<usize>| {
            let shape = [count, columns.len()];
            let heads = [count * columns.len() / config.head_dim, config.head_dim];
            norm.apply(rows.clone().slice([0..count, columns]).reshape(heads)).reshape(shape)
        };
        let (queries, keys) =
            (part(query_norm, 0..query_width), part(key_norm, query_width..width));
        Tensor::cat(vec![queries, keys], 1)
    }

    /// Projects to queries, keys and values side by side, adapters included.
    pub(super) fn project(
        &self,
        normed: Tensor<2>,
        config: &BackboneConfig,
        lora: Option<&LoraLayer>,
    ) -> Tensor<2> {
        let base = normed.clone().matmul(self.qkv.clone());
        let targets = [Target::Query, Target::Key, Target::Value];
        let Some(lora) = lora.filter(|lora| targets.iter().any(|&t| lora.pair(t).is_some())) else {
            return base;
        };
        let deltas = targets.map(|target| match lora.pair(target) {
            Some(pair) => pair.delta(normed.clone()),
            None => {
                let (_, width) = target.shape(config);
                Tensor::zeros([normed.dims()[0], width], &normed.device())
            }
        });
        base + Tensor::cat(deltas.into(), 1)
    }
}

/// Multiplies by a weight and adds the adapter's product beside it.
pub(super) fn linear(
    rows: Tensor<2>,
    weight: &Tensor<2>,
    target: Target,
    lora: Option<&LoraLayer>,
) -> Tensor<2> {
    match lora.and_then(|lora| lora.pair(target)) {
        Some(pair) => rows.clone().matmul(weight.clone()) + pair.delta(rows),
        None => rows.matmul(weight.clone()),
    }
}
