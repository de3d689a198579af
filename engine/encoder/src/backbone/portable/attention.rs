//! Grouped-query attention of one sequence over its cache.
//!
//! Written out in matrix products, one batch entry per key-value head, rather than with
//! burn's `attention`: 0.22.1's backward pass of that does not group heads.

use burn::tensor::{Device, Tensor, TensorData, activation::softmax};

use super::BackboneConfig;

/// Attends `queries` (`[n, heads * head_dim]`, rotated and scaled) to `keys` and `values`
/// (`[total, kv_heads, head_dim]`): `[n, heads * head_dim]`. The last `n` positions are
/// the queries' own; `mask` hides what lies after each, see [`causal_mask`].
pub(super) fn attend(
    config: &BackboneConfig,
    queries: Tensor<2>,
    keys: Tensor<3>,
    values: Tensor<3>,
    mask: Option<Tensor<3>>,
) -> Tensor<2> {
    let [count, width] = queries.dims();
    let (kv_heads, head_dim) = (config.kv_heads, config.head_dim);
    let group = config.heads / kv_heads;
    let queries = queries
        .reshape([count, kv_heads, group, head_dim])
        .permute([1, 2, 0, 3])
        .reshape([kv_heads, group * count, head_dim]);
    let scores = queries.matmul(keys.permute([1, 2, 0]));
    let scores = match mask {
        Some(mask) => scores + mask,
        None => scores,
    };
    softmax(scores, 2)
        .matmul(values.permute([1, 0, 2]))
        .reshape([kv_heads, group, count, head_dim])
        .permute([2, 0, 1, 3])
        .reshape([count, width])
}

/// Makes the mask that is added to the scores of `count` rows after `past` positions:
/// `[1, group * count, past + count]`, 0 for what a row may see and a large negative
/// number for later positions. A single row sees everything and needs none.
pub(super) fn causal_mask(
    config: &BackboneConfig,
    count: usize,
    past: usize,
    device: &Device,
) -> Option<Tensor<3>> {
    if count == 1 {
        return None;
    }
    let group = config.heads / config.kv_heads;
    let total = past + count;
    let mut values = vec![0.0_f32; group * count * total];
    for (row, scores) in values.chunks_exact_mut(total).enumerate() {
        // Finite, so that the softmax of a row never sees infinity minus infinity.
        scores[past + row % count + 1..].fill(-1e30);
    }
    Some(Tensor::from_data(TensorData::new(values, [1, group * count, total]), device))
}
