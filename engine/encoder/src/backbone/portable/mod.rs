//! The decoder in plain differentiable burn operations, on any device.

mod attention;
mod cache;
mod layer;
mod norm;
mod padded;
mod rope;
mod weights;

use burn::tensor::{Device, Int, Tensor, TensorData};

pub(super) use cache::KvCache;
pub use padded::{LayerMemory, PaddedInput, PaddedMemory, PaddedOutput};

use super::{BackboneConfig, Span, cache::Memory};
use crate::{adapter::Lora, checkpoint::TensorSource, error::EncoderError};
use attention::causal_mask;
use layer::{Layer, Pass};
use norm::RmsNorm;
use rope::Rope;
use weights::Weights;

/// The decoder in burn operations.
#[derive(Debug)]
pub(super) struct Portable {
    config: BackboneConfig,
    device: Device,
    embedding: Tensor<2>,
    layers: Vec<Layer>,
    norm: RmsNorm,
    /// The output head as `[hidden, vocab]`, a view of `[vocab, hidden]`.
    head: Tensor<2>,
    rope: Rope,
}

impl Portable {
    /// Reads the weights onto `device`; also counts them.
    pub(super) fn load(
        config: &BackboneConfig,
        tensors: &dyn TensorSource,
        positions: usize,
        device: &Device,
    ) -> Result<(Self, u64), EncoderError> {
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
        let portable = Self {
            config: config.clone(),
            device: device.clone(),
            embedding,
            layers,
            norm,
            head: head.transpose(),
            rope: Rope::new(config, positions, device),
        };
        Ok((portable, weights.parameters_read()))
    }

    /// Makes an empty cache that allocates for `capacity` positions at first use.
    pub(super) fn new_cache(&self, capacity: usize) -> KvCache {
        KvCache::new(self.config.layers, capacity)
    }

    /// Looks up tokens: `[tokens, hidden]`.
    pub(super) fn embed(&self, tokens: &[u32]) -> Tensor<2> {
        self.embedding.clone().select(0, self.ids(tokens))
    }

    /// Looks up the output head's rows of tokens: `[tokens, hidden]`.
    pub(super) fn head_rows(&self, tokens: &[u32]) -> Tensor<2> {
        self.head.clone().transpose().select(0, self.ids(tokens))
    }

    fn ids(&self, tokens: &[u32]) -> Tensor<1, Int> {
        let ids: Vec<i32> = tokens.iter().map(|&id| id as i32).collect();
        Tensor::from_data(TensorData::new(ids, [tokens.len()]), &self.device)
    }

    /// Runs the layers and the final norm over `[T, hidden]`.
    pub(super) fn forward(
        &self,
        rows: Tensor<2>,
        spans: &mut [Span<'_>],
        lora: Option<&Lora>,
    ) -> Tensor<2> {
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
            let len = span.len;
            cache_of(span).advance(len);
        }
        self.norm.apply(hidden)
    }

    /// Scores the next token for each row of hidden states: `[rows, vocab]`.
    pub(super) fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden.matmul(self.head.clone())
    }
}

/// The span's cache, which must be one of this execution.
fn cache_of<'a>(span: &'a mut Span<'_>) -> &'a mut KvCache {
    match &mut span.cache.0 {
        Memory::Portable(cache) => cache,
        Memory::Fused(_) => panic!("the cache belongs to the fused execution"),
    }
}
