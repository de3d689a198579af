//! Where the factors of low-rank additions lie in one run of values.

use crate::DecoderShape;

/// Linears of a layer that can have an addition.
pub const TARGETS: usize = 7;

/// A linear of a layer, by its place among a layer's additions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Linear {
    Query,
    Key,
    Value,
    Output,
    Gate,
    Up,
    Down,
}

/// An addition to one linear: `x -> scale * x Aᵀ Bᵀ`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FactorShape {
    /// Rows of `A` and columns of `B`.
    pub rank: usize,
    /// What the product is multiplied by.
    pub scale: f32,
}

/// Where one addition's factors begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FactorPlace {
    pub(super) rank: usize,
    pub(super) scale: f32,
    /// `A`, `[rank, in]`.
    pub(super) a: usize,
    /// `B`, `[out, rank]`.
    pub(super) b: usize,
    /// The first of its columns among the layer's low-rank values.
    pub(super) column: usize,
}

/// Where the factors of all layers lie: layer by layer, for queries, keys, values, attention's
/// output, the gate, the way in and the way out, `A` (`[rank, in]`) and then `B` (`[out, rank]`) of
/// each that has an addition.
#[derive(Debug, Clone, PartialEq)]
pub struct FactorLayout {
    layers: Vec<[Option<FactorPlace>; TARGETS]>,
    len: usize,
    width: usize,
}

impl FactorLayout {
    /// Lays out the additions of all layers.
    pub fn new(shape: &DecoderShape, layers: &[[Option<FactorShape>; TARGETS]]) -> Self {
        let (mut len, mut width) = (0, 0);
        let place = |layer: &[Option<FactorShape>; TARGETS]| {
            let mut column = 0;
            let places = std::array::from_fn(|target| {
                let FactorShape { rank, scale } = layer[target]?;
                let (input, output) = sizes(shape, target);
                let place = FactorPlace { rank, scale, a: len, b: len + rank * input, column };
                len += rank * (input + output);
                column += rank;
                Some(place)
            });
            width = width.max(column);
            places
        };
        let layers = layers.iter().map(place).collect();
        Self { layers, len, width }
    }

    /// Values of all factors.
    pub fn values(&self) -> usize {
        self.len
    }

    /// Low-rank values of a row in one layer, at most.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn layers(&self) -> usize {
        self.layers.len()
    }

    pub(super) fn place(&self, layer: usize, linear: Linear) -> Option<FactorPlace> {
        self.layers[layer][linear as usize]
    }
}

/// Inputs and outputs of a linear.
fn sizes(shape: &DecoderShape, target: usize) -> (usize, usize) {
    let (queries, keys) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    [
        (shape.hidden, queries),
        (shape.hidden, keys),
        (shape.hidden, keys),
        (queries, shape.hidden),
        (shape.hidden, shape.intermediate),
        (shape.hidden, shape.intermediate),
        (shape.intermediate, shape.hidden),
    ][target]
}
