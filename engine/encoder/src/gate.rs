//! The gate: from the direct embedding's query states to P(thinking helps).

use burn::{
    module::{Module, Param},
    tensor::{
        Device, Tensor,
        activation::{gelu, sigmoid},
    },
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::{
    adapter::{HostTensors, parameter, to_host},
    checkpoint::HostTensor,
    queries::take_tensor,
};

/// Inner width of a fresh gate.
const WIDTH: usize = 64;
/// The most inner units a gate's file may have.
const WIDTH_MAX: usize = 4096;

/// A network with one hidden layer on the mean of the query states:
/// `sigmoid(w2 · gelu(W1 x + b1) + b2)`.
#[derive(Module, Debug)]
pub struct Gate {
    /// `W1`, `[width, hidden]`.
    pub inner_weight: Param<Tensor<2>>,
    /// `b1`, `[width]`.
    pub inner_bias: Param<Tensor<1>>,
    /// `w2`, `[1, width]`.
    pub outer_weight: Param<Tensor<2>>,
    /// `b2`, `[1]`.
    pub outer_bias: Param<Tensor<1>>,
}

impl Gate {
    /// Makes a gate whose last layer is zero: it scores every input exactly 0.5, which is
    /// not above the default threshold, so that an untrained gate abstains.
    pub(crate) fn fresh(hidden: usize, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let bound = 1.0 / (hidden as f32).sqrt();
        let inner = (0..WIDTH * hidden).map(|_| rng.random_range(-bound..bound)).collect();
        let zeros = |shape: &[usize]| HostTensor {
            shape: shape.to_vec(),
            values: vec![0.0; shape.iter().product()],
        };
        Self {
            inner_weight: parameter(
                HostTensor { shape: vec![WIDTH, hidden], values: inner },
                device,
            ),
            inner_bias: parameter(zeros(&[WIDTH]), device),
            outer_weight: parameter(zeros(&[1, WIDTH]), device),
            outer_bias: parameter(zeros(&[1]), device),
        }
    }

    /// Takes the gate out of a head's tensors; its width is what the file has.
    pub(crate) fn take(
        tensors: &mut HostTensors,
        hidden: usize,
        device: &Device,
    ) -> Result<Self, String> {
        let width = tensors
            .get("gate.inner.bias")
            .and_then(|bias| bias.shape.first().copied())
            .ok_or("tensor gate.inner.bias is missing")?;
        if !(1..=WIDTH_MAX).contains(&width) {
            return Err(format!("the gate has width {width}, must be 1 to {WIDTH_MAX}"));
        }
        let mut take = |name: &str, shape: &[usize]| take_tensor(tensors, name, shape);
        Ok(Self {
            inner_weight: parameter(take("gate.inner.weight", &[width, hidden])?, device),
            inner_bias: parameter(take("gate.inner.bias", &[width])?, device),
            outer_weight: parameter(take("gate.outer.weight", &[1, width])?, device),
            outer_bias: parameter(take("gate.outer.bias", &[1])?, device),
        })
    }

    /// Puts the gate into a head's tensors.
    pub(crate) fn put(&self, tensors: &mut HostTensors) {
        tensors.insert("gate.inner.weight".to_owned(), to_host(&self.inner_weight));
        tensors.insert("gate.inner.bias".to_owned(), to_host(&self.inner_bias));
        tensors.insert("gate.outer.weight".to_owned(), to_host(&self.outer_weight));
        tensors.insert("gate.outer.bias".to_owned(), to_host(&self.outer_bias));
    }

    /// Scores inputs by their query states, `[inputs, K, hidden]` after the final norm:
    /// `[inputs]`, each in [0, 1].
    pub fn score(&self, query_states: Tensor<3>) -> Tensor<1> {
        let mean = query_states.mean_dim(1).squeeze_dim::<2>(1);
        let inner = mean.matmul(self.inner_weight.val().transpose());
        let inner = gelu(inner + self.inner_bias.val().unsqueeze());
        let outer = inner.matmul(self.outer_weight.val().transpose());
        sigmoid(outer + self.outer_bias.val().unsqueeze()).squeeze_dim(1)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use rand::SeedableRng;

    use super::*;

    fn states() -> Tensor<3> {
        let values: Vec<f32> = (0..2 * 3 * 4).map(|i| (i as f32).sin()).collect();
        Tensor::from_data(TensorData::new(values, [2, 3, 4]), &Device::flex())
    }

    fn scores(gate: &Gate) -> Vec<f32> {
        gate.score(states()).into_data().try_to_vec().expect("f32")
    }

    #[test]
    fn a_fresh_gate_abstains() {
        let gate = Gate::fresh(4, &mut ChaCha8Rng::seed_from_u64(3), &Device::flex());
        assert_eq!(scores(&gate), [0.5, 0.5]);
    }

    #[test]
    fn score_is_the_sigmoid_of_the_network() {
        let device = Device::flex();
        let tensor = |shape: &[usize], values: &[f32]| HostTensor {
            shape: shape.to_vec(),
            values: values.to_vec(),
        };
        let mut tensors = HostTensors::from([
            ("gate.inner.weight".to_owned(), tensor(&[1, 4], &[1.0, 0.0, 0.0, 0.0])),
            ("gate.inner.bias".to_owned(), tensor(&[1], &[0.25])),
            ("gate.outer.weight".to_owned(), tensor(&[1, 1], &[2.0])),
            ("gate.outer.bias".to_owned(), tensor(&[1], &[-1.0])),
        ]);
        let gate = Gate::take(&mut tensors, 4, &device).expect("complete");
        assert!(tensors.is_empty());
        // The first column of the first input: sin 0, sin 4, sin 8.
        let x = (0.0_f64 + 4.0_f64.sin() + 8.0_f64.sin()) / 3.0 + 0.25;
        // gelu by its definition, with the normal distribution at x = 0.3275 as a series.
        let phi =
            0.5 + (x - x.powi(3) / 6.0 + x.powi(5) / 40.0) / (2.0 * std::f64::consts::PI).sqrt();
        let want = 1.0 / (1.0 + (-(2.0 * x * phi - 1.0)).exp());
        assert!((f64::from(scores(&gate)[0]) - want).abs() < 1e-5, "{want}");
    }

    #[test]
    fn an_incomplete_gate_is_refused() {
        let mut tensors = HostTensors::new();
        Gate::fresh(4, &mut ChaCha8Rng::seed_from_u64(3), &Device::flex()).put(&mut tensors);
        tensors.remove("gate.outer.bias");
        let problem = Gate::take(&mut tensors, 4, &Device::flex()).expect_err("incomplete");
        assert!(problem.contains("gate.outer.bias"), "{problem}");
    }
}
