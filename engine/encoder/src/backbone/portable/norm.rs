//! Root-mean-square normalisation.

use burn::tensor::Tensor;

use super::passes;

/// Divides each row by its root mean square and scales the columns.
#[derive(Debug)]
pub(super) struct RmsNorm {
    /// `[1, hidden]`.
    weight: Tensor<2>,
    eps: f32,
}

impl RmsNorm {
    /// Takes the columns' scales as `[1, hidden]`.
    pub(super) fn new(weight: Tensor<2>, eps: f32) -> Self {
        Self { weight, eps }
    }

    /// The columns' scales, `[1, hidden]`.
    pub(super) fn weight(&self) -> Tensor<2> {
        self.weight.clone()
    }

    /// Normalises `[rows, hidden]`.
    pub(super) fn apply(&self, rows: Tensor<2>) -> Tensor<2> {
        passes::normalise(rows, self.weight.clone(), self.eps)
    }
}
