//! The model under training: a frozen backbone and adapters that learn.

use std::sync::Arc;

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};
use twn_encoder::{
    Checkpoint,
    adapter::{Adapters, Interface, Lora},
    backbone::{Backbone, PaddedInput},
    unit_rows,
};

use super::{
    Batch, Sequence, TrainError, group_by_length,
    grove::{Grove, group_by_beginning, index},
};

/// Rows whose logits are computed together: bounds `rows * vocabulary` values.
const LOGIT_ROWS_MAX: usize = 2_048;

/// A frozen backbone and adapters that learn.
#[derive(Debug)]
pub struct Student {
    backbone: Arc<Backbone>,
    /// What learns.
    pub adapters: Adapters,
    device: Device,
    wiring: Wiring,
    /// Whether beginnings that sequences share run once, instead of padded sequences.
    shares: bool,
}

/// How the adapters meet while training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wiring {
    /// Stops the contrastive gradient at the interface, as the paper does. Without it the
    /// gradient runs on into the reasoning adapter (where the interface is the cache).
    pub detach: bool,
    /// Runs the embedding's tokens under the reasoning adapter as well: one adapter for
    /// both tasks, the paper's single-LoRA ablation.
    pub single: bool,
}

impl Default for Wiring {
    fn default() -> Self {
        Self { detach: true, single: false }
    }
}

/// Embeddings of a batch.
#[derive(Debug)]
pub struct Embedded {
    /// Unit vectors, `[batch, dimension]`.
    pub embeddings: Tensor<2>,
    /// `[batch, K, hidden]`, after the final norm.
    pub query_states: Tensor<3>,
}

impl Student {
    /// Puts a checkpoint's backbone beside adapters that are on the same device, which has
    /// autodiff if anything is to be learned. Positions beyond `positions` cannot occur.
    ///
    /// # Errors
    /// Fails when the backbone cannot be loaded.
    pub fn new(
        checkpoint: &Checkpoint,
        adapters: Adapters,
        positions: usize,
        wiring: Wiring,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let tensors = checkpoint.tensors.as_ref();
        let backbone = Backbone::load(&checkpoint.config, tensors, positions, device)?;
        let shares = backbone.runs_forests();
        let backbone = Arc::new(backbone);
        Ok(Self { backbone, adapters, device: device.clone(), wiring, shares })
    }

    /// The same model, running padded sequences as on a GPU.
    pub fn padded(self) -> Self {
        Self { shares: false, ..self }
    }

    /// The same model with adapters that do not learn: a pass through it records nothing.
    /// What is recorded is freed by a backward pass only, so every forward pass without
    /// one has to run here.
    pub fn frozen(&self) -> Self {
        Self {
            backbone: self.backbone.clone(),
            adapters: self.adapters.clone().no_grad(),
            device: self.device.clone(),
            wiring: self.wiring,
            shares: self.shares,
        }
    }

    /// The adapters as an encoder takes them: with one adapter for both tasks, that one is
    /// the embedding adapter as well.
    pub fn served(&self) -> Adapters {
        let mut adapters = self.adapters.clone();
        if self.wiring.single {
            adapters.embedding = adapters.reasoning.clone();
        }
        adapters
    }

    /// Where it runs.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The number of embedding queries.
    pub fn queries(&self) -> usize {
        self.adapters.queries.count()
    }

    /// Parameters of the frozen backbone.
    pub fn backbone_parameters(&self) -> u64 {
        self.backbone.parameters()
    }

    /// The frozen backbone.
    pub fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    /// Groups sequences into passes of at most `rows_max` rows in which [`Self::embed`] reads them.
    /// Gives indices; every sequence is in one group.
    pub fn embedding_passes(&self, sequences: &[Sequence], rows_max: usize) -> Vec<Vec<usize>> {
        let is_shared = self.adapters.manifest.interface == Interface::Reencode;
        self.passes(sequences, self.queries(), rows_max, is_shared)
    }

