//! The frozen decoder: one model, two executions.
//!
//! [`portable`] is plain differentiable burn operations on any device: the reference, the
//! training path and the GPU path. [`fused`] is one coarse operation over packed weights
//! on the CPU: the path that serves. Tests hold the two together.
//!
//! Knows no text, no template and no policy. The forward pass is *ragged*: the tokens of
//! several sequences lie one after another in one `[T, hidden]` matrix without padding,
//! and each sequence attends to its own [`KvCache`]. So a batch computes what its
//! sequences compute alone, one token of many thoughts decodes in one pass, and a prompt's
//! prefix can be shared.
//!
//! Invariant: a forward pass extends every span's cache by the span's length, no more.

mod activations;
mod cache;
mod config;
mod extras;
mod fused;
mod portable;
mod positions;
mod precision;
mod sight;
mod tower;

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use twn_kernels::ActivationBits;
pub use twn_kernels::training::{Forest, Segment};

pub use activations::Activations;
pub use cache::KvCache;
pub use config::{BackboneConfig, RopeAxes};
pub use extras::{Addition, RowExtras, Tap};
pub use fused::FusedOptions;
pub use portable::{LayerMemory, PaddedInput, PaddedMemory, PaddedOutput};
pub use positions::{Position, Stretch, positions_of};
pub use precision::Precision;
pub use sight::Sight;
pub(crate) use tower::PREFIX as TOWER_PREFIX;
pub use tower::{Grid, VisionConfig, VisionStates};

use crate::{adapter::Lora, checkpoint::TensorSource, error::EncoderError};
use cache::Memory;
use fused::Fused;
use portable::Portable;
use tower::Tower;

/// The rows of one sequence in a forward pass.
#[derive(Debug)]
pub struct Span<'a> {
    /// Rows there are.
    pub len: usize,
    /// Keys and values of what comes before; extended by the pass.
    pub cache: &'a mut KvCache,
}

/// A decoder of the Llama family without its tokenizer, and the vision tower before it.
#[derive(Debug)]
pub struct Backbone {
    config: BackboneConfig,
    device: Device,
    execution: Execution,
    tower: Option<Tower>,
}

#[derive(Debug)]
enum Execution {
    Portable(Box<Portable>),
    Fused(Box<Fused>),
}

/// An adapter in the form that a backbone runs it.
#[derive(Debug)]
pub struct PreparedLora(Prepared);

#[derive(Debug)]
enum Prepared {
    Portable(Lora),
    Fused(twn_kernels::Adapter),
}

impl Backbone {
    /// Reads the weights onto `device` in f32, with rotary tables for `positions`
    /// positions.
    ///
    /// # Errors
    /// Fails when a tensor is missing, has another shape, or the configuration cannot be.
    pub fn load(
        config: &BackboneConfig,
        tensors: &dyn TensorSource,
        positions: usize,
        device: &Device,
    ) -> Result<Self, EncoderError> {
        config.check()?;
        let portable = Portable::load(config, tensors, positions, device)?;
        Ok(Self {
            execution: Execution::Portable(Box::new(portable)),
            tower: load_tower(config, tensors, device, None)?,
            config: config.clone(),
            device: device.clone(),
        })
    }

    /// Packs the weights for the fused pass on the CPU.
    ///
    /// # Errors
    /// As [`Self::load`]; also when a weight is not finite or the system gives no thread.
    pub fn load_fused(
        config: &BackboneConfig,
        tensors: &dyn TensorSource,
        options: &FusedOptions,
    ) -> Result<Self, EncoderError> {
        config.check()?;
        let (device, packed) = (Device::flex(), options.precision.tables());
        Ok(Self {
            execution: Execution::Fused(Box::new(Fused::load(config, tensors, options)?)),
            tower: load_tower(config, tensors, &device, Some(packed))?,
            config: config.clone(),
            device,
        })
    }

    /// The shapes and constants.
    pub fn config(&self) -> &BackboneConfig {
        &self.config
    }

    /// Where hidden states lie.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The number of parameters; tied tables count once.
    pub fn parameters(&self) -> u64 {
        self.config.parameters()
    }

