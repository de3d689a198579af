//! Affine maps and layer norms of the tower, in burn operations or over packed weights.

use burn::tensor::{Device, Tensor, TensorData};
use twn_kernels::{Decoder, Matrix, Precision, Source};

use super::config::PREFIX;
use crate::{
    checkpoint::{HostTensor, TensorSource},
    error::EncoderError,
};

/// Added to the variance under the root; the same for every tower of the family.
const NORM_EPS: f64 = 1e-6;

/// Where weights come from and how they are kept.
pub(super) struct Loader<'a> {
    pub(super) tensors: &'a dyn TensorSource,
    pub(super) device: &'a Device,
    /// `None` keeps f32 on the device.
    pub(super) packed: Option<Precision>,
}

/// An affine map.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Weight,
    /// `[1, out]`.
    bias: Tensor<2>,
}

#[derive(Debug)]
enum Weight {
    /// `[in, out]`, a view of `[out, in]`.
    Dense(Tensor<2>),
    Packed(Matrix),
}

/// Normalises rows to mean 0 and variance 1, then scales and shifts the columns.
#[derive(Debug)]
pub(super) struct LayerNorm {
    /// `[1, width]`.
    scale: Tensor<2>,
    /// `[1, width]`.
    shift: Tensor<2>,
}

impl Loader<'_> {
    /// Reads an affine map; whatever the shape of its weight, its values are `[out, in]`.
    pub(super) fn linear(
        &self,
        name: &str,
        outputs: usize,
        inputs: usize,
    ) -> Result<Linear, EncoderError> {
        let HostTensor { shape, values } =
            self.tensors.tensor(&format!("{PREFIX}{name}.weight"))?;
        if shape.first() != Some(&outputs) || values.len() != outputs * inputs {
            return Err(EncoderError::Internal {
                problem: format!("{name} has shape {shape:?}, expected [{outputs}, {inputs}]"),
            });
        }
        let weight = match self.packed {
            None => {
                let data = TensorData::new(values, [outputs, inputs]);
                Weight::Dense(Tensor::<2>::from_data(data, self.device).transpose())
            }
            Some(precision) => {
                let source = Source::dense(outputs, inputs, values);
                Weight::Packed(Matrix::pack(&[source], precision).map_err(|error| {
                    EncoderError::Internal { problem: format!("packing {name}: {error}") }
                })?)
            }
        };
        Ok(Linear { weight, bias: self.row(&format!("{name}.bias"), outputs)? })
    }

    pub(super) fn norm(&self, name: &str, width: usize) -> Result<LayerNorm, EncoderError> {
        Ok(LayerNorm {
            scale: self.row(&format!("{name}.weight"), width)?,
            shift: self.row(&format!("{name}.bias"), width)?,
        })
    }

    /// Reads a vector as `[1, width]`.
    fn row(&self, name: &str, width: usize) -> Result<Tensor<2>, EncoderError> {
        self.matrix(name, [1, width])
    }

    /// Reads a tensor with as many values as `shape` has.
    pub(super) fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<Tensor<2>, EncoderError> {
        let host = self.tensors.tensor(&format!("{PREFIX}{name}"))?;
        if host.values.len() != shape[0] * shape[1] {
            return Err(EncoderError::Internal {
                problem: format!("{name} has shape {:?}, expected {shape:?}", host.shape),
            });
        }
        Ok(Tensor::from_data(TensorData::new(host.values, shape), self.device))
    }
}

impl Linear {
    /// Maps rows; packed weights run on the decoder's threads.
    ///
    /// # Panics
    /// Panics when weights are packed and there is no decoder.
    pub(super) fn apply(&self, rows: Tensor<2>, decoder: Option<&Decoder>) -> Tensor<2> {
        let products = match &self.weight {
            Weight::Dense(weight) => rows.matmul(weight.clone()),
            Weight::Packed(matrix) => {
                let decoder = decoder.expect("packed weights come with a packed decoder");
                let [count, _] = rows.dims();
                let data = rows.into_data();
                let values = data.try_to_vec::<f32>().expect("states on the CPU are f32");
                let products = decoder.multiply(matrix, &values);
                let shape = [count, products.len() / count.max(1)];
                Tensor::from_data(TensorData::new(products, shape), &self.bias.device())
            }
        };
        products + self.bias.clone()
    }

    /// Bytes of packed weights.
    pub(super) fn packed_bytes(&self) -> usize {
        match &self.weight {
            Weight::Dense(_) => 0,
            Weight::Packed(matrix) => matrix.bytes(),
        }
    }
}

impl LayerNorm {
    pub(super) fn apply(&self, rows: Tensor<2>) -> Tensor<2> {
        let centred = rows.clone() - rows.mean_dim(1);
        let variance = centred.clone().square().mean_dim(1);
        let factor = variance.add_scalar(NORM_EPS).sqrt().recip();
        centred * factor * self.scale.clone() + self.shift.clone()
    }
}
