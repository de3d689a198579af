//! The passes in burn's own operations, for devices without a kernel.

use burn::backend::{Backend, TensorMetadata, tensor::FloatTensor};
use burn::tensor::Shape;

pub(super) fn gate<B: Backend>(gates: FloatTensor<B>, values: FloatTensor<B>) -> FloatTensor<B> {
    let shares = B::sigmoid(gates.clone());
    B::float_mul(B::float_mul(gates, shares), values)
}

pub(super) fn gate_backward<B: Backend>(
    gates: FloatTensor<B>,
    values: FloatTensor<B>,
    slopes: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let shares = B::sigmoid(gates.clone());
    let silu = B::float_mul(gates, shares.clone());
    // d silu = share + silu (1 - share)
    let left = B::float_add_scalar(B::float_neg(shares.clone()), 1.0_f32.into());
    let by_gate = B::float_add(shares, B::float_mul(silu.clone(), left));
    let by_gates = B::float_mul(B::float_mul(slopes.clone(), values), by_gate);
    (by_gates, B::float_mul(slopes, silu))
}

/// One over the root mean square of each row, `[rows, 1]`.
fn factors<B: Backend>(rows: FloatTensor<B>, eps: f32) -> FloatTensor<B> {
    let means = B::float_mean_dim(B::float_mul(rows.clone(), rows), 1);
    B::float_recip(B::float_sqrt(B::float_add_scalar(means, eps.into())))
}

pub(super) fn normalise<B: Backend>(
    rows: FloatTensor<B>,
    scales: FloatTensor<B>,
    eps: f32,
) -> FloatTensor<B> {
    let factors = factors::<B>(rows.clone(), eps);
    B::float_mul(B::float_mul(rows, factors), scales)
}

pub(super) fn normalise_backward<B: Backend>(
    rows: FloatTensor<B>,
    scales: FloatTensor<B>,
    slopes: FloatTensor<B>,
    eps: f32,
) -> FloatTensor<B> {
    let factors = factors::<B>(rows.clone(), eps);
    let slopes = B::float_mul(slopes, scales);
    let normed = B::float_mul(rows, factors.clone());
    let along = B::float_mean_dim(B::float_mul(normed.clone(), slopes.clone()), 1);
    B::float_mul(B::float_sub(slopes, B::float_mul(normed, along)), factors)
}

pub(super) fn masked_softmax<B: Backend>(
    scores: FloatTensor<B>,
    mask: FloatTensor<B>,
) -> FloatTensor<B> {
    B::softmax(B::float_add(scores, mask), 3)
}

pub(super) fn softmax_backward<B: Backend>(
    shares: FloatTensor<B>,
    slopes: FloatTensor<B>,
) -> FloatTensor<B> {
    let along = B::float_sum_dim(B::float_mul(shares.clone(), slopes.clone()), 3);
    B::float_mul(shares, B::float_sub(slopes, along))
}

pub(super) fn turn<B: Backend>(
    rows: FloatTensor<B>,
    cos: FloatTensor<B>,
    sin: FloatTensor<B>,
    head_dim: usize,
) -> FloatTensor<B> {
    let other = halves_swapped::<B>(rows.clone(), head_dim);
    B::float_add(B::float_mul(rows, cos), B::float_mul(other, sin))
}

pub(super) fn turn_backward<B: Backend>(
    slopes: FloatTensor<B>,
    cos: FloatTensor<B>,
    sin: FloatTensor<B>,
    head_dim: usize,
) -> FloatTensor<B> {
    let other = halves_swapped::<B>(B::float_mul(slopes.clone(), sin), head_dim);
    B::float_add(B::float_mul(slopes, cos), other)
}

fn halves_swapped<B: Backend>(rows: FloatTensor<B>, head_dim: usize) -> FloatTensor<B> {
    let shape = rows.shape();
    let halves = Shape::new([shape.num_elements() / head_dim, 2, head_dim / 2]);
    let swapped = B::float_flip(B::float_reshape(rows, halves), &[1]);
    B::float_reshape(swapped, shape)
}
