//! A gate's linear layers, out of tensors whose names nobody has written down.

use burn::tensor::Device;

use super::parameter;
use crate::{
    checkpoint::HostTensor,
    gate::{Gate, GateForm, MIDDLE_MAX, WIDTH_MAX},
    pooling::Projection,
};

/// One linear layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GateLayer {
    /// What comes before `weight` in its tensor's name.
    pub(super) name: String,
    /// `[out, in]`.
    pub(super) weight: HostTensor,
    /// `[out]`; zero where the file has none.
    pub(super) bias: HostTensor,
}

/// The layers of a gate, checked against each other.
#[derive(Debug)]
pub(super) struct GateParts {
    inner: GateLayer,
    middle: Vec<GateLayer>,
    outer: GateLayer,
}

/// Gathers the linear layers in the tensors' order.
pub(super) fn layers(tensors: Vec<(String, HostTensor)>) -> Result<Vec<GateLayer>, String> {
    let mut layers: Vec<GateLayer> = Vec::new();
    let mut biases = Vec::new();
    for (full, tensor) in tensors {
        let name = |suffix: &str| {
            let name = full.strip_suffix(suffix)?;
            (name.is_empty() || name.ends_with('.')).then(|| name.to_owned())
        };
        let shape = &tensor.shape;
        if let Some(name) = name("weight") {
            let &[out, _] = &shape[..] else {
                return Err(format!(
                    "tensor `{full}` has shape {shape:?}, expected a matrix: gates of linear \
                     layers are supported"
                ));
            };
            let bias = HostTensor { shape: vec![out], values: vec![0.0; out] };
            layers.push(GateLayer { name, weight: tensor, bias });
        } else if let Some(name) = name("bias") {
            biases.push((name, full, tensor));
        } else {
            return Err(format!(
                "tensor `{full}` of shape {shape:?} is neither weight nor bias of a linear layer"
            ));
        }
    }
    for (name, full, bias) in biases {
        let Some(layer) = layers.iter_mut().find(|layer| layer.name == name) else {
            return Err(format!("tensor `{full}` has no weight beside it"));
        };
        let want = &layer.weight.shape[..1];
        if bias.shape != want {
            return Err(format!("tensor `{full}` has shape {:?}, expected {want:?}", bias.shape));
        }
        layer.bias = bias;
    }
    if !(1..=MIDDLE_MAX + 2).contains(&layers.len()) {
        let most = MIDDLE_MAX + 2;
        return Err(format!("has {} linear layers, 1 to {most} are supported", layers.len()));
    }
    Ok(layers)
}

impl GateParts {
    /// Checks that the layers follow one another from `input` numbers to one or two.
    ///
    /// Of two outputs the second is taken to say that thinking helps: softmax of the two is
    /// the sigmoid of their difference. One layer becomes two, the second of which changes
    /// nothing.
    pub(super) fn new(mut layers: Vec<GateLayer>, input: usize) -> Result<Self, String> {
        let mut width = input;
        let last = layers.len().saturating_sub(1);
        for (index, layer) in layers.iter().enumerate() {
            let shape = &layer.weight.shape;
            let fits = match index == last {
                true => matches!(shape[0], 1 | 2),
                false => (1..=WIDTH_MAX).contains(&shape[0]),
            };
            if !fits || shape[1] != width {
                let out = if index == last { "1 or 2" } else { "width" };
                return Err(format!(
                    "tensor `{}weight` has shape {shape:?}, expected [{out}, {width}]",
                    layer.name
                ));
            }
            width = shape[0];
        }
        let Some(mut outer) = layers.pop() else { return Err("has no layer".to_owned()) };
        if outer.weight.shape[0] == 2 {
            let (first, second) = outer.weight.values.split_at(width_of(&outer));
            outer.weight = HostTensor {
                shape: vec![1, first.len()],
                values: second.iter().zip(first).map(|(yes, no)| yes - no).collect(),
            };
            let bias = outer.bias.values[1] - outer.bias.values[0];
            outer.bias = HostTensor { shape: vec![1], values: vec![bias] };
        }
        if layers.is_empty() {
            let one = HostTensor { shape: vec![1, 1], values: vec![1.0] };
            let zero = HostTensor { shape: vec![1], values: vec![0.0] };
            layers.push(outer);
            outer = GateLayer { name: String::new(), weight: one, bias: zero };
        }
        let inner = layers.remove(0);
        Ok(Self { inner, middle: layers, outer })
    }

