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
mod fused;
mod portable;
mod precision;

use burn::tensor::{Device, Tensor};
use twn_kernels::ActivationBits;

pub use activations::Activations;
pub use cache::KvCache;
pub use config::BackboneConfig;
pub use fused::FusedOptions;
pub use portable::{LayerMemory, PaddedInput, PaddedMemory, PaddedOutput};
pub use precision::Precision;

use crate::{adapter::Lora, checkpoint::TensorSource, error::EncoderError};
use cache::Memory;
use fused::Fused;
use portable::Portable;

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
    parameters: u64,
    execution: Execution,
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
        let (portable, parameters) = Portable::load(config, tensors, positions, device)?;
        Ok(Self {
            config: config.clone(),
            device: device.clone(),
            parameters,
            execution: Execution::Portable(Box::new(portable)),
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
        Ok(Self {
            config: config.clone(),
            device: Device::flex(),
            parameters: config.parameters(),
            execution: Execution::Fused(Box::new(Fused::load(config, tensors, options)?)),
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
        self.parameters
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
                KvCache(Memory::Portable(portable.new_cache(capacity)))
            }
            Execution::Fused(fused) => {
                let cache = fused.decoder().new_cache_for(bits(fused.activations()));
                KvCache(Memory::Fused(cache))
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

    /// Runs `rows` (`[T, hidden]`, the spans' rows one after another) and returns the
    /// hidden states after the final norm, `[T, hidden]`. `lora` is added to every
    /// linear that it has a pair for.
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
        let total: usize = spans.iter().map(|span| span.len).sum();
        assert_eq!(rows.dims()[0], total, "spans cover the rows");
        assert!(spans.iter().all(|span| span.len > 0), "no span is empty");
        match &self.execution {
            Execution::Portable(portable) => {
                let lora = lora.map(|lora| match &lora.0 {
                    Prepared::Portable(lora) => lora,
                    Prepared::Fused(_) => panic!("the adapter was prepared for the fused pass"),
                });
                portable.forward(rows, spans, lora)
            }
            Execution::Fused(fused) => {
                let lora = lora.map(|lora| match &lora.0 {
                    Prepared::Fused(lora) => lora,
                    Prepared::Portable(_) => panic!("the adapter was not packed"),
                });
                fused.forward(rows, spans, lora)
            }
        }
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
