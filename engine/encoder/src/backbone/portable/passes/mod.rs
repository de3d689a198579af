//! Passes over whole tensors that burn would make in many small ones.
//!
//! Each is an extension operation: composed of burn's own on a GPU, one kernel of `twn_kernels`
//! on the CPU, with a derivative of its own. On two cores the small ones cost a training step as
//! much time as its matrix products: every one allocates, and most run on one thread.

mod autodiff;
mod composed;
mod flex;

use burn::{
    backend::{Backend, Dispatch, backend_extension, tensor::FloatTensor},
    tensor::Tensor,
};

/// The passes, and what they need on the way back. Slopes are the derivatives of what comes after.
#[backend_extension(Flex, Cube: cfg(feature = "cuda"), Fusion: cfg(feature = "cuda"), Autodiff)]
pub(crate) trait Passes: Backend {
    /// Values times the SiLU of their gates.
    #[fusion(default)]
    fn gate(gates: FloatTensor<Self>, values: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::gate::<Self>(gates, values)
    }

    /// The slopes of gates and of values.
    #[fusion(default)]
    fn gate_backward(
        gates: FloatTensor<Self>,
        values: FloatTensor<Self>,
        slopes: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::gate_backward::<Self>(gates, values, slopes)
    }

    /// Rows over their root mean square, times `[1, width]` scales.
    #[fusion(default)]
    fn normalise(
        rows: FloatTensor<Self>,
        scales: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        composed::normalise::<Self>(rows, scales, eps)
    }

    /// The slopes of the rows; scales do not learn.
    #[fusion(default)]
    fn normalise_backward(
        rows: FloatTensor<Self>,
        scales: FloatTensor<Self>,
        slopes: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        composed::normalise_backward::<Self>(rows, scales, slopes, eps)
    }

    /// The softmax of `[batch, heads, rows, width]` scores plus a `[batch, 1, rows, width]` mask.
    #[fusion(default)]
    fn masked_softmax(scores: FloatTensor<Self>, mask: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::masked_softmax::<Self>(scores, mask)
    }

    /// The slopes of the scores, by the shares that they became.
    #[fusion(default)]
    fn softmax_backward(shares: FloatTensor<Self>, slopes: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::softmax_backward::<Self>(shares, slopes)
    }

    /// Heads of `head_dim` turned: values times cosines, plus those half a head away times sines.
    #[fusion(default)]
    fn turn(
        rows: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        head_dim: usize,
    ) -> FloatTensor<Self> {
        composed::turn::<Self>(rows, cos, sin, head_dim)
    }

    /// The slopes of rows that were turned.
    #[fusion(default)]
    fn turn_backward(
        slopes: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        head_dim: usize,
    ) -> FloatTensor<Self> {
        composed::turn_backward::<Self>(slopes, cos, sin, head_dim)
    }
}

#[cfg(feature = "cuda")]
impl Passes for burn_cubecl::CubeBackend {}

/// Multiplies values by the SiLU of their gates, both `[rows, width]`.
pub(super) fn gate(gates: Tensor<2>, values: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::gate(gates.into_dispatch(), values.into_dispatch()))
}

/// Divides rows by their root mean square and multiplies them by `[1, width]` scales, which do
/// not learn.
pub(super) fn normalise(rows: Tensor<2>, scales: Tensor<2>, eps: f32) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::normalise(rows.into_dispatch(), scales.into_dispatch(), eps))
}

/// The softmax over the last dimension of `[batch, heads, rows, width]` scores plus a
/// `[batch, 1, rows, width]` mask, which does not learn.
pub(super) fn masked_softmax(scores: Tensor<4>, mask: Tensor<4>) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::masked_softmax(scores.into_dispatch(), mask.into_dispatch()))
}

/// Turns the heads of rows, all of `[rows, heads * head_dim]`; cosines and sines do not learn.
pub(super) fn turn(rows: Tensor<2>, cos: Tensor<2>, sin: Tensor<2>, head_dim: usize) -> Tensor<2> {
    let (rows, cos, sin) = (rows.into_dispatch(), cos.into_dispatch(), sin.into_dispatch());
    Tensor::from_dispatch(Dispatch::turn(rows, cos, sin, head_dim))
}
