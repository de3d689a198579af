//! One forward pass: the phases of a layer, in order.

use std::ops::Range;

use super::{
    Decoder, RowExtras, Span, Tap,
    extras::SharedTap,
    workspace::{Sizes, Workspace},
};
use crate::{
    Adapter, LayerWeights, Matrix,
    activations::{Layout, TILE},
    adapter::{LayerAdapter, LowRank},
    attention::ATTENTION_ROWS,
    buffer::Shared,
    kernels::Kernels,
    kv::{PAGE, PageShape},
    matrix::GROUP,
    product::{Finished, Product},
    team::Member,
    tile::TileOutputs,
};

/// Attention tiles that one thread takes at a time.
const TILES_PER_UNIT: usize = 8;

/// Everything a pass needs, shared by the team.
pub(super) struct Pass<'a> {
    pub(super) decoder: &'a Decoder,
    adapter: Option<&'a Adapter>,
    pub(super) extras: &'a RowExtras<'a>,
    pub(super) tap: Option<SharedTap<'a>>,
    pub(super) sizes: Sizes,
    pub(super) pages: PageShape,
    /// The residual stream, `[T, hidden]`: the pass's input and output.
    pub(super) stream: Shared<f32>,
    pub(super) qkv: Shared<f32>,
    pub(super) mixed: Shared<f32>,
    gated: Shared<f32>,
    low_rank: Shared<f32>,
    scratch: Shared<f32>,
    /// Activations before products from the residual stream, from attention and from the
    /// feed-forward network: one memory, three shapes; for each thread in a small pass.
    inputs: Vec<[Layout; 3]>,
    /// Every sequence has one row and every key-value head one unit, so that a unit can
    /// place the only key it waits for by itself.
    pub(super) is_step: bool,
    pub(super) sequences: Vec<Sequence>,
    /// For each row its sequence and position.
    pub(super) places: Vec<(usize, usize)>,
    /// Rows whose positions share a page, and with it the cache lines of their keys.
    runs: Vec<Range<usize>>,
    pub(super) units: Vec<Unit>,
}

/// The rows of one sequence.
pub(super) struct Sequence {
    pub(super) first_row: usize,
    /// Positions filled before the pass.
    pub(super) past: usize,
    pub(super) pages: Vec<*mut u8>,
}

// SAFETY: the pages are written by rows of their own position, each by one thread, and
// read only in later phases.
unsafe impl Sync for Sequence {}

/// Attention's unit of work: some rows of one sequence's queries of one key-value head,
/// counted row by row, head by head.
pub(super) struct Unit {
    pub(super) sequence: usize,
    pub(super) kv_head: usize,
    pub(super) first: usize,
    pub(super) count: usize,
}