    /// As [`Self::embedding_passes`], for [`Self::thought_log_probabilities`].
    pub fn thought_passes(&self, sequences: &[Sequence], rows_max: usize) -> Vec<Vec<usize>> {
        self.passes(sequences, 0, rows_max, true)
    }

    fn passes(
        &self,
        sequences: &[Sequence],
        extra: usize,
        rows_max: usize,
        is_shared: bool,
    ) -> Vec<Vec<usize>> {
        match is_shared && self.shares {
            true => group_by_beginning(sequences, extra, rows_max),
            false => group_by_length(sequences, extra, rows_max),
        }
    }

    /// Embeds a batch made with room for [`Self::queries`] rows.
    pub fn embed(&self, batch: &Batch<'_>) -> Embedded {
        let (means, states) = self.pooled(batch);
        let pooling = self.adapters.manifest.pooling;
        let pooler = &self.adapters.pooler;
        let bags = pooler.lexicon.as_ref().map(|lexicon| {
            let words: Vec<Vec<u32>> = batch.sequences.iter().map(|one| one.words()).collect();
            lexicon.bags(&words, |ids| self.backbone.embed(ids)).detach()
        });
        let pooled = pooler.pool(pooling, Some(states.clone()), Some(means), bags);
        Embedded { embeddings: unit_rows(pooled), query_states: states }
    }

    /// The means of what is pooled, `[batch, hidden]`, and the queries' states, `[batch, K,
    /// hidden]`, before any projection.
    pub(super) fn pooled(&self, batch: &Batch<'_>) -> (Tensor<2>, Tensor<3>) {
        let (hidden, states) = match self.adapters.manifest.interface {
            Interface::Reencode if self.shares => {
                return self.reencode_shared(batch);
            }
            Interface::Reencode => self.reencode(batch),
            Interface::Cache => self.read_cache(batch),
        };
        let [count, width] = [batch.count(), hidden.dims()[1]];
        let weights = batch.pooling_weights(&self.device);
        let means =
            weights.matmul(hidden.reshape([count, batch.len, width])).reshape([count, width]);
        (means, states)
    }

    /// The adapter that embeds.
    fn embedding_lora(&self) -> &Lora {
        match self.wiring.single {
            true => &self.adapters.reasoning,
            false => &self.adapters.embedding,
        }
    }

    /// As [`Self::reencode`], where beginnings that sequences share run once; gives means.
    fn reencode_shared(&self, batch: &Batch<'_>) -> (Tensor<2>, Tensor<3>) {
        let (count, queries) = (batch.count(), self.queries());
        let grove = Grove::new(&batch.sequences, queries);
        let selector = grove.follower_selector(&self.device);
        let tokens = self.backbone.embed(&grove.ids);
        let [total, width] = tokens.dims();
        // `[T, count * K]` times `[count * K, hidden]`: each query at its place, else zero.
        let placed = selector.clone().transpose().matmul(self.adapters.queries.repeated(count));
        let is_query = selector.clone().sum_dim(0).reshape([total, 1]);
        let rows = tokens * (is_query.neg() + 1.0) + placed;
        let lora = Some(self.embedding_lora());
        let hidden = self.backbone.forward_forest(rows, &grove.forest, lora);
        let states = selector.matmul(hidden.clone()).reshape([count, queries, width]);
        (grove.pooling_weights(&self.device).matmul(hidden), states)
    }