    /// Bytes of packed weights, the vision tower's included; 0 for the portable execution.
    pub fn packed_bytes(&self) -> usize {
        let tower = self.tower.as_ref().map_or(0, Tower::packed_bytes);
        self.decoder().map_or(0, twn_kernels::Decoder::weight_bytes) + tower
    }

    /// The packed decoder, for measurements; `None` for the portable execution.
    pub fn decoder(&self) -> Option<&twn_kernels::Decoder> {
        match &self.execution {
            Execution::Portable(_) => None,
            Execution::Fused(fused) => Some(fused.decoder()),
        }
    }

    /// Makes an empty cache that grows at first use to hold `capacity` positions, for a
    /// sequence of which tokens are wanted.
    pub fn new_cache(&self, capacity: usize) -> KvCache {
        self.cache(capacity, Activations::thoughts)
    }

    /// Makes an empty cache for a sequence of which nothing but an embedding is wanted: see
    /// [`Activations`].
    pub fn new_embedding_cache(&self, capacity: usize) -> KvCache {
        self.cache(capacity, Activations::embeddings)
    }

    fn cache(&self, capacity: usize, bits: fn(Activations) -> ActivationBits) -> KvCache {
        match &self.execution {
            Execution::Portable(portable) => {
                KvCache::new(Memory::Portable(portable.new_cache(capacity)))
            }
            Execution::Fused(fused) => {
                let cache = fused.decoder().new_cache_for(bits(fused.activations()));
                KvCache::new(Memory::Fused(cache))
            }
        }
    }

    /// Brings an adapter into the form that this backbone runs.
    ///
    /// # Errors
    /// Fails when a factor is not finite or does not fit its linear.
    pub fn prepare(&self, lora: &Lora) -> Result<PreparedLora, EncoderError> {
        Ok(PreparedLora(match &self.execution {
            Execution::Portable(_) => Prepared::Portable(lora.clone()),
            Execution::Fused(fused) => Prepared::Fused(fused.pack(lora)?),
        }))
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
        match &self.execution {
            Execution::Portable(portable) => portable.embed(tokens),
            Execution::Fused(fused) => fused.embed(tokens),
        }
    }

    /// Runs patches of pixels, grid after grid, through the vision tower.
    ///
    /// # Errors
    /// Fails when there is no tower, and when patches and grids do not fit together.
    pub fn see(&self, patches: &[f32], grids: &[Grid]) -> Result<VisionStates, EncoderError> {
        let Some(tower) = &self.tower else {
            let problem = "the model has no vision tower".to_owned();
            return Err(EncoderError::Internal { problem });
        };
        tower.forward(patches, grids, self.decoder())
    }