impl<'a> Pass<'a> {
    /// Makes room, pages included.
    pub(super) fn new(
        decoder: &'a Decoder,
        rows: &'a mut [f32],
        spans: &mut [Span<'_>],
        (adapter, extras, tap): (Option<&'a Adapter>, &'a RowExtras<'a>, Option<Tap<'a>>),
        workspace: &'a mut Workspace,
    ) -> Self {
        let shape = &decoder.shape;
        let pages = PageShape {
            layers: shape.layers,
            kv_heads: shape.kv_heads,
            head_width: shape.head_dim.next_multiple_of(super::HEAD_ALIGN),
            element: if decoder.options.half_cache { 2 } else { 4 },
        };
        let sizes = Sizes {
            rows: rows.len() / shape.hidden,
            threads: decoder.team.size(),
            hidden: shape.hidden,
            qkv: decoder.weights.layers.first().map_or(0, |layer| layer.qkv.padded_rows()),
            queries: shape.heads * shape.head_dim,
            intermediate: shape.intermediate,
            head_width: pages.head_width,
            low_rank: adapter.map_or(0, Adapter::width_max),
        };
        let activations =
            spans.first().map_or(decoder.options.activations, |span| span.cache.activations());
        let form = decoder.form(activations);
        workspace.ensure(&sizes, form);

        let group = shape.heads / shape.kv_heads;
        let (mut sequences, mut places, mut units) = (Vec::new(), Vec::new(), Vec::new());
        for (index, span) in spans.iter_mut().enumerate() {
            let past = span.cache.len();
            let first_row = places.len();
            places.extend((past..past + span.len).map(|position| (index, position)));
            for kv_head in 0..shape.kv_heads {
                let all = span.len * group;
                for first in (0..all).step_by(TILES_PER_UNIT * ATTENTION_ROWS) {
                    let count = (all - first).min(TILES_PER_UNIT * ATTENTION_ROWS);
                    units.push(Unit { sequence: index, kv_head, first, count });
                }
            }
            sequences.push(Sequence { first_row, past, pages: span.cache.extend(span.len) });
        }
        let same_page = |left: &(usize, usize), right: &(usize, usize)| {
            (left.0, left.1 / PAGE) == (right.0, right.1 / PAGE)
        };
        let mut end = 0;
        let runs = places.chunk_by(same_page).map(|run| {
            end += run.len();
            end - run.len()..end
        });
        let runs = runs.collect();
        let widths = [sizes.hidden, sizes.queries, sizes.intermediate];
        Self {
            stream: Shared::of(rows),
            qkv: Shared::of(&mut workspace.qkv),
            mixed: Shared::of(&mut workspace.mixed),
            gated: Shared::of(&mut workspace.gated),
            low_rank: Shared::of(&mut workspace.low_rank),
            scratch: Shared::of(&mut workspace.scratch),
            inputs: workspace.activations[..sizes.copies()]
                .iter_mut()
                .map(|memory| widths.map(|width| memory.layout(sizes.rows, width, form)))
                .collect(),
            is_step: units.len() == places.len() * shape.kv_heads
                && sequences.len() == places.len(),
            decoder,
            adapter,
            extras,
            tap: tap.map(Tap::share),
            sizes,
            pages,
            sequences,
            places,
            runs,
            units,
        }
    }

    /// Goes through all layers as one member of the team.
    pub(super) fn run(&self, member: &Member<'_>) {
        for (index, layer) in self.decoder.weights.layers.iter().enumerate() {
            let adapter = self.adapter.map(|adapter| &adapter.layers[index]);
            self.attention(member, index, layer, adapter);
            self.feed_forward(member, layer, adapter);
            self.add_extras(member, index);
            self.read_tap(member, index);
        }
        self.finish(member);
    }

    fn attention(
        &self,
        member: &Member<'_>,
        index: usize,
        layer: &LayerWeights,
        adapter: Option<&LayerAdapter>,
    ) {
        let [stream, queries, _] = self.inputs(member);
        let addition = adapter.and_then(|adapter| adapter.qkv.as_ref());
        self.normalise(member, &layer.attention_norm, stream, addition);
        self.product(member, &layer.qkv, stream, addition, |tile, outputs| {
            self.put(self.qkv, self.sizes.qkv, tile, outputs);
        });
        let kv_heads = self.decoder.shape.kv_heads;
        if !self.is_step {
            member.share(self.runs.len() * kv_heads, 1, |start, end| {
                for unit in start..end {
                    for row in self.runs[unit / kv_heads].clone() {
                        self.place(index, &layer.qkv, row, unit % kv_heads, member);
                    }
                }
            });
        }
        member.share(self.units.len(), 1, |start, end| {
            for unit in start..end {
                if self.is_step {
                    let Unit { sequence, kv_head, .. } = self.units[unit];
                    let row = self.sequences[sequence].first_row;
                    self.place(index, &layer.qkv, row, kv_head, member);
                }
                self.attend(index, unit, member);
            }
        });
        let addition = adapter.and_then(|adapter| adapter.output.as_ref());
        self.lay(member, self.mixed, self.sizes.queries, queries, addition);
        self.product(member, &layer.output, queries, addition, |tile, outputs| {
            self.add(tile, outputs);
        });
    }

    fn feed_forward(
        &self,
        member: &Member<'_>,
        layer: &LayerWeights,
        adapter: Option<&LayerAdapter>,
    ) {
        let [stream, _, gated] = self.inputs(member);
        let kernels = self.kernels();
        let addition = adapter.and_then(|adapter| adapter.gate_up.as_ref());
        self.normalise(member, &layer.mlp_norm, stream, addition);
        let low_rank = addition.map(|addition| (addition, self.low_rank(member)));
        let product = Product { kernels, matrix: &layer.gate_up, input: stream, low_rank };
        let mut outputs = TileOutputs::default();
        product.run_pairs(member, |tile, gates, values| {
            for row in 0..tile.rows {
                let at = row * GROUP;
                // SAFETY: 16 values of each; `Kernels::of` has checked the instructions.
                unsafe {
                    let out = outputs.as_mut_ptr().add(at);
                    (kernels.gate)(gates.as_ptr().add(at), values.as_ptr().add(at), out);
                }
            }
            self.put(self.gated, self.sizes.intermediate, tile, &outputs);
        });
        let addition = adapter.and_then(|adapter| adapter.down.as_ref());
        self.lay(member, self.gated, self.sizes.intermediate, gated, addition);
        self.product(member, &layer.down, gated, addition, |tile, outputs| {
            self.add(tile, outputs);
        });
    }

    fn finish(&self, member: &Member<'_>) {
        let (hidden, norm) = (self.sizes.hidden, &self.decoder.weights.norm);
        let eps = self.decoder.shape.norm_eps;
        member.share(self.sizes.rows, self.row_piece(), |start, end| {
            for row in start..end {
                // SAFETY: the row is this thread's; normalising in place reads each value
                // before it writes it.
                unsafe {
                    let row = self.stream.at(row * hidden);
                    (self.kernels().normalise)(row, norm.as_ptr(), hidden, eps, row);
                }
            }
        });
    }

    /// Runs one product with its low-rank addition.
    fn product(
        &self,
        member: &Member<'_>,
        matrix: &Matrix,
        input: Layout,
        addition: Option<&LowRank>,
        sink: impl FnMut(Finished, &TileOutputs),
    ) {
        let low_rank = addition.map(|addition| (addition, self.low_rank(member)));
        Product { kernels: self.kernels(), matrix, input, low_rank }.run(member, sink);
    }

    /// The intermediate values of an addition that a member reads.
    fn low_rank(&self, member: &Member<'_>) -> Shared<f32> {
        if !self.sizes.is_small() {
            return self.low_rank;
        }
        let copy = member.index * self.sizes.rows * self.sizes.low_rank;
        // SAFETY: there is a copy for each member.
        Shared::new(unsafe { self.low_rank.at(copy) })
    }

    /// Stores a tile in a matrix of `width` columns; outputs beyond are padding.
    fn put(&self, matrix: Shared<f32>, width: usize, tile: Finished, outputs: &TileOutputs) {
        let len = width.saturating_sub(tile.output).min(GROUP);
        for (row, outputs) in outputs.as_chunks::<GROUP>().0[..tile.rows].iter().enumerate() {
            // SAFETY: each output belongs to one tile, and tiles to one thread.
            unsafe {
                let to = matrix.at((tile.row + row) * width + tile.output);
                // Known to be whole, a group is copied by a few instructions.
                if len == GROUP {
                    to.cast::<[f32; GROUP]>().write_unaligned(*outputs);
                } else {
                    std::ptr::copy_nonoverlapping(outputs.as_ptr(), to, len);
                }
            }
        }
    }

    /// Adds a tile to the residual stream.
    fn add(&self, tile: Finished, outputs: &TileOutputs) {
        let hidden = self.sizes.hidden;
        let len = hidden.saturating_sub(tile.output).min(GROUP);
        for (row, outputs) in outputs.as_chunks::<GROUP>().0[..tile.rows].iter().enumerate() {
            // SAFETY: each output belongs to one tile, and tiles to one thread.
            let stream = unsafe {
                let at = self.stream.at((tile.row + row) * hidden + tile.output);
                std::slice::from_raw_parts_mut(at, len)
            };
            // Known to be whole, a group is added by a few instructions.
            if let Ok(stream) = <&mut [f32; GROUP]>::try_from(&mut *stream) {
                stream.iter_mut().zip(outputs).for_each(|(value, output)| *value += output);
            } else {
                stream.iter_mut().zip(outputs).for_each(|(value, output)| *value += output);
            }
        }
    }

    /// Normalises the residual stream into `input`.
    fn normalise(
        &self,
        member: &Member<'_>,
        scales: &[f32],
        input: Layout,
        addition: Option<&LowRank>,
    ) {
        let (hidden, eps) = (self.sizes.hidden, self.decoder.shape.norm_eps);
        let kernels = self.kernels();
        self.each_tile(member, input, addition, |tile| {
            let normed = self.scratch(member);
            // SAFETY: nobody writes to the stream in this phase, the input's tile is this
            // thread's, and so is the scratch memory, which has room for a tile.
            unsafe {
                for row in 0..input.width(tile) {
                    let from = self.stream.at((tile * TILE + row) * hidden);
                    let to = normed.add(row * hidden);
                    (kernels.normalise)(from, scales.as_ptr(), hidden, eps, to);
                }
                kernels.lay(normed, hidden, &input, tile);
            }
        });
    }

    /// Takes a matrix of `width` columns into `input`.
    fn lay(
        &self,
        member: &Member<'_>,
        matrix: Shared<f32>,
        width: usize,
        input: Layout,
        addition: Option<&LowRank>,
    ) {
        self.each_tile(member, input, addition, |tile| {
            // SAFETY: nobody writes to the matrix in this phase, and the input's tile is this
            // thread's.
            unsafe { self.kernels().lay(matrix.at(tile * TILE * width), width, &input, tile) };
        });
    }

    /// Prepares inputs tile by tile, whose rows share cache lines, and the intermediate values
    /// of an addition with them: shared out, or all by every thread for itself.
    fn each_tile(
        &self,
        member: &Member<'_>,
        input: Layout,
        addition: Option<&LowRank>,
        mut prepare: impl FnMut(usize),
    ) {
        let values = self.low_rank(member);
        let mut work = |tile| {
            prepare(tile);
            if let Some(addition) = addition {
                let (kernels, matrix) = (self.kernels(), &addition.a);
                let product = Product { kernels, matrix, input, low_rank: None };
                product.run_tile(tile, |finished, outputs| {
                    self.put(values, addition.width(), finished, outputs);
                });
            }
        };
        if self.sizes.is_small() {
            (0..input.tiles()).for_each(work);
        } else {
            member.share(input.tiles(), self.row_piece().div_ceil(TILE), |start, end| {
                (start..end).for_each(&mut work);
            });
        }
    }

    /// The inputs that a member reads.
    fn inputs(&self, member: &Member<'_>) -> [Layout; 3] {
        self.inputs[if self.sizes.is_small() { member.index } else { 0 }]
    }

    pub(super) fn kernels(&self) -> &'static Kernels {
        self.decoder.kernels
    }

    /// The member's own scratch memory.
    pub(super) fn scratch(&self, member: &Member<'_>) -> *mut f32 {
        // SAFETY: the buffer has room for each member.
        unsafe { self.scratch.at(member.index * self.sizes.scratch()) }
    }

    /// Rows that a thread takes at a time.
    pub(super) fn row_piece(&self) -> usize {
        self.sizes.rows.div_ceil(self.sizes.threads * 4)
    }
}
