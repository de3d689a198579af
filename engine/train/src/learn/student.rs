//! The model under training: a frozen backbone and adapters that learn.

use std::sync::Arc;

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, TensorData},
};
use serde::{Deserialize, Serialize};
use twn_encoder::{
    Checkpoint,
    adapter::{Adapters, Interface},
    backbone::{Backbone, PaddedInput},
};

use super::{Batch, TrainError};

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
        Ok(Self { backbone: Arc::new(backbone), adapters, device: device.clone(), wiring })
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

    /// Embeds a batch made with room for [`Self::queries`] rows.
    pub fn embed(&self, batch: &Batch<'_>) -> Embedded {
        let (hidden, states) = match self.adapters.manifest.interface {
            Interface::Reencode => self.reencode(batch),
            Interface::Cache => self.read_cache(batch),
        };
        let [count, width] = [batch.count(), hidden.dims()[1]];
        let weights = batch.pooling_weights(&self.device);
        let means =
            weights.matmul(hidden.reshape([count, batch.len, width])).reshape([count, width]);
        let pooling = self.adapters.manifest.pooling;
        let pooled = self.adapters.pooler.pool(pooling, Some(states.clone()), Some(means));
        Embedded { embeddings: unit_rows(pooled), query_states: states }
    }

    /// Hidden states after the final norm, `[batch * len, hidden]`, under the adapter that
    /// the means are made with.
    pub(super) fn hidden_states(&self, batch: &Batch<'_>) -> Tensor<2> {
        match self.adapters.manifest.interface {
            Interface::Reencode => self.reencode(batch).0,
            Interface::Cache => self.read_cache(batch).0,
        }
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
        let lora = match self.wiring.single {
            true => &self.adapters.reasoning,
            false => &self.adapters.embedding,
        };
        let hidden = self.backbone.forward_padded(rows, &input, Some(lora)).hidden;
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
        let lora = match self.wiring.single {
            true => &self.adapters.reasoning,
            false => &self.adapters.embedding,
        };
        let states = self.backbone.forward_padded(rows, &input, Some(lora)).hidden;
        let width = states.dims()[1];
        (prefix.hidden, states.reshape([count, queries, width]))
    }

    /// Log-probabilities of the thoughts' tokens under the reasoning adapter, one for
    /// each in the order of [`Batch::targets`].
    ///
    /// # Panics
    /// Panics when no sequence has a thought.
    pub fn thought_log_probabilities(&self, batch: &Batch<'_>) -> Tensor<1> {
        let (rows, targets) = batch.targets();
        assert!(!rows.is_empty(), "thoughts have tokens");
        let input = PaddedInput {
            batch: batch.count(),
            positions: &batch.positions(),
            mask: batch.causal_mask(&self.device),
            earlier: None,
            keep_memory: false,
        };
        let tokens = self.backbone.embed(&batch.ids());
        let hidden =
            self.backbone.forward_padded(tokens, &input, Some(&self.adapters.reasoning)).hidden;
        let chunks = rows.chunks(LOGIT_ROWS_MAX).zip(targets.chunks(LOGIT_ROWS_MAX));
        let parts = chunks.map(|(rows, targets)| {
            let index = TensorData::new(rows.to_vec(), [rows.len()]);
            let index = Tensor::<1, Int>::from_data(index, &self.device);
            let states = hidden.clone().select(0, index);
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

/// Scales rows to length 1.
fn unit_rows(rows: Tensor<2>) -> Tensor<2> {
    let norm = rows.clone().square().sum_dim(1).add_scalar(1e-12).sqrt();
    rows / norm
}
