//! What the way back through a pass needs of the way there.

use std::sync::Arc;

use super::{FactorLayout, Forest};
use crate::DecoderShape;

/// One layer's values, for every row of the forest.
#[derive(Debug, Default)]
pub(super) struct LayerTape {
    /// The residual stream before the layer, `[T, hidden]`.
    pub(super) stream: Vec<f32>,
    /// Queries, keys and values side by side, rotated and scaled.
    pub(super) qkv: Vec<f32>,
    /// What attention mixed, `[T, heads * head_dim]`.
    pub(super) mixed: Vec<f32>,
    /// The residual stream between attention and the feed-forward network.
    pub(super) middle: Vec<f32>,
    /// The feed-forward network's gates, `[T, intermediate]`.
    pub(super) gate: Vec<f32>,
    /// The values that they gate.
    pub(super) up: Vec<f32>,
    /// Low-rank values of all additions side by side, `[T, width]`.
    pub(super) low: Vec<f32>,
}

impl LayerTape {
    /// Makes room for `rows` rows.
    pub(super) fn new(shape: &DecoderShape, rows: usize, low: usize) -> Self {
        let queries = shape.heads * shape.head_dim;
        let zeros = |width: usize| vec![0.0; rows * width];
        Self {
            stream: zeros(shape.hidden),
            qkv: zeros(queries + 2 * shape.kv_heads * shape.head_dim),
            mixed: zeros(queries),
            middle: zeros(shape.hidden),
            gate: zeros(shape.intermediate),
            up: zeros(shape.intermediate),
            low: zeros(low),
        }
    }
}

/// A pass, recorded.
#[derive(Debug)]
pub struct Tape {
    pub(super) forest: Arc<Forest>,
    pub(super) layout: Arc<FactorLayout>,
    pub(super) layers: Vec<LayerTape>,
    /// The residual stream before the final norm.
    pub(super) last: Vec<f32>,
}
