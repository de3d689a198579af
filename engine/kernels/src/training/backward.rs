//! The way back: from the slopes of hidden states to those of rows and factors.

use super::{
    Factors, Tape, TrainingDecoder, TrainingLayer, TrainingWeights,
    attention::{Attention, Scratch, Slopes},
    decoder::{check, turn},
    factors::Linear,
    forest::Placed,
    pass::{Additions, Rows, by_rows, by_units, widths},
    product::{Product, Term, run},
    tape::LayerTape,
};
use crate::{DecoderShape, buffer::Shared, slopes, team::Member};

const ATTENTION: [Linear; 3] = [Linear::Query, Linear::Key, Linear::Value];

/// Memory of the way back, used by one layer after the other.
struct Workspace {
    stream: Vec<f32>,
    normed: Vec<f32>,
    inputs: Vec<f32>,
    gated: Vec<f32>,
    gated_slopes: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    mixed: Vec<f32>,
    qkv: Vec<f32>,
    low: Vec<f32>,
    before: Vec<f32>,
}

/// What the layers of one way back share.
struct Back<'a> {
    decoder: &'a TrainingDecoder,
    tape: &'a Tape,
    factors: &'a Factors<'a>,
    positions: &'a [usize],
    count: usize,
    /// Slopes of the residual stream, `[T, hidden]`: what the way back carries.
    stream: Rows,
    /// What a norm gave, computed again.
    normed: Rows,
    /// Slopes of what a norm gave.
    inputs: Rows,
    gated: Rows,
    gated_slopes: Rows,
    gate: Rows,
    up: Rows,
    mixed: Rows,
    qkv: Rows,
    /// Slopes of low-rank values.
    low: Rows,
    /// Slopes of ancestors' keys and values, by segment and key-value head.
    before: Shared<f32>,
    /// Where those of each segment begin.
    before_at: Vec<usize>,
    /// Slopes of the factors.
    into: Shared<f32>,
}

impl TrainingDecoder {
    /// Goes back through a recorded pass: from the hidden states' slopes, `[T, hidden]`, to those
    /// of the rows and of the factors. `weights` and `factors` are those of the way there.
    ///
    /// # Panics
    /// Panics when weights, factors or slopes do not fit the tape.
    pub fn backward(
        &self,
        weights: &TrainingWeights<'_>,
        tape: &Tape,
        factors: &Factors<'_>,
        hidden_slopes: &[f32],
    ) -> (Vec<f32>, Vec<f32>) {
        check(&self.shape, weights);
        factors.check(&self.shape);
        assert!(factors.layout == tape.layout, "the factors are those of the way there");
        let (shape, count) = (&self.shape, tape.forest.rows());
        assert!(hidden_slopes.len() == count * shape.hidden, "slopes are the forest's");
        let segments = tape.forest.segments();
        let keys = shape.kv_heads * shape.head_dim;
        let mut before_at = Vec::with_capacity(segments.len());
        let mut before = 0;
        for segment in segments {
            before_at.push(before);
            before += 2 * segment.position * keys;
        }
        let mut work = Workspace::new(shape, count, tape.layout.width(), before);
        let mut factor_slopes = vec![0.0; factors.values.len()];
        let positions = tape.forest.positions();
        let [queries, _, qkv] = widths(shape);
        let (hidden, inner) = (shape.hidden, shape.intermediate);
        let back = Back {
            decoder: self,
            tape,
            factors,
            positions: &positions,
            count,
            stream: Rows::of(&mut work.stream, hidden),
            normed: Rows::of(&mut work.normed, hidden),
            inputs: Rows::of(&mut work.inputs, hidden),
            gated: Rows::of(&mut work.gated, inner),
            gated_slopes: Rows::of(&mut work.gated_slopes, inner),
            gate: Rows::of(&mut work.gate, inner),
            up: Rows::of(&mut work.up, inner),
            mixed: Rows::of(&mut work.mixed, queries),
            qkv: Rows::of(&mut work.qkv, qkv),
            low: Rows::of(&mut work.low, tape.layout.width()),
            before: Shared::of(&mut work.before),
            before_at,
            into: Shared::of(&mut factor_slopes),
        };
        self.team.run(&|member| {
            let mut scratch = Scratch::default();
            by_rows(member, count, |rows| {
                let range = rows.start * hidden..rows.end * hidden;
                let (last, slopes) = (&tape.last[range.clone()], &hidden_slopes[range]);
                // SAFETY: every row is one thread's, and no product runs.
                let out = unsafe { back.stream.slice_mut(rows) };
                slopes::normalise_backward(last, weights.norm, shape.norm_eps, slopes, out);
            });
            for layer in (0..shape.layers).rev() {
                back.layer(member, layer, &weights.layers[layer], &mut scratch);
            }
        });
        (work.stream, factor_slopes)
    }
}

