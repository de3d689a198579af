//! The frozen decoder, in plain differentiable burn operations.
//!
//! Owns the weights and the forward pass; knows no text, no template and no policy. The
//! forward pass is *ragged*: the tokens of several sequences lie one after another in
//! one `[T, hidden]` matrix without padding, and each sequence attends to its own
//! [`KvCache`]. So a batch computes what its sequences compute alone, one token of many
//! thoughts decodes in one pass, and a prompt's prefix can be shared.
//!
//! Invariant: a forward pass extends every span's cache by the span's length, no more.

mod attention;
mod cache;
mod config;
mod layer;
mod norm;
mod rope;
mod weights;

use burn::tensor::{Device, Int, Tensor, TensorData};

pub use cache::KvCache;
pub use config::BackboneConfig;

use crate::{adapter::Lora, checkpoint::TensorSource, error::EncoderError};
use attention::causal_mask;
use layer::{Layer, Pass};
use norm::RmsNorm;
use rope::Rope;
use weights::Weights;

/// The rows of one sequence in a forward pass.
#[derive(Debug)]
pub struct Span<'a> {
    /// Rows there are.
    pub len: usize,
    /// Keys and values of what comes before; extended by the pass.
    pub cache: &'a mut KvCache,
}

/// A Llama-type decoder without its tokenizer.
#[derive(Debug)]
pub struct Backbone {
    config: BackboneConfig,
    device: Device,
    embedding: Tensor<2>,
    layers: Vec<Layer>,
    norm: RmsNorm,
    /// The output head as `[hidden, vocab]`, a view of `[vocab, hidden]`.
    head: Tensor<2>,
    rope: Rope,
    parameters: u64,
}

impl Backbone {
    /// Reads the weights onto `device`, with rotary tables for `positions` positions.
    ///
    /// # Errors
    /// Fails when a tensor is missing, has another shape, or the configuration cannot be.
    pub fn load(
        config: &BackboneConfig,
        tensors: &dyn TensorSource,
        positions: usize,
        device: &Device,
    ) -> Result<Self, EncoderError> {
        check(config)?;
        let weights = Weights::new(tensors, device);
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        let embedding = weights.matrix("model.embed_tokens.weight", [vocab, hidden])?;
        let head = match config.tied_embeddings {
            true => embedding.clone(),
            false => weights.matrix("lm_head.weight", [vocab, hidden])?,
        };
        let layers = (0..config.layers)
            .map(|index| Layer::load(config, &weights, index))
            .collect::<Result<_, _>>()?;
        let norm = weights.norm("model.norm.weight", config)?;
        Ok(Self {
            config: config.clone(),
            device: device.clone(),
            embedding,
            layers,
            norm,
            head: head.transpose(),
            rope: Rope::new(config, positions, device),
            parameters: weights.parameters_read(),
        })
    }

    /// The shapes and constants.
    pub fn config(&self) -> &BackboneConfig {
        &self.config
    }

    /// Where the weights lie.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The number of parameters; tied tables count once.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// Makes an empty cache that grows at first use to hold `capacity` positions.
    pub fn new_cache(&self, capacity: usize) -> KvCache {
        KvCache::new(self.config.layers, capacity)
    }

    /// Looks up tokens: `[tokens, hidden]`.
    ///
    /// # Panics
    /// Panics when an id is outside the vocabulary or there is none.
    pub fn embed(&self, tokens: &[u32]) -> Tensor<2> {
        assert!(
            tokens.iter().all(|&id| (id as usize) < self.config.vocab_size),
            "token ids are below the vocabulary's size"
        );
        let ids: Vec<i32> = tokens.iter().map(|&id| id as i32).collect();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [tokens.len()]), &self.device);
        self.embedding.clone().select(0, ids)
    }

    /// Runs `rows` (`[T, hidden]`, the spans' rows one after another) and returns the
    /// hidden states after the final norm, `[T, hidden]`. `lora` is added to every
    /// linear that it has a pair for.
    ///
    /// # Panics
    /// Panics when the spans' lengths do not add up to T, a span is empty, or a position
    /// lies beyond the rotary tables.
    pub fn forward(
        &self,
        rows: Tensor<2>,
        spans: &mut [Span<'_>],
        lora: Option<&Lora>,
    ) -> Tensor<2> {
        let total: usize = spans.iter().map(|span| span.len).sum();
        assert_eq!(rows.dims()[0], total, "spans cover the rows");
        assert!(spans.iter().all(|span| span.len > 0), "no span is empty");
        let positions: Vec<usize> =
            spans.iter().flat_map(|span| span.cache.len()..span.cache.len() + span.len).collect();
        let pass = Pass {
            config: &self.config,
            rotation: self.rope.rotation(&positions),
            masks: spans
                .iter()
                .map(|span| causal_mask(&self.config, span.len, span.cache.len(), &self.device))
                .collect(),
        };
        let mut hidden = rows;
        for (index, layer) in self.layers.iter().enumerate() {
            hidden = layer.forward(hidden, &pass, spans, index, lora.map(|lora| lora.layer(index)));
        }
        for span in spans.iter_mut() {
            span.cache.advance(span.len);
        }
        self.norm.apply(hidden)
    }

    /// Scores the next token for each row of hidden states: `[rows, vocab]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden.matmul(self.head.clone())
    }
}

/// Refuses shapes that the forward pass cannot run, so that it need not check again.
fn check(config: &BackboneConfig) -> Result<(), EncoderError> {
    let sizes = [
        ("vocab_size", config.vocab_size),
        ("hidden_size", config.hidden_size),
        ("intermediate_size", config.intermediate_size),
        ("layers", config.layers),
        ("heads", config.heads),
        ("kv_heads", config.kv_heads),
        ("head_dim", config.head_dim),
    ];
    let impossible = |problem: String| Err(EncoderError::Internal { problem });
    if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
        return impossible(format!("backbone has {name} = 0"));
    }
    if !config.heads.is_multiple_of(config.kv_heads) {
        return impossible(format!(
            "backbone has {} heads, not a multiple of its {} key-value heads",
            config.heads, config.kv_heads
        ));
    }
    if !config.head_dim.is_multiple_of(2) {
        return impossible(format!("backbone has an odd head_dim = {}", config.head_dim));
    }
    Ok(())
}
