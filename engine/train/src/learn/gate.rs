//! Fitting the gate: from a query's direct states to P(thinking helps).
//!
//! The labels cost nobody's judgement: a query was embedded directly and after a thought,
//! and either the thought widened the positive's lead or it did not.

use burn::{
    module::Param,
    tensor::{Device, Tensor, TensorData},
};
use twn_encoder::{Gate, Projection};

use super::{AdamW, AdamWOptions, ParameterGradients, TrainError};

/// How to fit a gate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GateFit {
    /// Passes over all examples.
    pub epochs: usize,
    /// Learning rate, constant.
    pub learning_rate: f64,
    /// Decay of the weights, times the learning rate.
    pub weight_decay: f64,
    /// Share of the examples, the last ones, that only measure: the epoch whose loss on
    /// them is least is kept.
    pub held_out: f64,
}

impl Default for GateFit {
    fn default() -> Self {
        Self { epochs: 300, learning_rate: 2e-3, weight_decay: 0.05, held_out: 0.2 }
    }
}

/// What a fit saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GateFitted {
    /// Binary cross-entropy on the examples that were held out.
    pub loss: f32,
    /// The epoch that was kept.
    pub epoch: usize,
}

/// Fits `gate` to `labels` of `inputs`, as [`Encoder::gate_inputs`] gives them. The inputs
/// are standardised, and the standardisation is folded into the first layer.
///
/// # Errors
/// Fails when there are no examples of both kinds, or the loss is not finite.
///
/// [`Encoder::gate_inputs`]: twn_encoder::Encoder::gate_inputs
pub fn fit_gate(
    gate: Gate,
    inputs: &[Vec<f32>],
    labels: &[bool],
    fit: &GateFit,
) -> Result<(Gate, GateFitted), TrainError> {
    if inputs.len() != labels.len() || !labels.contains(&true) || !labels.contains(&false) {
        return Err(TrainError::no_gate("it needs queries that thinking helps, and others"));
    }
    let width = gate.inner_weight.dims()[1];
    if inputs.iter().any(|row| row.len() != width) {
        return Err(TrainError::recipe("the inputs are not what the gate reads"));
    }
    let device = Device::flex().autodiff();
    let standard = Standard::of(inputs);
    let held = ((inputs.len() as f64 * fit.held_out) as usize).clamp(1, inputs.len() - 1);
    let split = inputs.len() - held;
    let table = |range: std::ops::Range<usize>| {
        let rows: Vec<f32> =
            inputs[range.clone()].iter().flat_map(|row| standard.apply(row)).collect();
        let wanted = labels[range.clone()].iter().map(|&label| f32::from(label)).collect();
        let shape = [range.len(), standard.mean.len()];
        let rows = Tensor::<2>::from_data(TensorData::new(rows, shape), &device);
        let wanted: Vec<f32> = wanted;
        let wanted = Tensor::<1>::from_data(TensorData::new(wanted, [range.len()]), &device);
        (rows, wanted)
    };
    let (learn, held) = (table(0..split), table(split..inputs.len()));
    let mut gate = Gate {
        inner_weight: learning(gate.inner_weight, &device),
        inner_bias: learning(gate.inner_bias, &device),
        middle: gate
            .middle
            .into_iter()
            .map(|layer| Projection {
                weight: learning(layer.weight, &device),
                bias: learning(layer.bias, &device),
            })
            .collect(),
        form: gate.form,
        outer_weight: learning(gate.outer_weight, &device),
        outer_bias: learning(gate.outer_bias, &device),
    };
    let options = AdamWOptions { weight_decay: fit.weight_decay, ..AdamWOptions::default() };
    let mut optimizer = AdamW::new(options);
    let mut best = (gate.clone(), GateFitted { loss: f32::INFINITY, epoch: 0 });
    for epoch in 1..=fit.epochs {
        let loss = cross_entropy(&gate, &learn);
        let gradients = ParameterGradients::take(&gate, &mut loss.backward());
        (gate, _) = optimizer.step(gate, gradients, fit.learning_rate);
        let loss = cross_entropy(&gate, &held).into_scalar::<f32>();
        if !loss.is_finite() {
            return Err(TrainError::Diverged { stage: "gate".to_owned(), step: epoch, loss });
        }
        if loss < best.1.loss {
            best = (gate.clone(), GateFitted { loss, epoch });
        }
    }
    let (gate, fitted) = best;
    Ok((standard.fold(gate), fitted))
}

