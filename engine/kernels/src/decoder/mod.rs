//! A decoder of the Llama family over packed weights.

mod extras;
mod head_norms;
mod heads;
mod pass;
mod weights;
mod workspace;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

pub use extras::{Addition, RowExtras, Tap};
pub use head_norms::HeadNorms;
pub use weights::{DecoderShape, DecoderWeights, LayerWeights};

use crate::{
    ActivationBits, Adapter, AdapterLayer, Isa, KernelError, KvCache, KvPool, Matrix, Precision,
    Team, activations::Form, adapter::Fit, kernels::Kernels, kv::PageShape, rope::Rope,
};
use pass::Pass;
use workspace::Workspace;

/// Heads are laid out in whole vectors of the widest instruction set.
const HEAD_ALIGN: usize = 16;
/// Unused pages of keys and values are kept up to this size.
const FREE_PAGES_BYTES: usize = 256 << 20;

/// How a decoder runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecoderOptions {
    /// Threads, the caller's included; at least 1.
    pub threads: usize,
    /// Instruction set.
    pub isa: Isa,
    /// How finely products with quantised weights round their inputs, where a cache does
    /// not say otherwise.
    pub activations: ActivationBits,
    /// Keys and values in f16 rather than f32.
    pub half_cache: bool,
    /// Positions that the rotary tables cover.
    pub positions: usize,
}

/// The rows of one sequence in a forward pass.
#[derive(Debug)]
pub struct Span<'a> {
    /// Rows there are.
    pub len: usize,
    /// Keys and values of what comes before; extended by the pass.
    pub cache: &'a mut KvCache,
}

/// A Llama-type decoder over packed weights, and the threads that run it.
#[derive(Debug)]
pub struct Decoder {
    shape: DecoderShape,
    options: DecoderOptions,
    weights: DecoderWeights,
    /// One for each layer, or none.
    head_norms: Vec<HeadNorms>,
    kernels: &'static Kernels,
    rope: Rope,
    pool: Arc<KvPool>,
    team: Team,
    workspace: Mutex<Workspace>,
}

impl Decoder {
    /// Puts a decoder together and starts its threads.
    ///
    /// # Errors
    /// Refuses weights that do not fit the shape or mix f32 with quantised layers; fails when the system gives no thread.
    ///
    /// # Panics
    /// Panics when this machine does not have the instruction set.
    pub fn new(
        shape: DecoderShape,
        weights: DecoderWeights,
        options: DecoderOptions,
    ) -> Result<Self, KernelError> {
        weights.check(&shape)?;
        let kernels = Kernels::of(options.isa);
        let pages = PageShape {
            layers: shape.layers,
            kv_heads: shape.kv_heads,
            head_width: shape.head_dim.next_multiple_of(HEAD_ALIGN),
            element: if options.half_cache { 2 } else { 4 },
        };
        let team = Team::new(options.threads)
            .map_err(|error| KernelError::Thread { problem: error.to_string() })?;
        Ok(Self {
            rope: Rope::new(shape.head_dim, shape.rope_theta, options.positions),
            pool: KvPool::new(pages, FREE_PAGES_BYTES),
            workspace: Mutex::new(Workspace::default()),
            shape,
            options,
            weights,
            head_norms: Vec::new(),
            kernels,
            team,
        })
    }

    /// Normalises queries and keys head by head before they are rotated, as Qwen3 does.
    ///
    /// # Errors
    /// Refuses norms that are not one for each layer or not as wide as a head.
    pub fn with_head_norms(mut self, norms: Vec<HeadNorms>) -> Result<Self, KernelError> {
        head_norms::check(&norms, &self.shape)?;
        self.head_norms = norms;
        Ok(self)
    }

    /// The shapes and constants.
    pub fn shape(&self) -> &DecoderShape {
        &self.shape
    }

    /// How it runs.
    pub fn options(&self) -> &DecoderOptions {
        &self.options
    }

    /// Bytes of the packed weights.
    pub fn weight_bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Bytes of packed weights that one decoding step of one sequence reads.
    pub fn step_bytes(&self) -> usize {
        self.weights.step_bytes()
    }

    /// Where pages of keys and values come from.
    pub fn pool(&self) -> &Arc<KvPool> {
        &self.pool
    }

    /// Makes an empty cache.
    pub fn new_cache(&self) -> KvCache {
        self.new_cache_for(self.options.activations)
    }

    /// Makes an empty cache; the passes over it round activations to `activations`.
    pub fn new_cache_for(&self, activations: ActivationBits) -> KvCache {
        KvCache::new(&self.pool, activations)
    }

