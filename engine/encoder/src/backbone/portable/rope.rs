//! Rotary position embedding in the rotate-half layout of Hugging Face's models.
//!
//! Element `i` of a head turns with element `i + head_dim / 2` by the angle
//! `position / theta^(2 i / head_dim)`.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::{BackboneConfig, Position, passes};
use crate::backbone::positions::rotary_factors;

/// Cosines and sines for every position, `[positions, head_dim]`.
#[derive(Debug)]
pub(super) struct Rope {
    cos: Tensor<2>,
    /// The first half of the columns is negated, so that rotating is one multiply-add
    /// with the halves swapped.
    sin: Tensor<2>,
    positions: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

/// The factors for the rows of one forward pass, over queries and keys side by side:
/// `[T, (heads + kv_heads) * head_dim]`. The queries' columns carry attention's
/// `1 / sqrt(head_dim)` as well.
#[derive(Debug)]
pub(super) struct Rotation {
    cos: Tensor<2>,
    sin: Tensor<2>,
    head_dim: usize,
}

impl Rope {
    /// Makes the tables; angles are computed in f64.
    pub(super) fn new(config: &BackboneConfig, positions: usize, device: &Device) -> Self {
        let half = config.head_dim / 2;
        let frequency = |i: usize| {
            f64::from(config.rope_theta).powf(-(2.0 * i as f64) / config.head_dim as f64)
        };
        let mut cos = Vec::with_capacity(positions * config.head_dim);
        let mut sin = Vec::with_capacity(positions * config.head_dim);
        for position in 0..positions {
            for column in 0..config.head_dim {
                let angle = position as f64 * frequency(column % half);
                let sign = if column < half { -1.0 } else { 1.0 };
                cos.push(angle.cos() as f32);
                sin.push((sign * angle.sin()) as f32);
            }
        }
        let shape = [positions, config.head_dim];
        Self {
            cos: Tensor::from_data(TensorData::new(cos, shape), device),
            sin: Tensor::from_data(TensorData::new(sin, shape), device),
            positions,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
        }
    }

    /// Positions there are.
    pub(super) fn positions(&self) -> usize {
        self.positions
    }

    /// Looks up the factors for rows at `positions`. Made once per pass, for all layers.
    pub(super) fn rotation(&self, positions: &[usize]) -> Rotation {
        assert!(
            positions.iter().all(|&position| position < self.positions),
            "positions lie within the rotary tables"
        );
        let indices: Vec<i32> = positions.iter().map(|&position| position as i32).collect();
        let indices = TensorData::new(indices, [positions.len()]);
        let indices = Tensor::<1, Int>::from_data(indices, &self.cos.device());
        let rows = |table: &Tensor<2>| table.clone().select(0, indices.clone());
        self.spread(rows(&self.cos), rows(&self.sin))
    }

    /// Computes the factors for rows at positions on several axes.
    pub(super) fn rotation_on_axes(
        &self,
        config: &BackboneConfig,
        positions: &[Position],
    ) -> Rotation {
        let (cos, sin) = rotary_factors(config, positions);
        let tensor = |values: Vec<f32>| {
            let data = TensorData::new(values, [positions.len(), self.head_dim / 2]);
            Tensor::<2>::from_data(data, &self.cos.device())
        };
        let (cos, sin) = (tensor(cos), tensor(sin));
        self.spread(
            Tensor::cat(vec![cos.clone(), cos], 1),
            Tensor::cat(vec![sin.clone().neg(), sin], 1),
        )
    }

    /// Repeats `[T, head_dim]` factors for every head.
    fn spread(&self, cos: Tensor<2>, sin: Tensor<2>) -> Rotation {
        let scale = 1.0 / (self.head_dim as f32).sqrt();
        let spread = |rows: Tensor<2>| {
            let queries = rows.clone().mul_scalar(scale).repeat_dim(1, self.heads);
            Tensor::cat(vec![queries, rows.repeat_dim(1, self.kv_heads)], 1)
        };
        Rotation { cos: spread(cos), sin: spread(sin), head_dim: self.head_dim }
    }
}

impl Rotation {
    /// Turns queries and keys, `[T, (heads + kv_heads) * head_dim]`.
    pub(super) fn apply(&self, rows: Tensor<2>) -> Tensor<2> {
        passes::turn(rows, self.cos.clone(), self.sin.clone(), self.head_dim)
    }
}
