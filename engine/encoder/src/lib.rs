//! The think-when-needed encoder: content in, embedding and provenance out.
//!
//! Owns the backbone, its two LoRA adapters, the embedding queries, the gate and the
//! thoughts. Knows no collection, no network and no async runtime. Invariant: every
//! embedding comes with the tokens it cost and the reason for its route.

mod checkpoint;
mod content;
mod embedder;
mod error;
mod policy;
mod usage;

pub mod backbone;

pub use checkpoint::{Checkpoint, HostTensor, TensorSource};
pub use content::{Content, EmbedKind, EncodeInput, Part};
pub use embedder::{
    Direct, Embedder, EncoderInfo, Prepare, Prompt, Reasoned, Thought, ThoughtOptions,
};
pub use error::EncoderError;
pub use policy::{ReasoningMode, ReasoningPolicy, Route, RouteReason, StopReason};
pub use twn_media::{Format, Media, MediaKind};
pub use usage::{EncodeTimings, Usage};