    /// Runs `rows` (`[T, hidden]`, the spans' rows one after another) of plain text and
    /// returns the hidden states after the final norm, `[T, hidden]`. `lora` is added to
    /// every linear that it has a pair for.
    ///
    /// # Panics
    /// Panics when the spans' lengths do not add up to T, a span is empty, a position
    /// lies beyond the rotary tables, or a cache or adapter was made by a backbone of the
    /// other execution.
    pub fn forward(
        &self,
        rows: Tensor<2>,
        spans: &mut [Span<'_>],
        lora: Option<&PreparedLora>,
    ) -> Tensor<2> {
        self.forward_with(rows, spans, lora, &RowExtras::default())
    }

    /// As [`Self::forward`], for rows some of which are not plain text.
    ///
    /// # Panics
    /// As [`Self::forward`]; also when there are positions, but not one for each row, and
    /// when an addition does not fit.
    pub fn forward_with(
        &self,
        rows: Tensor<2>,
        spans: &mut [Span<'_>],
        lora: Option<&PreparedLora>,
        extras: &RowExtras,
    ) -> Tensor<2> {
        self.forward_tapped(rows, spans, lora, extras, None).0
    }

    /// As [`Self::forward_with`]; gives the residual stream of some rows as it is between two
    /// layers as well, `[rows, hidden]` before any norm, if there is a tap.
    ///
    /// # Panics
    /// As [`Self::forward_with`]; also when the tap is behind no layer or has other rows.
    pub fn forward_tapped(
        &self,
        rows: Tensor<2>,
        spans: &mut [Span<'_>],
        lora: Option<&PreparedLora>,
        extras: &RowExtras,
        tap: Option<Tap<'_>>,
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        let total: usize = spans.iter().map(|span| span.len).sum();
        assert_eq!(rows.dims()[0], total, "spans cover the rows");
        assert!(spans.iter().all(|span| span.len > 0), "no span is empty");
        extras.check(total, &self.config);
        if let Some(tap) = &tap {
            tap.check(total, &self.config);
        }
        let positions = extras.positions(spans);
        let next = extras::next_positions(spans, positions.as_deref());
        let additions = &extras.additions;
        let passed = match &self.execution {
            Execution::Portable(portable) => {
                let lora = lora.map(|lora| match &lora.0 {
                    Prepared::Portable(lora) => lora,
                    Prepared::Fused(_) => panic!("the adapter was prepared for the fused pass"),
                });
                portable.forward(rows, spans, lora, positions.as_deref(), (additions, tap))
            }
            Execution::Fused(fused) => {
                let lora = lora.map(|lora| match &lora.0 {
                    Prepared::Fused(lora) => lora,
                    Prepared::Portable(_) => panic!("the adapter was not packed"),
                });
                fused.forward(rows, spans, lora, positions.as_deref(), (additions, tap))
            }
        };
        for (span, next) in spans.iter_mut().zip(next) {
            span.cache.set_next_position(next);
        }
        passed
    }

    /// Runs a padded batch, for training: see [`PaddedInput`]. `rows` is `[batch * rows,
    /// hidden]`, sequence by sequence.
    ///
    /// # Panics
    /// Panics when this backbone is the fused execution, which does not train, when a
    /// position lies beyond the rotary tables, or when shapes do not agree.
    pub fn forward_padded(
        &self,
        rows: Tensor<2>,
        input: &PaddedInput<'_>,
        lora: Option<&Lora>,
    ) -> PaddedOutput {
        match &self.execution {
            Execution::Portable(portable) => portable.forward_padded(rows, input, lora),
            Execution::Fused(_) => panic!("the fused pass does not train"),
        }
    }

    /// Tells whether [`Self::forward_forest`] can run: on a CPU, for decoders without norms of
    /// heads and positions of several axes.
    pub fn runs_forests(&self) -> bool {
        match &self.execution {
            Execution::Portable(portable) => portable.runs_forests(),
            Execution::Fused(_) => false,
        }
    }

    /// Runs sequences that share beginnings, for training: `rows` are the forest's, `[T, hidden]`,
    /// as are the hidden states after the final norm that it gives. Computes what
    /// [`Self::forward_padded`] does, several times as fast, and differentiably by rows and
    /// adapter.
    ///
    /// # Panics
    /// Panics where [`Self::runs_forests`] says no, when a position lies beyond the rotary tables,
    /// shapes do not agree, or the system gives no thread.
    pub fn forward_forest(
        &self,
        rows: Tensor<2>,
        forest: &Arc<Forest>,
        lora: Option<&Lora>,
    ) -> Tensor<2> {
        match &self.execution {
            Execution::Portable(portable) => portable.forward_forest(rows, forest, lora),
            Execution::Fused(_) => panic!("the fused pass does not train"),
        }
    }

    /// Scores the next token for each row of hidden states: `[rows, vocab]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        match &self.execution {
            Execution::Portable(portable) => portable.logits(hidden),
            Execution::Fused(fused) => fused.logits(hidden),
        }
    }

    /// Looks up the output head's rows of tokens, `[tokens, hidden]`: a hidden state's
    /// product with one is that token's logit. For training.
    ///
    /// # Panics
    /// Panics when this backbone is the fused execution, which does not train.
    pub fn head_rows(&self, tokens: &[u32]) -> Tensor<2> {
        match &self.execution {
            Execution::Portable(portable) => portable.head_rows(tokens),
            Execution::Fused(_) => panic!("the fused pass does not train"),
        }
    }
}

/// Reads the vision tower, if the model has one.
fn load_tower(
    config: &BackboneConfig,
    tensors: &dyn TensorSource,
    device: &Device,
    packed: Option<twn_kernels::Precision>,
) -> Result<Option<Tower>, EncoderError> {
    let load = |vision| Tower::load(vision, tensors, config.hidden_size, device, packed);
    config.vision.as_ref().map(load).transpose()
}
