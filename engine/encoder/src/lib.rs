//! The think-when-needed encoder: content in, embedding and provenance out.
//!
//! Owns the backbone, its two LoRA adapters, the embedding queries, the gate and the
//! thoughts. Knows no collection, no network and no async runtime. Invariant: every
//! embedding comes with the tokens it cost and the reason for its route.

mod capitals;
mod checkpoint;
mod content;
mod convergence;
mod device;
mod embedder;
mod encoder;
mod error;
mod fake;
mod gate;
mod inspect;
mod lexicon;
mod pictures;
mod policy;
mod pooling;
mod prompter;
mod queries;
mod sampler;
mod template;
mod thought;
mod usage;

pub mod adapter;
pub mod backbone;
pub mod model;

pub use backbone::{Activations, Precision};
pub use capitals::Capitals;
pub use checkpoint::{Checkpoint, HostTensor, TensorSource};
pub use content::{Content, EmbedKind, EncodeInput, Part};
pub use convergence::ConvergenceWatch;
pub use device::{describe_device, open_device};
pub use embedder::{
    Begun, Direct, Embedder, EncoderInfo, Prepare, Prompt, Reasoned, Thought, ThoughtOptions,
};
pub use encoder::{Context, Encoder, LoadOptions};
pub use error::EncoderError;
pub use fake::{FakeContext, FakeEmbedder, FakeFailure, FakeOptions, FakeThought};
pub use gate::{Gate, GateActivation, GateForm, GateInput};
pub use inspect::{Inspection, ModelInspection, ShapeInspection, StoredAs, inspect};
pub use lexicon::{Lexicon, bags};
pub use pictures::Pictures;
pub use policy::{Convergence, ReasoningMode, ReasoningPolicy, Route, RouteReason, StopReason};
pub use pooling::{Pooler, Pooling, Projection, unit_rows};
pub use prompter::{Prompter, PrompterOptions};
pub use queries::Queries;
pub use template::{ChatTemplate, Message};
pub use thought::ModelThought;
pub use twn_kernels::{Isa, keep_freed_memory};
pub use twn_media::{Format, Media, MediaError, MediaKind};
pub use usage::{EncodeTimings, Pressure, ThresholdSource, TokenCost, Usage};
