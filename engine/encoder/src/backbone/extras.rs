//! What sets rows of a pass apart from plain text, positions and what is added to them, and what
//! is read of them on the way.

use burn::tensor::Tensor;

use super::{BackboneConfig, Position, Span};

/// What sets rows of a pass apart from plain text.
#[derive(Debug, Default)]
pub struct RowExtras {
    /// The position of each row; empty when all rows follow their caches as text does.
    pub positions: Vec<Position>,
    /// What is added to some rows between layers.
    pub additions: Vec<Addition>,
}

/// Something that is added to some rows after a layer.
#[derive(Debug, Clone)]
pub struct Addition {
    /// The layer after which it is added.
    pub layer: usize,
    /// The rows of the pass, ascending.
    pub rows: Vec<usize>,
    /// What is added to each, `[rows, hidden]`.
    pub values: Tensor<2>,
}

/// What is read of some rows between layers.
#[derive(Debug, Clone, Copy)]
pub struct Tap<'a> {
    /// How many layers come before: at least 1, at most all.
    pub layers: usize,
    /// The rows of the pass.
    pub rows: &'a [usize],
}

impl Tap<'_> {
    /// Checks everything that the executions rely on.
    pub(super) fn check(&self, total: usize, config: &BackboneConfig) {
        assert!((1..=config.layers).contains(&self.layers), "the tap is behind a layer");
        assert!(self.rows.iter().all(|&row| row < total), "rows are of the pass");
    }
}

impl RowExtras {
    /// Checks everything that the executions rely on.
    pub(super) fn check(&self, total: usize, config: &BackboneConfig) {
        let count = self.positions.len();
        assert!(count == 0 || count == total, "every row has a position, or none has");
        for addition in &self.additions {
            assert!(addition.layer < config.layers, "additions come after a layer");
            let shape = [addition.rows.len(), config.hidden_size];
            assert_eq!(addition.values.dims(), shape, "every row gets one addition");
            assert!(addition.rows.is_sorted_by(|a, b| a < b), "rows ascend");
            assert!(addition.rows.last().is_none_or(|&row| row < total), "rows are of the pass");
        }
    }

    /// The position of each row; `None` when they are those of the cache's rows.
    pub(super) fn positions(&self, spans: &[Span<'_>]) -> Option<Vec<Position>> {
        if !self.positions.is_empty() {
            return Some(self.positions.clone());
        }
        if spans.iter().all(|span| span.cache.is_plain()) {
            return None;
        }
        let of_span = |span: &Span<'_>| {
            let start = span.cache.next_position();
            (start..start + span.len as u32).map(|position| [position; 3])
        };
        Some(spans.iter().flat_map(of_span).collect())
    }
}

/// The position after each span's rows: one more than the largest so far.
pub(super) fn next_positions(spans: &[Span<'_>], positions: Option<&[Position]>) -> Vec<u32> {
    let mut start = 0;
    spans
        .iter()
        .map(|span| {
            let own = start..start + span.len;
            start = own.end;
            let next = span.cache.next_position();
            match positions {
                None => next + span.len as u32,
                Some(positions) => {
                    let largest = positions[own].iter().flatten().max().copied();
                    largest.map_or(next, |largest| next.max(largest + 1))
                }
            }
        })
        .collect()
}
