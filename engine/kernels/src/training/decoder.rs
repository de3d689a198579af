//! Weights packed for products, and the way there.

use std::sync::Arc;

use super::{
    FactorLayout, Forest, Tape,
    attention::{Attention, Scratch},
    factors::Linear,
    pass::{Additions, Rows, by_rows, by_units, widths},
    product::{Packed, Right, run},
    tape::LayerTape,
};
use crate::{DecoderShape, Isa, Team, kernels::Kernels, rope::Rope, slopes, team::Member};

/// One layer's weights in f32, row by row.
#[derive(Debug, Clone, Copy)]
pub struct TrainingLayer<'a> {
    /// Scales of the norm before attention, `[hidden]`.
    pub attention_norm: &'a [f32],
    /// Queries, keys and values, stacked, `[queries + 2 * keys, hidden]`.
    pub qkv: &'a [f32],
    /// From attention back to the residual stream, `[hidden, queries]`.
    pub output: &'a [f32],
    /// Scales of the norm before the feed-forward network, `[hidden]`.
    pub mlp_norm: &'a [f32],
    /// The feed-forward network's gate, `[intermediate, hidden]`.
    pub gate: &'a [f32],
    /// The way into the feed-forward network, `[intermediate, hidden]`.
    pub up: &'a [f32],
    /// The way out of the feed-forward network, `[hidden, intermediate]`.
    pub down: &'a [f32],
}

/// All weights of the layers and the final norm.
#[derive(Debug, Clone)]
pub struct TrainingWeights<'a> {
    /// In order.
    pub layers: Vec<TrainingLayer<'a>>,
    /// Scales of the final norm, `[hidden]`.
    pub norm: &'a [f32],
}

/// Factors of low-rank additions, see [`FactorLayout`].
#[derive(Debug, Clone)]
pub struct Factors<'a> {
    /// Where they lie.
    pub layout: Arc<FactorLayout>,
    /// Their values.
    pub values: &'a [f32],
}

/// A decoder whose passes can be gone back through. Holds the weights a second time, packed for
/// the way there; the way back reads them as they are.
#[derive(Debug)]
pub struct TrainingDecoder {
    pub(super) shape: DecoderShape,
    pub(super) kernels: &'static Kernels,
    pub(super) rope: Rope,
    pub(super) team: Team,
    layers: Vec<PackedLayer>,
}

#[derive(Debug)]
struct PackedLayer {
    query: Packed,
    key: Packed,
    value: Packed,
    output: Packed,
    gate: Packed,
    up: Packed,
    down: Packed,
}

impl TrainingDecoder {
    /// Packs `weights`, with rotary tables for `positions` positions.
    ///
    /// # Errors
    /// Fails when the system gives no thread.
    ///
    /// # Panics
    /// Panics when the weights do not have the shape, or this machine not the instructions.
    pub fn new(
        shape: DecoderShape,
        weights: &TrainingWeights<'_>,
        positions: usize,
        threads: usize,
        isa: Isa,
    ) -> std::io::Result<Self> {
        check(&shape, weights);
        let kernels = Kernels::of(isa);
        let [queries, keys, _] = widths(&shape);
        let hidden = shape.hidden;
        let pack = |rows: &[f32], depth: usize| Packed::transposed(rows, depth, &kernels.tiles);
        let layers = weights
            .layers
            .iter()
            .map(|layer| {
                let (query, rest) = layer.qkv.split_at(queries * hidden);
                let (key, value) = rest.split_at(keys * hidden);
                PackedLayer {
                    query: pack(query, hidden),
                    key: pack(key, hidden),
                    value: pack(value, hidden),
                    output: pack(layer.output, queries),
                    gate: pack(layer.gate, hidden),
                    up: pack(layer.up, hidden),
                    down: pack(layer.down, shape.intermediate),
                }
            })
            .collect();
        let rope = Rope::new(shape.head_dim, shape.rope_theta, positions);
        Ok(Self { rope, kernels, team: Team::new(threads)?, layers, shape })
    }

    /// The shape.
    pub fn shape(&self) -> &DecoderShape {
        &self.shape
    }

