//! The passes on the CPU: the kernels, with rows shared out over burn's threads.

use burn::backend::{Flex, FlexDevice, TensorMetadata, ops::FloatTensorOps, tensor::FloatTensor};
use burn::tensor::{Shape, TensorData};
use rayon::prelude::*;
use twn_kernels::slopes;

use super::Passes;

type Values = FloatTensor<Flex>;

/// Values that one task goes through at least.
const TASK_VALUES: usize = 1 << 14;

impl Passes for Flex {
    fn gate(gates: Values, values: Values) -> Values {
        let (gates, values) = (gates.to_contiguous(), values.to_contiguous());
        made(gates.shape(), |out| {
            let inputs = tasks(slice(&gates), 1).zip(tasks(slice(&values), 1));
            tasks_mut(out, 1)
                .zip(inputs)
                .for_each(|(out, (gates, values))| slopes::gate(gates, values, out));
        })
    }

    fn gate_backward(gates: Values, values: Values, slopes: Values) -> (Values, Values) {
        let (gates, values) = (gates.to_contiguous(), values.to_contiguous());
        let (slopes, shape) = (slopes.to_contiguous(), gates.shape());
        let mut by_values = vec![0.0; shape.num_elements()];
        let by_gates = made(shape.clone(), |out| {
            let inputs = tasks(slice(&gates), 1).zip(tasks(slice(&values), 1));
            let outputs = tasks_mut(out, 1).zip(tasks_mut(&mut by_values, 1));
            inputs.zip(tasks(slice(&slopes), 1)).zip(outputs).for_each(
                |(((gates, values), slopes), (by_gates, by_values))| {
                    slopes::gate_backward(gates, values, slopes, by_gates, by_values);
                },
            );
        });
        (by_gates, tensor(by_values, shape))
    }

    fn normalise(rows: Values, scales: Values, eps: f32) -> Values {
        let (rows, scales) = (rows.to_contiguous(), scales.to_contiguous());
        let scales = slice(&scales);
        made(rows.shape(), |out| {
            tasks_mut(out, scales.len())
                .zip(tasks(slice(&rows), scales.len()))
                .for_each(|(out, rows)| slopes::normalise(rows, scales, eps, out));
        })
    }

    fn normalise_backward(rows: Values, scales: Values, slopes: Values, eps: f32) -> Values {
        let (rows, scales) = (rows.to_contiguous(), scales.to_contiguous());
        let (slopes, scales) = (slopes.to_contiguous(), slice(&scales));
        let width = scales.len();
        made(rows.shape(), |out| {
            let inputs = tasks(slice(&rows), width).zip(tasks(slice(&slopes), width));
            tasks_mut(out, width).zip(inputs).for_each(|(out, (rows, slopes))| {
                slopes::normalise_backward(rows, scales, eps, slopes, out);
            });
        })
    }

    fn masked_softmax(scores: Values, mask: Values) -> Values {
        let (scores, mask) = (scores.to_contiguous(), mask.to_contiguous());
        let shape = scores.shape();
        let [heads, rows, width] = [shape[1], shape[2], shape[3]];
        made(shape, |out| {
            let size = (rows * width).max(1);
            let inputs = slice(&scores).par_chunks(heads * size).zip(slice(&mask).par_chunks(size));
            out.par_chunks_mut(heads * size).zip(inputs).for_each(|(out, (scores, mask))| {
                slopes::masked_softmax(scores, mask, [heads, rows, width], out);
            });
        })
    }

    fn softmax_backward(shares: Values, slopes: Values) -> Values {
        let (shares, slopes) = (shares.to_contiguous(), slopes.to_contiguous());
        let (shape, width) = (shares.shape(), shares.shape()[3]);
        made(shape, |out| {
            let inputs = tasks(slice(&shares), width).zip(tasks(slice(&slopes), width));
            tasks_mut(out, width).zip(inputs).for_each(|(out, (shares, slopes))| {
                slopes::softmax_backward(shares, slopes, width, out);
            });
        })
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
        let factors = tasks(slice(&cos), head_dim).zip(tasks(slice(&sin), head_dim));
        let rows = tasks(slice(&rows), head_dim).zip(factors);
        tasks_mut(out, head_dim).zip(rows).for_each(|(out, (rows, (cos, sin)))| {
            slopes::turn(rows, cos, sin, head_dim, is_back, out);
        });
    })
}

/// Values of one task, in whole rows of `width`.
fn task_values(width: usize) -> usize {
    TASK_VALUES.next_multiple_of(width.max(1))
}

fn tasks(values: &[f32], width: usize) -> rayon::slice::Chunks<'_, f32> {
    values.par_chunks(task_values(width))
}

fn tasks_mut(values: &mut [f32], width: usize) -> rayon::slice::ChunksMut<'_, f32> {
    values.par_chunks_mut(task_values(width))
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
