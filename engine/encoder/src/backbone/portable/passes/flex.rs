//! The passes on the CPU, by the kernels.

use burn::backend::{Flex, FlexDevice, TensorMetadata, ops::FloatTensorOps, tensor::FloatTensor};
use burn::tensor::{Shape, TensorData};
use twn_kernels::slopes;

use super::Passes;

type Values = FloatTensor<Flex>;

impl Passes for Flex {
    fn gate(gates: Values, values: Values) -> Values {
        let (gates, values) = (gates.to_contiguous(), values.to_contiguous());
        made(gates.shape(), |out| slopes::gate(slice(&gates), slice(&values), out))
    }

    fn gate_backward(gates: Values, values: Values, slopes: Values) -> (Values, Values) {
        let (gates, values) = (gates.to_contiguous(), values.to_contiguous());
        let (slopes, shape) = (slopes.to_contiguous(), gates.shape());
        let mut by_values = vec![0.0; shape.num_elements()];
        let by_gates = made(shape.clone(), |out| {
            let inputs = (slice(&gates), slice(&values), slice(&slopes));
            slopes::gate_backward(inputs.0, inputs.1, inputs.2, out, &mut by_values);
        });
        (by_gates, tensor(by_values, shape))
    }

    fn normalise(rows: Values, scales: Values, eps: f32) -> Values {
        let (rows, scales) = (rows.to_contiguous(), scales.to_contiguous());
        made(rows.shape(), |out| slopes::normalise(slice(&rows), slice(&scales), eps, out))
    }

    fn normalise_backward(rows: Values, scales: Values, slopes: Values, eps: f32) -> Values {
        let (rows, scales) = (rows.to_contiguous(), scales.to_contiguous());
        let slopes = slopes.to_contiguous();
        made(rows.shape(), |out| {
            slopes::normalise_backward(slice(&rows), slice(&scales), eps, slice(&slopes), out);
        })
    }

    fn masked_softmax(scores: Values, mask: Values) -> Values {
        let (scores, mask) = (scores.to_contiguous(), mask.to_contiguous());
        let shape = scores.shape();
        let rows = [shape[1], shape[2], shape[3]];
        made(shape, |out| slopes::masked_softmax(slice(&scores), slice(&mask), rows, out))
    }

    fn softmax_backward(shares: Values, slopes: Values) -> Values {
        let (shares, slopes) = (shares.to_contiguous(), slopes.to_contiguous());
        let (shape, width) = (shares.shape(), shares.shape()[3]);
        made(shape, |out| slopes::softmax_backward(slice(&shares), slice(&slopes), width, out))
    }

    fn turn(rows: Values, cos: Values, sin: Values, head_dim: usize) -> Values {
        turned(&rows, &cos, &sin, head_dim, false)
    }

    fn turn_backward(slopes: Values, cos: Values, sin: Values, head_dim: usize) -> Values {
        turned(&slopes, &cos, &sin, head_dim, true)
    }
}

fn turned(rows: &Values, cos: &Values, sin: &Values, head_dim: usize, is_back: bool) -> Values {
    let (rows, cos, sin) = (rows.to_contiguous(), cos.to_contiguous(), sin.to_contiguous());
    made(rows.shape(), |out| {
        slopes::turn(slice(&rows), slice(&cos), slice(&sin), head_dim, is_back, out);
    })
}

/// The values of a contiguous tensor.
fn slice(tensor: &Values) -> &[f32] {
    tensor.as_slice().expect("contiguous f32")
}

/// A tensor that `fill` fills.
fn made(shape: Shape, fill: impl FnOnce(&mut [f32])) -> Values {
    let mut values = vec![0.0; shape.num_elements()];
    fill(&mut values);
    tensor(values, shape)
}

fn tensor(values: Vec<f32>, shape: Shape) -> Values {
    Flex::float_from_data(TensorData::new(values, shape), &FlexDevice)
}