    /// Runs the layers and the final norm over the forest's rows, `[T, hidden]`. Gives the hidden
    /// states, and with `record` what [`Self::backward`] needs.
    ///
    /// # Panics
    /// Panics when rows, factors or weights do not fit, or a position lies beyond the tables.
    pub fn forward(
        &self,
        weights: &TrainingWeights<'_>,
        forest: &Arc<Forest>,
        rows: &[f32],
        factors: &Factors<'_>,
        record: bool,
    ) -> (Vec<f32>, Option<Tape>) {
        check(&self.shape, weights);
        let (shape, count) = (&self.shape, forest.rows());
        let positions = forest.positions();
        assert!(rows.len() == count * shape.hidden, "rows are the forest's");
        assert!(
            positions.iter().all(|&position| position < self.rope.positions()),
            "positions lie within the rotary tables"
        );
        factors.check(shape);
        let width = factors.layout.width();
        let tapes = if record { shape.layers } else { 1 };
        let mut layers: Vec<LayerTape> =
            (0..tapes).map(|_| LayerTape::new(shape, count, width)).collect();
        layers[0].stream.copy_from_slice(rows);
        let mut last = vec![0.0; count * shape.hidden];
        let mut hidden = vec![0.0; count * shape.hidden];
        let mut gated = vec![0.0; count * shape.intermediate];
        let there = There {
            decoder: self,
            weights,
            forest,
            factors,
            positions: &positions,
            normed: Rows::of(&mut hidden, shape.hidden),
            gated: Rows::of(&mut gated, shape.intermediate),
        };
        let views: Vec<LayerRows> =
            layers.iter_mut().map(|layer| LayerRows::of(layer, shape, width)).collect();
        let last_rows = Rows::of(&mut last, shape.hidden);
        self.team.run(&|member| {
            let mut scratch = Scratch::default();
            for layer in 0..shape.layers {
                let view = views[if record { layer } else { 0 }];
                // Unrecorded layers leave their output where the next one's input is.
                let next = match layer + 1 {
                    next if next == shape.layers => last_rows,
                    next if record => views[next].stream,
                    _ => view.stream,
                };
                there.layer(member, layer, view, next, &mut scratch);
            }
            by_rows(member, count, |rows| {
                // SAFETY: every row is one thread's, and no product runs.
                unsafe {
                    let out = there.normed.slice_mut(rows.clone());
                    let stream = last_rows.slice(rows);
                    slopes::normalise(stream, weights.norm, shape.norm_eps, out);
                }
            });
        });
        let tape = record.then(|| Tape {
            forest: Arc::clone(forest),
            layout: Arc::clone(&factors.layout),
            layers,
            last,
        });
        (hidden, tape)
    }
}

impl Factors<'_> {
    pub(super) fn check(&self, shape: &DecoderShape) {
        assert!(self.layout.layers() == shape.layers, "factors have the decoder's layers");
        assert!(self.layout.values() == self.values.len(), "factors fill their layout");
    }
}

/// Checks every weight's size, so that a pass need not.
pub(super) fn check(shape: &DecoderShape, weights: &TrainingWeights<'_>) {
    let [queries, keys, _] = widths(shape);
    let (hidden, inner) = (shape.hidden, shape.intermediate);
    assert!(
        shape.head_dim > 0 && shape.head_dim.is_multiple_of(2) && shape.kv_heads > 0,
        "heads have halves"
    );
    assert!(shape.heads.is_multiple_of(shape.kv_heads), "heads share key-value heads evenly");
    assert!(weights.layers.len() == shape.layers && shape.layers > 0, "as many layers");
    assert!(weights.norm.len() == hidden, "the final norm fits");
    for layer in &weights.layers {
        let sizes = [
            (layer.attention_norm.len(), hidden),
            (layer.qkv.len(), (queries + 2 * keys) * hidden),
            (layer.output.len(), queries * hidden),
            (layer.mlp_norm.len(), hidden),
            (layer.gate.len(), inner * hidden),
            (layer.up.len(), inner * hidden),
            (layer.down.len(), inner * hidden),
        ];
        assert!(sizes.iter().all(|(len, want)| len == want), "weights have the decoder's shape");
    }
}

/// A layer's tape as rows that threads share.
#[derive(Debug, Clone, Copy)]
struct LayerRows {
    stream: Rows,
    qkv: Rows,
    mixed: Rows,
    middle: Rows,
    gate: Rows,
    up: Rows,
    low: Rows,
}

impl LayerRows {
    fn of(tape: &mut LayerTape, shape: &DecoderShape, low: usize) -> Self {
        let [queries, _, width] = widths(shape);
        Self {
            stream: Rows::of(&mut tape.stream, shape.hidden),
            qkv: Rows::of(&mut tape.qkv, width),
            mixed: Rows::of(&mut tape.mixed, queries),
            middle: Rows::of(&mut tape.middle, shape.hidden),
            gate: Rows::of(&mut tape.gate, shape.intermediate),
            up: Rows::of(&mut tape.up, shape.intermediate),
            low: Rows::of(&mut tape.low, low),
        }
    }
}

/// What the layers of one pass share.
struct There<'a> {
    decoder: &'a TrainingDecoder,
    weights: &'a TrainingWeights<'a>,
    forest: &'a Forest,
    factors: &'a Factors<'a>,
    positions: &'a [usize],
    normed: Rows,
    gated: Rows,
}