    /// Puts the gate on a device.
    pub(super) fn load(self, form: GateForm, device: &Device) -> Gate {
        let middle = self.middle.into_iter();
        Gate {
            inner_weight: parameter(self.inner.weight, device),
            inner_bias: parameter(self.inner.bias, device),
            middle: middle.map(|layer| Projection::new(layer.weight, layer.bias, device)).collect(),
            outer_weight: parameter(self.outer.weight, device),
            outer_bias: parameter(self.outer.bias, device),
            form,
        }
    }
}

fn width_of(layer: &GateLayer) -> usize {
    layer.weight.shape[1]
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Tensor, TensorData};

    use super::*;

    fn tensor(shape: &[usize], values: &[f32]) -> HostTensor {
        HostTensor { shape: shape.to_vec(), values: values.to_vec() }
    }

    fn named(tensors: &[(&str, HostTensor)]) -> Vec<(String, HostTensor)> {
        tensors.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect()
    }

    #[track_caller]
    fn check_refused(tensors: &[(&str, HostTensor)], want: &str) {
        let problem = layers(named(tensors)).and_then(|layers| GateParts::new(layers, 2));
        let problem = problem.expect_err("refused");
        assert!(problem.contains(want), "{problem}");
    }

    /// The score of a gate on one state of two numbers.
    fn score(tensors: &[(&str, HostTensor)], state: [f32; 2], form: GateForm) -> f32 {
        let layers = layers(named(tensors)).expect("linear layers");
        let gate = GateParts::new(layers, 2).expect("fit").load(form, &Device::flex());
        let states = TensorData::new(state.to_vec(), [1, 1, 2]);
        gate.score(Tensor::from_data(states, &Device::flex())).into_scalar()
    }

    fn sigmoid(x: f32) -> f32 {
        1.0 / (1.0 + (-x).exp())
    }

    #[test]
    fn one_layer_and_two_outputs_are_what_they_say() {
        use crate::gate::GateActivation;
        let form = |activation| GateForm { activation, ..GateForm::default() };
        let one = [("weight", tensor(&[1, 2], &[2.0, -1.0])), ("bias", tensor(&[1], &[0.5]))];
        let got = score(&one, [1.5, 1.0], form(GateActivation::Identity));
        assert!((got - sigmoid(2.5)).abs() < 1e-6, "{got}");
        let two = [
            ("0.weight", tensor(&[1, 2], &[1.0, 1.0])),
            ("2.weight", tensor(&[2, 1], &[0.5, 2.0])),
            ("2.bias", tensor(&[2], &[1.0, -1.0])),
        ];
        let got = score(&two, [1.0, 2.0], form(GateActivation::Relu));
        let (no, yes) = ((0.5_f32 * 3.0 + 1.0).exp(), (2.0_f32 * 3.0 - 1.0).exp());
        assert!((got - yes / (yes + no)).abs() < 1e-6, "{got}");
        assert_eq!(score(&two, [-1.0, -2.0], form(GateActivation::Relu)), sigmoid(-2.0));
        let three = [
            ("a.weight", tensor(&[1, 2], &[1.0, 0.0])),
            ("b.weight", tensor(&[2, 1], &[1.0, -1.0])),
            ("c.weight", tensor(&[1, 2], &[1.0, 1.0])),
        ];
        let got = score(&three, [0.5, 9.0], form(GateActivation::Tanh));
        assert_eq!(got, 0.5, "tanh is odd");
        let got = score(&three, [0.5, 9.0], form(GateActivation::Relu));
        assert!((got - sigmoid(0.5)).abs() < 1e-6, "{got}");
    }

    #[test]
    fn what_is_no_chain_of_linear_layers_is_refused() {
        let ok = || tensor(&[1, 2], &[0.0; 2]);
        check_refused(&[("0.weight", tensor(&[2], &[1.0; 2]))], "`0.weight` has shape [2]");
        check_refused(&[("weight", ok()), ("gamma", ok())], "`gamma` of shape [1, 2]");
        check_refused(&[("bias", tensor(&[1], &[0.0]))], "no weight beside it");
        check_refused(&[("weight", ok()), ("bias", ok())], "shape [1, 2], expected [1]");
        check_refused(&[("weight", tensor(&[1, 3], &[0.0; 3]))], "[1, 3], expected [1 or 2, 2]");
        check_refused(
            &[("0.weight", tensor(&[4, 2], &[0.0; 8])), ("2.weight", tensor(&[1, 3], &[0.0; 3]))],
            "`2.weight` has shape [1, 3], expected [1 or 2, 4]",
        );
        check_refused(&[("weight", tensor(&[3, 2], &[0.0; 6]))], "[3, 2], expected [1 or 2, 2]");
        check_refused(&[], "has 0 linear layers");
    }
}
