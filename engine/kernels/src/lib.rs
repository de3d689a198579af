//! The decoder on a CPU: block-quantised weights, int8 activations, one fused pass.
//!
//! Owns packed weights, paged keys and values, the kernels and the threads that run them; for
//! training also passes over f32 with their derivatives ([`slopes`]), and a decoder's whole pass
//! there and back ([`training`]).
//! Knows no tensor library, no file and no text. Invariants: a row's result does not
//! depend on the rows beside it nor on how a prompt is cut into passes, bit for bit on one
//! instruction set; a pass extends every span's cache by the span's length, no more.

#![allow(
    unsafe_op_in_unsafe_fn,
    reason = "bodies of vector kernels are unsafe throughout; each says why it is sound"
)]

mod activations;
mod adapter;
mod attention;
#[doc(hidden)]
pub mod bench;
mod buffer;
mod decoder;
mod error;
#[cfg(test)]
mod fixture;
mod heap;
mod huge;
mod isa;
mod kernels;
mod kv;
mod lanes;
mod matrix;
mod product;
mod rope;
#[cfg(target_arch = "x86_64")]
mod rounding;
mod rows;
pub mod slopes;
mod team;
mod tile;
pub mod training;

pub use activations::ActivationBits;
pub use adapter::{Adapter, AdapterLayer, LowRankPair};
pub use decoder::{
    Addition, Decoder, DecoderOptions, DecoderShape, DecoderWeights, HeadNorms, LayerWeights,
    RowExtras, Span, Tap,
};
pub use error::KernelError;
pub use heap::keep_freed_memory;
pub use isa::Isa;
pub use kv::{KvCache, KvPool};
pub use matrix::{BlockFormat, Matrix, Precision, Source};
pub use team::Team;
