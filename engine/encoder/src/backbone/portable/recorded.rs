//! The pass that trains on a CPU: all layers and the final norm as one differentiable operation
//! over `twn_kernels::training`.
//!
//! Rows are not padded, and beginnings that sequences share run once. Holds the portable weights
//! as they are, and a copy that is packed for the kernels.

use std::sync::{Arc, OnceLock};

use burn::{
    backend::{
        Flex, FlexDevice,
        autodiff::{
            Autodiff,
            checkpoint::{base::Checkpointer, strategy::NoCheckpointing},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        ops::FloatTensorOps,
        tensor::FloatTensor,
    },
    tensor::{Tensor, TensorData},
};
use twn_kernels::{
    DecoderShape, Isa,
    training::{
        FactorLayout, FactorShape, Factors, Forest, Tape, TrainingDecoder, TrainingLayer,
        TrainingWeights,
    },
};

use super::{BackboneConfig, Portable};
use crate::adapter::{Lora, LoraPair, Target};

type Values = FloatTensor<Flex>;
type Tracked = FloatTensor<Autodiff<Flex>>;

/// The kernels' decoder with the weights that it reads.
#[derive(Debug)]
struct Recorded {
    decoder: TrainingDecoder,
    /// By layer, in the order of [`TrainingLayer`].
    layers: Vec<[Values; 7]>,
    norm: Values,
}

/// The kernels' decoder, made when first used.
#[derive(Debug, Default)]
pub(super) struct RecordedOnce(OnceLock<Arc<Recorded>>);

impl Portable {
    /// Tells whether [`Self::forward_forest`] can run: on a CPU, for decoders without
    /// norms of heads and positions of several axes.
    pub(in crate::backbone) fn runs_forests(&self) -> bool {
        let is_cpu = host(&self.norm.weight()).is_some();
        is_cpu && !self.config.head_norms && self.config.rope_axes.is_none()
    }

    /// Runs the layers and the final norm over the forest's rows, `[T, hidden]`.
    ///
    /// # Panics
    /// Panics where [`Self::runs_forests`] says no, when rows or adapter do not fit, or the
    /// system gives no thread.
    pub(in crate::backbone) fn forward_forest(
        &self,
        rows: Tensor<2>,
        forest: &Arc<Forest>,
        lora: Option<&Lora>,
    ) -> Tensor<2> {
        assert!(self.runs_forests(), "forests run on the CPU");
        let recorded = self.recorded.0.get_or_init(|| Arc::new(self.record()));
        let pass = Pass {
            recorded: Arc::clone(recorded),
            forest: Arc::clone(forest),
            layout: Arc::new(layout(recorded.decoder.shape(), lora)),
        };
        let factors = match lora {
            Some(lora) if pass.layout.values() > 0 => {
                let flat = |pair: &LoraPair| {
                    [pair.a.val(), pair.b.val()].map(|factor| {
                        let count = factor.shape().num_elements();
                        factor.reshape([count])
                    })
                };
                Tensor::cat(lora.pairs().flat_map(|(_, _, pair)| flat(pair)).collect(), 0)
            }
            // No tensor is empty.
            _ => Tensor::<1>::zeros([1], &rows.device()),
        };
        pass.run(rows, factors)
    }

    fn record(&self) -> Recorded {
        let weights = |weight: &Tensor<2>| host(weight).expect("the weights lie on the CPU");
        let layers: Vec<[Values; 7]> = self
            .layers
            .iter()
            .map(|layer| {
                // Matrices are `[in, out]` views of what the kernels read.
                let matrix = |view: &Tensor<2>| weights(&view.clone().transpose());
                [
                    weights(&layer.attention_norm.weight()),
                    matrix(&layer.qkv),
                    matrix(&layer.output),
                    weights(&layer.mlp_norm.weight()),
                    matrix(&layer.gate),
                    matrix(&layer.up),
                    matrix(&layer.down),
                ]
            })
            .collect();
        let norm = weights(&self.norm.weight());
        let decoder = TrainingDecoder::new(
            shape(&self.config),
            &views(&layers, &norm),
            self.rope.positions(),
            rayon::current_num_threads(),
            Isa::best(),
        );
        Recorded { decoder: decoder.expect("the system gives threads"), layers, norm }
    }
}

impl Recorded {
    fn weights(&self) -> TrainingWeights<'_> {
        views(&self.layers, &self.norm)
    }
}

fn views<'a>(layers: &'a [[Values; 7]], norm: &'a Values) -> TrainingWeights<'a> {
    let layer = |parts: &'a [Values; 7]| {
        let [attention_norm, qkv, output, mlp_norm, gate, up, down] = parts.each_ref().map(slice);
        TrainingLayer { attention_norm, qkv, output, mlp_norm, gate, up, down }
    };
    TrainingWeights { layers: layers.iter().map(layer).collect(), norm: slice(norm) }
}

fn shape(config: &BackboneConfig) -> DecoderShape {
    DecoderShape {
        vocab: config.vocab_size,
        hidden: config.hidden_size,
        intermediate: config.intermediate_size,
        layers: config.layers,
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        rope_theta: config.rope_theta,
        norm_eps: config.rms_norm_eps,
    }
}