/// A parameter's values as one that learns on `device`.
fn learning<const D: usize>(param: Param<Tensor<D>>, device: &Device) -> Param<Tensor<D>> {
    param.map(|tensor| Tensor::from_data(tensor.into_data(), device).require_grad())
}

/// Mean binary cross-entropy.
fn cross_entropy(gate: &Gate, (rows, wanted): &(Tensor<2>, Tensor<1>)) -> Tensor<1> {
    let score = gate.judge(rows.clone()).clamp(1e-6, 1.0 - 1e-6);
    let other = score.clone().neg().add_scalar(1.0);
    let against = wanted.clone().neg().add_scalar(1.0);
    (wanted.clone() * score.log() + against * other.log()).mean().neg()
}

/// Means and inverse deviations of the columns.
struct Standard {
    mean: Vec<f32>,
    inverse: Vec<f32>,
}

impl Standard {
    fn of(rows: &[Vec<f32>]) -> Self {
        let (count, width) = (rows.len() as f64, rows[0].len());
        let average =
            |value: &dyn Fn(&Vec<f32>) -> f64| rows.iter().map(value).sum::<f64>() / count;
        let mean: Vec<f64> = (0..width).map(|c| average(&|row| f64::from(row[c]))).collect();
        let variance = |c: usize| average(&|row| (f64::from(row[c]) - mean[c]).powi(2));
        let inverse = (0..width).map(|c| 1.0 / (variance(c).sqrt() + 1e-6));
        Self {
            inverse: inverse.map(|value| value as f32).collect(),
            mean: mean.iter().map(|&value| value as f32).collect(),
        }
    }

    fn apply(&self, row: &[f32]) -> Vec<f32> {
        let columns = row.iter().zip(&self.mean).zip(&self.inverse);
        columns.map(|((value, mean), inverse)| (value - mean) * inverse).collect()
    }

    /// Makes a gate over standardised inputs one over the inputs themselves:
    /// `W ((x - m) * s) + b = (W s) x + (b - (W s) m)`.
    fn fold(&self, mut gate: Gate) -> Gate {
        let device = gate.inner_weight.val().device();
        let row = |values: &[f32]| {
            let data = TensorData::new(values.to_vec(), [1, values.len()]);
            Tensor::<2>::from_data(data, &device)
        };
        let (inverse, mean) = (row(&self.inverse), row(&self.mean));
        let scaled = gate.inner_weight.val() * inverse;
        let shift = scaled.clone().matmul(mean.transpose()).squeeze_dim::<1>(1);
        let bias = gate.inner_bias.val() - shift;
        gate.inner_weight = gate.inner_weight.map(|_| scaled.detach());
        gate.inner_bias = gate.inner_bias.map(|_| bias.detach());
        gate
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;

    use super::*;

    /// A gate as fresh adapters have it, for states of 4 values.
    fn fresh() -> Gate {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let tiny = folder.join("../encoder/tests/fixtures/tiny-llama");
        let checkpoint = twn_encoder::model::open(&tiny).expect("the tiny model opens");
        let device = Device::flex();
        twn_encoder::adapter::Adapters::fresh(&checkpoint, 100_000, 1, &device).gate
    }

    #[test]
    fn a_gate_learns_what_can_be_told() {
        let value = |i: usize, c: usize| ((i * 131 + c * 17) % 89) as f32 / 8.9 + 3.0;
        let inputs: Vec<Vec<f32>> =
            (0..300).map(|i| (0..64).map(|c| value(i, c)).collect()).collect();
        let labels: Vec<bool> = inputs.iter().map(|row| row[3] > 8.0).collect();
        let (gate, fitted) =
            fit_gate(fresh(), &inputs, &labels, &GateFit::default()).expect("fits");
        assert!(fitted.loss < 0.3, "{fitted:?}");
        // On the inputs as they are, without standardising.
        let flat: Vec<f32> = inputs.concat();
        let rows = Tensor::<2>::from_data(TensorData::new(flat, [300, 64]), &Device::flex());
        let scores = gate.valid().judge(rows).into_data().try_to_vec::<f32>().expect("f32");
        let right = scores.iter().zip(&labels).filter(|(score, label)| (**score > 0.5) == **label);
        assert!(right.count() > 270);
    }

    #[test]
    fn a_gate_needs_both_kinds() {
        let inputs = vec![vec![0.0; 64]; 4];
        assert!(fit_gate(fresh(), &inputs, &[true; 4], &GateFit::default()).is_err());
    }
}