impl There<'_> {
    /// One thread's part in a layer.
    fn layer(
        &self,
        member: &Member<'_>,
        layer: usize,
        tape: LayerRows,
        next: Rows,
        scratch: &mut Scratch,
    ) {
        let TrainingDecoder { shape, kernels, rope, layers, .. } = self.decoder;
        let (packed, weights) = (&layers[layer], &self.weights.layers[layer]);
        let [queries, keys, _] = widths(shape);
        let count = self.forest.rows();
        let (normed, gated) = (self.normed, self.gated);
        let additions = Additions {
            layout: &self.factors.layout,
            factors: self.factors.values,
            layer,
            low: tape.low,
            count,
        };
        let normalise = |stream: Rows, scales: &[f32]| {
            by_rows(member, count, |rows| {
                // SAFETY: every row is one thread's, and no product runs.
                unsafe {
                    let out = normed.slice_mut(rows.clone());
                    slopes::normalise(stream.slice(rows), scales, shape.norm_eps, out);
                }
            });
        };
        let linear = |input: Rows, packed, linear: Linear, output: Rows| {
            let mut terms = vec![input.times(Right::Packed(packed))];
            terms.extend(additions.up(linear, output.width()));
            output.product(count, terms)
        };
        // SAFETY of the products: all are of `count` rows of this pass's own memory, and write
        // what no other of their phase reads or writes.
        let tiles = &kernels.tiles;
        normalise(tape.stream, weights.attention_norm);
        let down = additions.down(&[Linear::Query, Linear::Key, Linear::Value], normed);
        unsafe { run(member, tiles, &down, &mut scratch.panels) };
        let products = [
            linear(normed, &packed.query, Linear::Query, tape.qkv.columns(0, queries)),
            linear(normed, &packed.key, Linear::Key, tape.qkv.columns(queries, keys)),
            linear(normed, &packed.value, Linear::Value, tape.qkv.columns(queries + keys, keys)),
        ];
        unsafe { run(member, tiles, &products, &mut scratch.panels) };
        by_rows(member, count, |rows| {
            for row in rows {
                // SAFETY: every row is one thread's, and no product runs.
                let row_values = unsafe { tape.qkv.slice_mut(row..row + 1) };
                let angles = rope.at(self.positions[row]);
                turn(&mut row_values[..queries + keys], shape, queries, |head, scale| {
                    // SAFETY: a head is twice as wide as the angles, and may be turned in place.
                    unsafe { (kernels.rotate)(head.as_ptr(), angles, scale, head.as_mut_ptr()) };
                });
            }
        });
        let attention =
            Attention { shape, kernels, qkv: tape.qkv.address(), mixed: tape.mixed.address() };
        let segments = self.forest.segments();
        by_units(member, segments.len() * shape.kv_heads, |unit| {
            let (segment, kv_head) = (&segments[unit / shape.kv_heads], unit % shape.kv_heads);
            // SAFETY: the rows are there, and every unit writes its own rows and heads.
            unsafe { attention.mix(segment, kv_head, scratch) };
        });
        let down = additions.down(&[Linear::Output], tape.mixed);
        unsafe { run(member, tiles, &down, &mut scratch.panels) };
        let product = linear(tape.mixed, &packed.output, Linear::Output, tape.middle);
        let product = tape.middle.sum(count, tape.stream, product.terms);
        unsafe { run(member, tiles, &[product], &mut scratch.panels) };

        normalise(tape.middle, weights.mlp_norm);
        let down = additions.down(&[Linear::Gate, Linear::Up], normed);
        unsafe { run(member, tiles, &down, &mut scratch.panels) };
        let products = [
            linear(normed, &packed.gate, Linear::Gate, tape.gate),
            linear(normed, &packed.up, Linear::Up, tape.up),
        ];
        unsafe { run(member, tiles, &products, &mut scratch.panels) };
        by_rows(member, count, |rows| {
            // SAFETY: every row is one thread's, and no product runs.
            unsafe {
                let out = gated.slice_mut(rows.clone());
                slopes::gate(tape.gate.slice(rows.clone()), tape.up.slice(rows), out);
            }
        });
        let down = additions.down(&[Linear::Down], gated);
        unsafe { run(member, tiles, &down, &mut scratch.panels) };
        let product = linear(gated, &packed.down, Linear::Down, next);
        let product = next.sum(count, tape.middle, product.terms);
        unsafe { run(member, tiles, &[product], &mut scratch.panels) };
    }
}

/// Does something to each head of queries and keys, with what queries are scaled by.
pub(super) fn turn(
    row: &mut [f32],
    shape: &DecoderShape,
    queries: usize,
    mut each: impl FnMut(&mut [f32], f32),
) {
    let scale = 1.0 / (shape.head_dim as f32).sqrt();
    for (index, head) in row.chunks_exact_mut(shape.head_dim).enumerate() {
        let is_query = index * shape.head_dim < queries;
        each(head, if is_query { scale } else { 1.0 });
    }
}