    /// Tokens and queries in one pass under the embedding adapter.
    fn reencode(&self, batch: &Batch<'_>) -> (Tensor<2>, Tensor<3>) {
        let (count, len, queries) = (batch.count(), batch.len, self.queries());
        let selector = batch.follower_selector(queries, &self.device);
        let tokens = self.backbone.embed(&batch.ids());
        let width = tokens.dims()[1];
        // `[batch, len, K]` times `[K, hidden]`: each query at its place, zero elsewhere.
        let placed = selector
            .clone()
            .swap_dims(1, 2)
            .reshape([count * len, queries])
            .matmul(self.adapters.queries.rows.val());
        let is_query = selector.clone().sum_dim(1).reshape([count * len, 1]);
        let rows = tokens * (is_query.neg() + 1.0) + placed;
        let input = PaddedInput {
            batch: count,
            positions: &batch.positions(),
            mask: batch.causal_mask(&self.device),
            earlier: None,
            keep_memory: false,
        };
        let hidden = self.backbone.forward_padded(rows, &input, Some(self.embedding_lora())).hidden;
        let states = selector.matmul(hidden.clone().reshape([count, len, width]));
        (hidden, states)
    }

    /// Tokens under the reasoning adapter, then queries under the embedding adapter over
    /// what they left.
    fn read_cache(&self, batch: &Batch<'_>) -> (Tensor<2>, Tensor<3>) {
        let (count, queries) = (batch.count(), self.queries());
        let input = PaddedInput {
            batch: count,
            positions: &batch.positions(),
            mask: batch.causal_mask(&self.device),
            earlier: None,
            keep_memory: true,
        };
        let rows = self.backbone.embed(&batch.ids());
        let mut prefix = self.backbone.forward_padded(rows, &input, Some(&self.adapters.reasoning));
        if self.wiring.detach {
            prefix.hidden = prefix.hidden.detach();
            for layer in &mut prefix.memory {
                layer.keys = layer.keys.clone().detach();
                layer.values = layer.values.clone().detach();
            }
        }
        let input = PaddedInput {
            batch: count,
            positions: &batch.follower_positions(queries),
            mask: batch.follower_mask(queries, &self.device),
            earlier: Some(&prefix.memory),
            keep_memory: false,
        };
        let rows = self.adapters.queries.repeated(count);
        let states = self.backbone.forward_padded(rows, &input, Some(self.embedding_lora())).hidden;
        let width = states.dims()[1];
        (prefix.hidden, states.reshape([count, queries, width]))
    }

    /// Log-probabilities of the thoughts' tokens under the reasoning adapter, one for
    /// each in the order of [`Batch::targets`].
    ///
    /// # Panics
    /// Panics when no sequence has a thought.
    pub fn thought_log_probabilities(&self, batch: &Batch<'_>) -> Tensor<1> {
        let lora = Some(&self.adapters.reasoning);
        let (hidden, (rows, targets)) = match self.shares {
            true => {
                let grove = Grove::new(&batch.sequences, 0);
                let tokens = self.backbone.embed(&grove.ids);
                (self.backbone.forward_forest(tokens, &grove.forest, lora), grove.targets())
            }
            false => {
                let input = PaddedInput {
                    batch: batch.count(),
                    positions: &batch.positions(),
                    mask: batch.causal_mask(&self.device),
                    earlier: None,
                    keep_memory: false,
                };
                let tokens = self.backbone.embed(&batch.ids());
                (self.backbone.forward_padded(tokens, &input, lora).hidden, batch.targets())
            }
        };
        assert!(!rows.is_empty(), "thoughts have tokens");
        let chunks = rows.chunks(LOGIT_ROWS_MAX).zip(targets.chunks(LOGIT_ROWS_MAX));
        let parts = chunks.map(|(rows, targets)| {
            let states = hidden.clone().select(0, index(rows, &self.device));
            self.log_probabilities(states, targets)
        });
        Tensor::cat(parts.collect(), 0)
    }

    /// `log p(target)` for each state: its own logit less the logarithm of the sum of all.
    fn log_probabilities(&self, states: Tensor<2>, targets: &[u32]) -> Tensor<1> {
        let own = (states.clone() * self.backbone.head_rows(targets)).sum_dim(1);
        let logits = self.backbone.logits(states);
        let largest = logits.clone().detach().max_dim(1);
        let sum = (logits - largest.clone()).exp().sum_dim(1).log() + largest;
        (own - sum).squeeze_dim(1)
    }
}