    /// Packs an adapter for this decoder: in 8 bits beside quantised weights, in f32
    /// beside f32 weights.
    ///
    /// # Errors
    /// Refuses another number of layers, factors that do not fit the linears, and values
    /// that are not finite.
    pub fn pack_adapter(&self, layers: &[AdapterLayer<'_>]) -> Result<Adapter, KernelError> {
        Adapter::pack(layers, self.adapter_fit())
    }

    /// What the layers' inputs are made of.
    fn form(&self, activations: ActivationBits) -> Form {
        self.kernels.form(activations, self.weights.precision())
    }

    fn adapter_fit(&self) -> Fit {
        let shape = &self.shape;
        let is_quantised = self.weights.is_quantised();
        Fit {
            layers: shape.layers,
            hidden: shape.hidden,
            intermediate: shape.intermediate,
            queries: shape.heads * shape.head_dim,
            keys: shape.kv_heads * shape.head_dim,
            precision: if is_quantised { Precision::Eight } else { Precision::Dense },
        }
    }

    /// Looks up tokens: `[tokens, hidden]`.
    ///
    /// # Panics
    /// Panics when an id is outside the vocabulary.
    pub fn embed(&self, tokens: &[u32]) -> Vec<f32> {
        let mut rows = vec![0.0; tokens.len() * self.shape.hidden];
        for (row, &token) in rows.chunks_exact_mut(self.shape.hidden).zip(tokens) {
            self.weights.embedding.row(token as usize, row);
        }
        rows
    }

    /// Runs `rows` (`[T, hidden]`, the spans' rows one after another) and returns in their
    /// place the hidden states after the final norm. `adapter` is added to every linear
    /// that it has a pair for.
    ///
    /// # Panics
    /// Panics when the spans' lengths do not add up to T, a span is empty, a position lies
    /// beyond the rotary tables, a cache or the adapter was made for another decoder, or
    /// caches differ in the rounding of activations.
    pub fn forward(&self, rows: &mut [f32], spans: &mut [Span<'_>], adapter: Option<&Adapter>) {
        self.forward_with(rows, spans, adapter, &RowExtras::default(), None);
    }

    /// As [`Self::forward`], for rows that are not plain text or of which something is wanted
    /// on the way.
    ///
    /// # Panics
    /// As [`Self::forward`]; also when extras or the tap do not fit the rows.
    pub fn forward_with(
        &self,
        rows: &mut [f32],
        spans: &mut [Span<'_>],
        adapter: Option<&Adapter>,
        extras: &RowExtras<'_>,
        tap: Option<Tap<'_>>,
    ) {
        // The kernels read and write without looking back, so all that they rely on is
        // checked here.
        for span in spans.iter() {
            assert!(span.len > 0, "no span is empty");
            let end = span.cache.len().saturating_add(span.len);
            assert!(end <= self.rope.positions(), "positions lie within the rotary tables");
            assert!(span.cache.is_of(&self.pool), "the cache is this decoder's");
        }
        let mut roundings = spans.iter().map(|span| span.cache.activations());
        let activations = roundings.next().unwrap_or(self.options.activations);
        assert!(roundings.all(|other| other == activations), "one rounding in a pass");
        if let Some(adapter) = adapter {
            assert_eq!(adapter.fit, self.adapter_fit(), "the adapter is this decoder's");
        }
        let total: usize = spans.iter().map(|span| span.len).sum();
        assert_eq!(rows.len(), total * self.shape.hidden, "spans cover the rows");
        extras.check(total, &self.shape);
        if let Some(tap) = &tap {
            tap.check(total, &self.shape);
        }
        if total == 0 {
            return;
        }
        // The workspace holds nothing from one pass to the next, so a panic leaves no harm.
        let mut workspace = self.workspace.lock().unwrap_or_else(PoisonError::into_inner);
        let pass = Pass::new(self, rows, spans, (adapter, extras, tap), &mut workspace);
        self.team.run(&|member| pass.run(member));
        drop(pass);
        for span in spans {
            span.cache.advance(span.len);
        }
    }

    /// Multiplies rows of inputs by a matrix on this decoder's threads, as
    /// [`Matrix::multiply`] does.
    ///
    /// # Panics
    /// Panics when `rows` is not whole rows.
    pub fn multiply(&self, matrix: &Matrix, rows: &[f32]) -> Vec<f32> {
        matrix.multiply(rows, self.options.activations, &self.team, self.options.isa)
    }

    /// Scores the next token for each row of hidden states (`[rows, hidden]`):
    /// `[rows, vocab]`.
    ///
    /// # Panics
    /// Panics when `hidden` is not whole rows.
    pub fn logits(&self, hidden: &[f32]) -> Vec<f32> {
        self.weights.head().multiply(hidden, self.options.activations, &self.team, self.options.isa)
    }
}
