//! The embedding queries: learned tokens that read the prompt through attention.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::{
    adapter::{HostTensors, parameter, to_host},
    checkpoint::HostTensor,
};

/// Name in `head.safetensors`.
const TENSOR: &str = "queries";

/// Learned input embeddings, `[K, hidden]`.
#[derive(Module, Debug)]
pub struct Queries {
    /// One row a query.
    pub rows: Param<Tensor<2>>,
}

impl Queries {
    /// Draws small queries: Gaussian with standard deviation 0.02.
    pub(crate) fn fresh(
        count: usize,
        hidden: usize,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let values = (0..count * hidden).map(|_| 0.02 * gaussian(rng)).collect();
        Self { rows: parameter(HostTensor { shape: vec![count, hidden], values }, device) }
    }

    /// Takes the queries out of a head's tensors.
    pub(crate) fn take(
        tensors: &mut HostTensors,
        count: usize,
        hidden: usize,
        device: &Device,
    ) -> Result<Self, String> {
        let rows = take_tensor(tensors, TENSOR, &[count, hidden])?;
        Ok(Self { rows: parameter(rows, device) })
    }

    /// Puts the queries into a head's tensors.
    pub(crate) fn put(&self, tensors: &mut HostTensors) {
        tensors.insert(TENSOR.to_owned(), to_host(&self.rows));
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.rows.dims()[0]
    }

    /// Lays the queries out `times` times, one set after another: `[times * K, hidden]`.
    pub fn repeated(&self, times: usize) -> Tensor<2> {
        self.rows.val().repeat_dim(0, times)
    }
}

/// Takes a tensor of exactly `shape` out of a head's tensors.
pub(crate) fn take_tensor(
    tensors: &mut HostTensors,
    name: &str,
    shape: &[usize],
) -> Result<HostTensor, String> {
    match tensors.remove(name) {
        Some(tensor) if tensor.shape == shape => Ok(tensor),
        Some(tensor) => {
            Err(format!("tensor {name} has shape {:?}, expected {shape:?}", tensor.shape))
        }
        None => Err(format!("tensor {name} is missing")),
    }
}

/// Draws from the standard normal distribution by Box and Muller's method.
fn gaussian(rng: &mut ChaCha8Rng) -> f32 {
    let (radius, angle) = (1.0 - rng.random::<f32>(), rng.random::<f32>());
    (-2.0 * radius.ln()).sqrt() * (std::f32::consts::TAU * angle).cos()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn fresh_queries_are_small_and_follow_the_seed() {
        let draw = |seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            to_host(&Queries::fresh(8, 64, &mut rng, &Device::flex()).rows).values
        };
        let values = draw(1);
        assert_eq!(values, draw(1));
        assert_ne!(values, draw(2));
        let deviation = (values.iter().map(|v| v * v).sum::<f32>() / 512.0).sqrt();
        assert!((0.017..0.023).contains(&deviation), "{deviation}");
    }
}
