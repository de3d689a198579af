//! The decoder in plain differentiable burn operations, on any device.

mod attention;
mod cache;
mod layer;
mod norm;
mod padded;
mod passes;
mod recorded;
mod rope;
mod weights;

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};

pub(super) use cache::KvCache;
pub use padded::{LayerMemory, PaddedInput, PaddedMemory, PaddedOutput};

use super::{Addition, BackboneConfig, Position, Span, Tap, cache::Memory};
use crate::{adapter::Lora, checkpoint::TensorSource, error::EncoderError};
use attention::causal_mask;
use layer::{Layer, Pass};
use norm::RmsNorm;
use recorded::RecordedOnce;
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
    recorded: RecordedOnce,
}

impl Portable {
    /// Reads the weights onto `device`.
    pub(super) fn load(
        config: &BackboneConfig,
        tensors: &dyn TensorSource,
        positions: usize,
        device: &Device,
    ) -> Result<Self, EncoderError> {
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
        let norm = weights.norm("model.norm.weight", hidden, config.rms_norm_eps)?;
        Ok(Self {
            config: config.clone(),
            device: device.clone(),
            embedding,
            layers,
            norm,
            head: head.transpose(),
            rope: Rope::new(config, positions, device),
            recorded: RecordedOnce::default(),
        })
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

    /// Runs the layers and the final norm over `[T, hidden]`. Without `positions` rows have
    /// those of their caches' rows. Gives what a tap reads as well.
    pub(super) fn forward(
        &self,
        rows: Tensor<2>,
        spans: &mut [Span<'_>],
        lora: Option<&Lora>,
        positions: Option<&[Position]>,
        (additions, tap): (&[Addition], Option<Tap<'_>>),
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        let counted = |span: &Span<'_>| span.cache.len()..span.cache.len() + span.len;
        let rotation = match positions {
            None => self.rope.rotation(&spans.iter().flat_map(counted).collect::<Vec<_>>()),
            Some(positions) => self.rope.rotation_on_axes(&self.config, positions),
        };
        let pass = Pass {
            config: &self.config,
            rotation,
            masks: spans
                .iter()
                .map(|span| causal_mask(&self.config, span.len, span.cache.len(), &self.device))
                .collect(),
        };
        let (mut hidden, mut read) = (rows, None);
        for (index, layer) in self.layers.iter().enumerate() {
            hidden = layer.forward(hidden, &pass, spans, index, lora.map(|lora| lora.layer(index)));
            for addition in additions.iter().filter(|addition| addition.layer == index) {
                hidden = self.add(hidden, addition);
            }
            if let Some(tap) = tap.filter(|tap| tap.layers == index + 1) {
                read = Some(hidden.clone().select(0, self.rows(tap.rows)));
            }
        }
        for span in spans.iter_mut() {
            let len = span.len;
            cache_of(span).advance(len);
        }
        (self.norm.apply(hidden), read)
    }

    fn add(&self, hidden: Tensor<2>, addition: &Addition) -> Tensor<2> {
        let rows = self.rows(&addition.rows);
        hidden.select_assign(0, rows, addition.values.clone(), IndexingUpdateOp::Add)
    }

    fn rows(&self, rows: &[usize]) -> Tensor<1, Int> {
        let rows: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
        Tensor::from_data(TensorData::new(rows.clone(), [rows.len()]), &self.device)
    }

    /// Scores the next token for each row of hidden states: `[rows, vocab]`.
    pub(super) fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden.matmul(self.head.clone())
    }
}

/// The span's cache, which must be one of this execution.
fn cache_of<'a>(span: &'a mut Span<'_>) -> &'a mut KvCache {
    match &mut span.cache.memory {
        Memory::Portable(cache) => cache,
        Memory::Fused(_) => panic!("the cache belongs to the fused execution"),
    }
}
