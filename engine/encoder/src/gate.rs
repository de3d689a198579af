//! The gate: from the direct embedding's query states to P(thinking helps).

use burn::{
    module::{Module, Param},
    tensor::{
        Device, Tensor,
        activation::{gelu, gelu_approximate, relu, sigmoid, silu, tanh},
    },
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    adapter::{HostTensors, parameter, to_host},
    checkpoint::HostTensor,
    pooling::Projection,
    queries::take_tensor,
};

/// Inner width of a fresh gate.
const WIDTH: usize = 64;
/// Added to mean squares before their root is taken, so that it is never zero.
const RMS_EPSILON: f32 = 1e-6;
/// The most inner units a gate's file may have.
pub(crate) const WIDTH_MAX: usize = 16_384;
/// The most layers between the first and the last that a gate's file may have.
pub(crate) const MIDDLE_MAX: usize = 6;

/// What a gate reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateInput {
    /// The mean of the query states, `hidden` wide.
    #[default]
    QueriesMean,
    /// The query states end to end, `K * hidden` wide.
    Queries,
}

/// What stands between a gate's layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateActivation {
    /// `x Φ(x)`.
    #[default]
    Gelu,
    /// Its approximation by tanh.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `x sigmoid(x)`.
    Silu,
    /// The hyperbolic tangent.
    Tanh,
    /// Nothing: the gate is linear.
    Identity,
}

/// How a gate's weights are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GateForm {
    /// What it reads.
    pub input: GateInput,
    /// What stands between its layers.
    pub activation: GateActivation,
    /// After how many of the backbone's layers the states are read, each scaled to a root mean
    /// square of 1; `None` reads them after the final norm.
    pub depth: Option<usize>,
}

/// A small network on the query states. As it is trained here, it has one hidden layer on
/// their mean: `sigmoid(w2 · gelu(W1 x + b1) + b2)`. Gates from elsewhere may have more
/// layers and another form.
#[derive(Module, Debug)]
pub struct Gate {
    /// `W1`, `[width, input]`.
    pub inner_weight: Param<Tensor<2>>,
    /// `b1`, `[width]`.
    pub inner_bias: Param<Tensor<1>>,
    /// Layers in between; mostly none.
    pub middle: Vec<Projection>,
    /// `w2`, `[1, width]`.
    pub outer_weight: Param<Tensor<2>>,
    /// `b2`, `[1]`.
    pub outer_bias: Param<Tensor<1>>,
    /// How they are used.
    #[module(skip)]
    pub form: GateForm,
}

impl GateInput {
    /// The name in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::QueriesMean => "queries_mean",
            Self::Queries => "queries",
        }
    }

    /// Numbers that the gate reads from `queries` states of `hidden` numbers each.
    pub(crate) fn width(self, queries: usize, hidden: usize) -> usize {
        match self {
            Self::QueriesMean => hidden,
            Self::Queries => queries.saturating_mul(hidden),
        }
    }
}

