//! Memory of a forward pass, kept from one pass to the next.

use crate::{
    activations::{Activations, Form, TILE},
    attention::ATTENTION_ROWS,
    buffer::Buffer,
};

/// Memory of a forward pass. Grows to the largest pass and is never given back; it holds
/// nothing between passes.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    /// Queries, keys and values side by side, `[T, qkv]`.
    pub(super) qkv: Buffer<f32>,
    /// What attention gives, `[T, heads * head_dim]`.
    pub(super) mixed: Buffer<f32>,
    /// Gated values of the feed-forward network, `[T, intermediate]`.
    pub(super) gated: Buffer<f32>,
    /// Intermediate values of an adapter.
    pub(super) low_rank: Buffer<f32>,
    /// Inputs of the next product: one for all threads, or one for each in a small pass.
    pub(super) activations: Vec<Activations>,
    /// For each thread: a tile of rows, or the queries and outputs of an attention tile.
    pub(super) scratch: Buffer<f32>,
}

/// Sizes of a pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) rows: usize,
    pub(super) threads: usize,
    pub(super) hidden: usize,
    /// Padded outputs of the stacked queries, keys and values.
    pub(super) qkv: usize,
    pub(super) queries: usize,
    pub(super) intermediate: usize,
    pub(super) head_width: usize,
    /// The most intermediate values of an adapter; 0 without one.
    pub(super) low_rank: usize,
}

/// In a pass of up to this many rows every thread prepares the products' inputs for
/// itself: that takes less time than waiting for one another, and rows of one tile share
/// cache lines, which two threads would take from each other.
const SMALL_ROWS: usize = TILE;

impl Sizes {
    /// Tells whether every thread prepares inputs for itself.
    pub(super) fn is_small(&self) -> bool {
        self.rows <= SMALL_ROWS
    }

    /// Copies of the products' inputs.
    pub(super) fn copies(&self) -> usize {
        if self.is_small() { self.threads } else { 1 }
    }

    /// Values of scratch memory for one thread, in whole cache lines.
    pub(super) fn scratch(&self) -> usize {
        (2 * ATTENTION_ROWS * self.head_width).max(TILE * self.hidden).next_multiple_of(16)
    }
}

impl Workspace {
    /// Makes room for a pass.
    pub(super) fn ensure(&mut self, sizes: &Sizes, form: Form) {
        self.qkv.ensure(sizes.rows * sizes.qkv);
        self.mixed.ensure(sizes.rows * sizes.queries);
        self.gated.ensure(sizes.rows * sizes.intermediate);
        let copies = sizes.copies();
        self.low_rank.ensure(copies * sizes.rows * sizes.low_rank);
        self.scratch.ensure(sizes.threads * sizes.scratch());
        let widest = sizes.hidden.max(sizes.queries).max(sizes.intermediate);
        self.activations.resize_with(copies.max(self.activations.len()), Activations::default);
        for activations in &mut self.activations[..copies] {
            activations.ensure(sizes.rows, widest, form);
        }
    }
}