fn layout(shape: &DecoderShape, lora: Option<&Lora>) -> FactorLayout {
    let of = |pair: &LoraPair| FactorShape { rank: pair.rank(), scale: pair.scale as f32 };
    let layers: Vec<_> = (0..shape.layers)
        .map(|index| Target::ALL.map(|target| Some(of(lora?.layer(index).pair(target)?))))
        .collect();
    FactorLayout::new(shape, &layers)
}

/// One pass to be run, and gone back through.
#[derive(Debug, Clone)]
struct Pass {
    recorded: Arc<Recorded>,
    forest: Arc<Forest>,
    layout: Arc<FactorLayout>,
}

/// What the way back needs.
#[derive(Debug, Clone)]
struct State {
    pass: Pass,
    tape: Arc<Tape>,
    factors: Values,
}

#[derive(Debug)]
struct Decode;

impl Backward<Flex, 2> for Decode {
    type State = State;

    fn backward(self, ops: Ops<State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [rows, factors] = ops.parents;
        let slopes = grads.consume::<Flex>(&ops.node);
        let (by_rows, by_factors) = ops.state.back(&slopes);
        if let Some(node) = rows {
            grads.register::<Flex>(node.id, by_rows);
        }
        if let Some(node) = factors {
            grads.register::<Flex>(node.id, by_factors);
        }
    }
}

impl Pass {
    fn run(self, rows: Tensor<2>, factors: Tensor<1>) -> Tensor<2> {
        match rows.device().is_autodiff() {
            true => {
                let rows = rows.try_into_primitive::<Autodiff<Flex>>();
                let factors = factors.try_into_primitive::<Autodiff<Flex>>();
                let (rows, factors) = (rows.expect("on the CPU"), factors.expect("on the CPU"));
                Tensor::from_primitive::<Autodiff<Flex>>(self.track(rows, factors))
            }
            false => {
                let rows = rows.try_into_primitive::<Flex>().expect("on the CPU");
                let factors = factors.try_into_primitive::<Flex>().expect("on the CPU");
                Tensor::from_primitive::<Flex>(self.compute(&rows, &factors, false).0)
            }
        }
    }

    fn track(self, rows: Tracked, factors: Tracked) -> Tracked {
        let nodes = [rows.node(), factors.node()];
        let (rows, factors) = (rows.into_primitive(), factors.into_primitive());
        let prepared = Decode.prepare::<NoCheckpointing>(nodes).compute_bound().stateful();
        match prepared {
            OpsKind::Tracked(prepared) => {
                let (hidden, tape) = self.compute(&rows, &factors, true);
                let tape = Arc::new(tape.expect("a pass that is recorded has a tape"));
                prepared.finish(State { pass: self, tape, factors }, hidden)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(self.compute(&rows, &factors, false).0),
        }
    }

    fn compute(&self, rows: &Values, factors: &Values, record: bool) -> (Values, Option<Tape>) {
        let (rows, factors) = (rows.to_contiguous(), factors.to_contiguous());
        let recorded = &self.recorded;
        let (hidden, tape) = recorded.decoder.forward(
            &recorded.weights(),
            &self.forest,
            slice(&rows),
            &self.factors(&factors),
            record,
        );
        (tensor(hidden, vec![self.forest.rows(), recorded.decoder.shape().hidden]), tape)
    }

    fn factors<'a>(&self, factors: &'a Values) -> Factors<'a> {
        let values = &slice(factors)[..self.layout.values()];
        Factors { layout: Arc::clone(&self.layout), values }
    }
}

impl State {
    fn back(&self, slopes: &Values) -> (Values, Values) {
        let (slopes, factors) = (slopes.to_contiguous(), self.factors.to_contiguous());
        let recorded = &self.pass.recorded;
        let (by_rows, mut by_factors) = recorded.decoder.backward(
            &recorded.weights(),
            &self.tape,
            &self.pass.factors(&factors),
            slice(&slopes),
        );
        by_factors.resize(slice(&factors).len(), 0.0);
        let rows = vec![self.pass.forest.rows(), recorded.decoder.shape().hidden];
        let count = by_factors.len();
        (tensor(by_rows, rows), tensor(by_factors, vec![count]))
    }
}

/// The values of a tensor on the CPU, whether it has autodiff or not; `None` elsewhere.
fn host(tensor: &Tensor<2>) -> Option<Values> {
    let values = match tensor.device().is_autodiff() {
        true => tensor.clone().try_into_primitive::<Autodiff<Flex>>().ok()?.into_primitive(),
        false => tensor.clone().try_into_primitive::<Flex>().ok()?,
    };
    Some(values.to_contiguous())
}

fn slice(values: &Values) -> &[f32] {
    values.as_slice().expect("contiguous f32")
}

fn tensor(values: Vec<f32>, shape: Vec<usize>) -> Values {
    Flex::float_from_data(TensorData::new(values, shape), &FlexDevice)
}