impl GateActivation {
    /// The name in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_tanh",
            Self::Relu => "relu",
            Self::Silu => "silu",
            Self::Tanh => "tanh",
            Self::Identity => "identity",
        }
    }

    fn apply(self, rows: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Gelu => gelu(rows),
            Self::GeluTanh => gelu_approximate(rows),
            Self::Relu => relu(rows),
            Self::Silu => silu(rows),
            Self::Tanh => tanh(rows),
            Self::Identity => rows,
        }
    }
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
            middle: Vec::new(),
            outer_weight: parameter(zeros(&[1, WIDTH]), device),
            outer_bias: parameter(zeros(&[1]), device),
            form: GateForm::default(),
        }
    }

    /// Takes a gate that reads `input` numbers out of a head's tensors; its widths are what
    /// the file has.
    pub(crate) fn take(
        tensors: &mut HostTensors,
        input: usize,
        form: GateForm,
        device: &Device,
    ) -> Result<Self, String> {
        let width_of = |tensors: &HostTensors, bias: &str| {
            let bias = tensors.get(bias).ok_or_else(|| format!("tensor {bias} is missing"))?;
            match bias.shape.first() {
                Some(width) if (1..=WIDTH_MAX).contains(width) => Ok(*width),
                _ => Err(format!("the gate has shape {:?}, at most {WIDTH_MAX} wide", bias.shape)),
            }
        };
        let mut width = width_of(tensors, "gate.inner.bias")?;
        let inner_weight = take_tensor(tensors, "gate.inner.weight", &[width, input])?;
        let inner_bias = take_tensor(tensors, "gate.inner.bias", &[width])?;
        let mut middle = Vec::new();
        while tensors.contains_key(&format!("gate.middle.{}.weight", middle.len())) {
            if middle.len() >= MIDDLE_MAX {
                return Err(format!("the gate has more than {} layers", MIDDLE_MAX + 2));
            }
            let name = format!("gate.middle.{}", middle.len());
            let next = width_of(tensors, &format!("{name}.bias"))?;
            let weight = take_tensor(tensors, &format!("{name}.weight"), &[next, width])?;
            let bias = take_tensor(tensors, &format!("{name}.bias"), &[next])?;
            middle.push(Projection::new(weight, bias, device));
            width = next;
        }
        let mut take = |name: &str, shape: &[usize]| take_tensor(tensors, name, shape);
        Ok(Self {
            inner_weight: parameter(inner_weight, device),
            inner_bias: parameter(inner_bias, device),
            middle,
            outer_weight: parameter(take("gate.outer.weight", &[1, width])?, device),
            outer_bias: parameter(take("gate.outer.bias", &[1])?, device),
            form,
        })
    }

    /// Puts the gate into a head's tensors.
    pub(crate) fn put(&self, tensors: &mut HostTensors) {
        tensors.insert("gate.inner.weight".to_owned(), to_host(&self.inner_weight));
        tensors.insert("gate.inner.bias".to_owned(), to_host(&self.inner_bias));
        for (index, layer) in self.middle.iter().enumerate() {
            layer.put(tensors, &format!("gate.middle.{index}"));
        }
        tensors.insert("gate.outer.weight".to_owned(), to_host(&self.outer_weight));
        tensors.insert("gate.outer.bias".to_owned(), to_host(&self.outer_bias));
    }

    /// Scores inputs by their query states, `[inputs, K, hidden]`, as the gate's depth has
    /// them: `[inputs]`, each in [0, 1].
    pub fn score(&self, query_states: Tensor<3>) -> Tensor<1> {
        self.judge(self.read(query_states))
    }

    /// What the gate's first layer is given of query states: `[inputs, width]`.
    pub fn read(&self, query_states: Tensor<3>) -> Tensor<2> {
        let [inputs, count, hidden] = query_states.dims();
        let states = match self.form.depth {
            // A residual stream grows from layer to layer, and some of its rows are long.
            Some(_) => {
                let squares = query_states.clone().square().mean_dim(2);
                query_states / (squares + RMS_EPSILON).sqrt()
            }
            None => query_states,
        };
        match self.form.input {
            GateInput::QueriesMean => states.mean_dim(1).squeeze_dim::<2>(1),
            GateInput::Queries => states.reshape([inputs, count * hidden]),
        }
    }

    /// Scores what [`Self::read`] gave: `[inputs]`, each in [0, 1].
    pub fn judge(&self, read: Tensor<2>) -> Tensor<1> {
        let activation = self.form.activation;
        let inner = read.matmul(self.inner_weight.val().transpose());
        let mut rows = activation.apply(inner + self.inner_bias.val().unsqueeze());
        for layer in &self.middle {
            rows = activation.apply(layer.apply(rows));
        }
        let outer = rows.matmul(self.outer_weight.val().transpose());
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
        let gate = Gate::take(&mut tensors, 4, GateForm::default(), &device).expect("complete");
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
    fn states_between_layers_are_read_at_one_length() {
        let mut gate = Gate::fresh(4, &mut ChaCha8Rng::seed_from_u64(3), &Device::flex());
        gate.form.depth = Some(1);
        let read = |states: Tensor<3>| gate.read(states).into_data().try_to_vec::<f32>().unwrap();
        let (got, scaled) = (read(states()), read(states() * 40.0));
        for (got, scaled) in got.iter().zip(&scaled) {
            assert!((got - scaled).abs() < 1e-4, "{got} {scaled}");
        }
        // The first input's rows: sin of 0 to 3, of 4 to 7 and of 8 to 11.
        let sin = |i: usize| (i as f64).sin();
        let size = |row: usize| (0..4).map(|c| sin(4 * row + c).powi(2) / 4.0).sum::<f64>().sqrt();
        let want = (0..3).map(|row| sin(4 * row) / size(row)).sum::<f64>() / 3.0;
        assert!((f64::from(got[0]) - want).abs() < 1e-5, "{} {want}", got[0]);
    }

    #[test]
    fn an_incomplete_gate_is_refused() {
        let mut tensors = HostTensors::new();
        Gate::fresh(4, &mut ChaCha8Rng::seed_from_u64(3), &Device::flex()).put(&mut tensors);
        tensors.remove("gate.outer.bias");
        let problem = Gate::take(&mut tensors, 4, GateForm::default(), &Device::flex())
            .expect_err("incomplete");
        assert!(problem.contains("gate.outer.bias"), "{problem}");
    }
}
