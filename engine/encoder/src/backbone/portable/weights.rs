//! From host tensors to the device, with shapes checked.

use burn::tensor::{Device, Tensor, TensorData};

use super::norm::RmsNorm;
use crate::{
    checkpoint::{HostTensor, TensorSource},
    error::EncoderError,
};

/// Reads weights.
pub(super) struct Weights<'a> {
    tensors: &'a dyn TensorSource,
    device: &'a Device,
}

impl<'a> Weights<'a> {
    /// Reads from `tensors` onto `device`.
    pub(super) fn new(tensors: &'a dyn TensorSource, device: &'a Device) -> Self {
        Self { tensors, device }
    }

    /// Reads a matrix of exactly `shape`.
    pub(super) fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<Tensor<2>, EncoderError> {
        let host = self.host(name, &shape)?;
        Ok(Tensor::from_data(TensorData::new(host.values, shape), self.device))
    }

    /// Reads matrices of `(name, rows)` and `columns` and stacks their rows.
    pub(super) fn stacked(
        &self,
        parts: &[(String, usize)],
        columns: usize,
    ) -> Result<Tensor<2>, EncoderError> {
        let rows: usize = parts.iter().map(|(_, rows)| rows).sum();
        let mut values = Vec::with_capacity(rows * columns);
        for (name, rows) in parts {
            values.extend(self.host(name, &[*rows, columns])?.values);
        }
        Ok(Tensor::from_data(TensorData::new(values, [rows, columns]), self.device))
    }

    /// Reads the scales of a norm over `width` columns.
    pub(super) fn norm(&self, name: &str, width: usize, eps: f32) -> Result<RmsNorm, EncoderError> {
        let host = self.host(name, &[width])?;
        let data = TensorData::new(host.values, [1, width]);
        Ok(RmsNorm::new(Tensor::from_data(data, self.device), eps))
    }

    fn host(&self, name: &str, shape: &[usize]) -> Result<HostTensor, EncoderError> {
        let host = self.tensors.tensor(name)?;
        if host.shape != shape || host.values.len() != shape.iter().product::<usize>() {
            return Err(EncoderError::Internal {
                problem: format!("tensor {name} has shape {:?}, expected {shape:?}", host.shape),
            });
        }
        Ok(host)
    }
}