impl Workspace {
    fn new(shape: &DecoderShape, count: usize, low: usize, before: usize) -> Self {
        let [queries, _, qkv] = widths(shape);
        let zeros = |width: usize| vec![0.0; count * width];
        Self {
            stream: zeros(shape.hidden),
            normed: zeros(shape.hidden),
            inputs: zeros(shape.hidden),
            gated: zeros(shape.intermediate),
            gated_slopes: zeros(shape.intermediate),
            gate: zeros(shape.intermediate),
            up: zeros(shape.intermediate),
            mixed: zeros(queries),
            qkv: zeros(qkv),
            low: zeros(low),
            before: vec![0.0; before],
        }
    }
}

impl Back<'_> {
    /// One thread's part in a layer.
    fn layer(
        &self,
        member: &Member<'_>,
        layer: usize,
        weights: &TrainingLayer<'_>,
        scratch: &mut Scratch,
    ) {
        let tape = &self.tape.layers[layer];
        let additions = |low: Rows| Additions {
            layout: &self.tape.layout,
            factors: self.factors.values,
            layer,
            low,
            count: self.count,
        };
        let values = additions(Rows::read(&tape.low, self.tape.layout.width()));
        let slopes = additions(self.low);
        self.feed_forward(member, tape, weights, [&values, &slopes], scratch);
        self.attention(member, tape, weights, [&values, &slopes], scratch);
    }

    /// Back through the second half of a layer.
    fn feed_forward(
        &self,
        member: &Member<'_>,
        tape: &LayerTape,
        weights: &TrainingLayer<'_>,
        [values, slopes]: [&Additions<'_>; 2],
        scratch: &mut Scratch,
    ) {
        let shape = &self.decoder.shape;
        let (hidden, inner, count) = (shape.hidden, shape.intermediate, self.count);
        let Self { stream, normed, inputs, gated, gated_slopes, gate, up, into, .. } = *self;
        let mut products = |products: Vec<Product<'_>>| self.run(member, &products, scratch);
        products(slopes.back_up(Linear::Down, stream).into_iter().collect());
        let mut phase = vec![gated_slopes.product(
            count,
            with(Rows::read(weights.down, inner), stream, slopes.back_down(Linear::Down, inner)),
        )];
        phase.extend(values.slope_of_b(Linear::Down, stream, into));
        products(phase);
        by_rows(member, count, |rows| {
            let range = rows.start * inner..rows.end * inner;
            let (gates, ups) = (&tape.gate[range.clone()], &tape.up[range]);
            let middle = &tape.middle[rows.start * hidden..rows.end * hidden];
            // SAFETY: every row is one thread's, and no product runs.
            unsafe {
                slopes::gate(gates, ups, gated.slice_mut(rows.clone()));
                let (by_gate, by_up) = (gate.slice_mut(rows.clone()), up.slice_mut(rows.clone()));
                slopes::gate_backward(gates, ups, gated_slopes.slice(rows.clone()), by_gate, by_up);
                let out = normed.slice_mut(rows);
                slopes::normalise(middle, weights.mlp_norm, shape.norm_eps, out);
            }
        });
        let mut phase: Vec<Product<'_>> = [(Linear::Gate, gate), (Linear::Up, up)]
            .into_iter()
            .filter_map(|(linear, slope)| slopes.back_up(linear, slope))
            .collect();
        phase.extend(slopes.slope_of_a(Linear::Down, gated, into));
        products(phase);
        let mut terms =
            with(Rows::read(weights.gate, hidden), gate, slopes.back_down(Linear::Gate, hidden));
        terms.extend(with(
            Rows::read(weights.up, hidden),
            up,
            slopes.back_down(Linear::Up, hidden),
        ));
        let mut phase = vec![inputs.product(count, terms)];
        for (linear, slope) in [(Linear::Gate, gate), (Linear::Up, up)] {
            phase.extend(values.slope_of_b(linear, slope, into));
            phase.extend(slopes.slope_of_a(linear, normed, into));
        }
        products(phase);
        self.add_norm(member, &tape.middle, weights.mlp_norm);
    }

    /// Back through the first half of a layer.
    fn attention(
        &self,
        member: &Member<'_>,
        tape: &LayerTape,
        weights: &TrainingLayer<'_>,
        [values, slopes]: [&Additions<'_>; 2],
        scratch: &mut Scratch,
    ) {
        let shape = &self.decoder.shape;
        let [queries, keys, width] = widths(shape);
        let (hidden, count) = (shape.hidden, self.count);
        let Self { stream, normed, inputs, mixed, qkv, into, .. } = *self;
        let products = slopes.back_up(Linear::Output, stream);
        self.run(member, products.as_slice(), scratch);
        let tape_mixed = Rows::read(&tape.mixed, queries);
        let mut phase = vec![mixed.product(
            count,
            with(
                Rows::read(weights.output, queries),
                stream,
                slopes.back_down(Linear::Output, queries),
            ),
        )];
        phase.extend(values.slope_of_b(Linear::Output, stream, into));
        phase.extend(slopes.slope_of_a(Linear::Output, tape_mixed, into));
        self.run(member, &phase, scratch);

        self.attend(member, tape, scratch);
        by_rows(member, count, |rows| {
            let stream = &tape.stream[rows.start * hidden..rows.end * hidden];
            // SAFETY: every row is one thread's, and no product runs.
            unsafe {
                for row in rows.clone() {
                    let (cos, sin) = self.decoder.rope.at(self.positions[row]);
                    let slopes = &mut qkv.slice_mut(row..row + 1)[..queries + keys];
                    turn(slopes, shape, queries, |head, scale| turn_back(head, cos, sin, scale));
                }
                let out = normed.slice_mut(rows);
                slopes::normalise(stream, weights.attention_norm, shape.norm_eps, out);
            }
        });
        let parts = [(0, queries), (queries, keys), (queries + keys, keys)]
            .map(|(first, width)| qkv.columns(first, width));
        let linears = || ATTENTION.into_iter().zip(parts);
        let phase: Vec<Product<'_>> =
            linears().filter_map(|(linear, slope)| slopes.back_up(linear, slope)).collect();
        self.run(member, &phase, scratch);
        debug_assert!(qkv.width() == width, "queries, keys and values side by side");
        let mut terms = vec![qkv.times(Rows::read(weights.qkv, hidden).as_right())];
        terms.extend(ATTENTION.into_iter().filter_map(|one| slopes.back_down(one, hidden)));
        let mut phase = vec![inputs.product(count, terms)];
        for (linear, slope) in linears() {
            phase.extend(values.slope_of_b(linear, slope, into));
            phase.extend(slopes.slope_of_a(linear, normed, into));
        }
        self.run(member, &phase, scratch);
        self.add_norm(member, &tape.stream, weights.attention_norm);
    }

    /// Back through attention itself, from `mixed` to `qkv`.
    fn attend(&self, member: &Member<'_>, tape: &LayerTape, scratch: &mut Scratch) {
        let TrainingDecoder { shape, kernels, .. } = self.decoder;
        let [_, _, width] = widths(shape);
        let segments = self.tape.forest.segments();
        let attention = Attention {
            shape,
            kernels,
            qkv: Rows::read(&tape.qkv, width).address(),
            mixed: self.mixed.address(),
        };
        by_units(member, segments.len() * shape.kv_heads, |unit| {
            let (segment, kv_head) = (unit / shape.kv_heads, unit % shape.kv_heads);
            // SAFETY: the rows are there; a unit writes its own rows, heads and part of `before`.
            unsafe {
                let slopes = Slopes {
                    qkv: self.qkv.address(),
                    before: Shared::new(self.before_of(segment, kv_head)),
                };
                attention.back(&segments[segment], kv_head, slopes, scratch);
            }
        });
        // Ancestors' slopes, one descendant after the other, so that sums have one order.
        by_units(member, shape.kv_heads, |kv_head| {
            for (index, segment) in segments.iter().enumerate() {
                // SAFETY: a key-value head's columns are one thread's, and no product runs.
                unsafe { self.add_before(segment, kv_head, self.before_of(index, kv_head)) };
            }
        });
    }

    /// Where a unit's slopes of ancestors lie.
    unsafe fn before_of(&self, segment: usize, kv_head: usize) -> *mut f32 {
        let before = self.tape.forest.segments()[segment].position;
        let at = self.before_at[segment] + 2 * kv_head * before * self.decoder.shape.head_dim;
        // SAFETY: the caller names a segment and a head that are there.
        unsafe { self.before.at(at) }
    }

    unsafe fn add_before(&self, segment: &Placed, kv_head: usize, found: *const f32) {
        let shape = &self.decoder.shape;
        let [queries, keys, width] = widths(shape);
        let dim = shape.head_dim;
        let mut from = found;
        for column in [queries, queries + keys] {
            for row in segment.before.iter().cloned().flatten() {
                // SAFETY: the caller's promise.
                unsafe {
                    let target = self.qkv.address().at(row * width + column + kv_head * dim);
                    let target = std::slice::from_raw_parts_mut(target, dim);
                    for (sum, value) in target.iter_mut().zip(std::slice::from_raw_parts(from, dim))
                    {
                        *sum += value;
                    }
                    from = from.add(dim);
                }
            }
        }
    }

    /// Adds the slopes of a norm's input, from those of its output, to the residual stream's.
    fn add_norm(&self, member: &Member<'_>, stream: &[f32], scales: &[f32]) {
        let shape = &self.decoder.shape;
        let hidden = shape.hidden;
        by_rows(member, self.count, |rows| {
            let stream = &stream[rows.start * hidden..rows.end * hidden];
            let mut found = vec![0.0; stream.len()];
            // SAFETY: every row is one thread's, and no product runs.
            let (slopes, sums) =
                unsafe { (self.inputs.slice(rows.clone()), self.stream.slice_mut(rows)) };
            slopes::normalise_backward(stream, scales, shape.norm_eps, slopes, &mut found);
            for (sum, value) in sums.iter_mut().zip(found) {
                *sum += value;
            }
        });
    }

    fn run(&self, member: &Member<'_>, products: &[Product<'_>], scratch: &mut Scratch) {
        // SAFETY: all are of this pass's rows and memory, and write what no other product of
        // their phase reads or writes.
        unsafe { run(member, &self.decoder.kernels.tiles, products, &mut scratch.panels) };
    }
}

/// Slopes times a weight, and what an addition has beside that.
fn with(weight: Rows, slopes: Rows, addition: Option<Term<'static>>) -> Vec<Term<'static>> {
    let mut terms = vec![slopes.times(weight.as_right())];
    terms.extend(addition);
    terms
}

/// The slopes of a head that was turned and scaled, in place.
fn turn_back(head: &mut [f32], cos: &[f32], sin: &[f32], scale: f32) {
    let (low, high) = head.split_at_mut(cos.len());
    for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        (*low, *high) = ((*low * cos + *high * sin) * scale, (*high * cos - *low * sin) * scale);
    }
}
