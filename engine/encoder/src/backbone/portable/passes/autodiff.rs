//! The passes' derivatives: what is kept of a pass, and what its way back makes of that.

use burn::backend::{
    autodiff::{
        Autodiff,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind, unary},
    },
    tensor::FloatTensor,
};

use super::Passes;

type Tracked<B, C> = FloatTensor<Autodiff<B, C>>;

#[derive(Debug)]
struct Gate;

impl<B: Passes> Backward<B, 2> for Gate {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [gates, values] = ops.parents;
        let slopes = grads.consume::<B>(&ops.node);
        let (by_gates, by_values) = B::gate_backward(ops.state.0, ops.state.1, slopes);
        if let Some(node) = gates {
            grads.register::<B>(node.id, by_gates);
        }
        if let Some(node) = values {
            grads.register::<B>(node.id, by_values);
        }
    }
}

#[derive(Debug)]
struct Normalise;

impl<B: Passes> Backward<B, 1> for Normalise {
    type State = (FloatTensor<B>, FloatTensor<B>, f32);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (rows, scales, eps) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |slopes| {
            B::normalise_backward(rows, scales, slopes, eps)
        });
    }
}

#[derive(Debug)]
struct MaskedSoftmax;

impl<B: Passes> Backward<B, 1> for MaskedSoftmax {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        unary::<B, _>(ops.parents, ops.node, grads, |slopes| {
            B::softmax_backward(ops.state, slopes)
        });
    }
}

#[derive(Debug)]
struct Turn;

impl<B: Passes> Backward<B, 1> for Turn {
    type State = (FloatTensor<B>, FloatTensor<B>, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (cos, sin, head_dim) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |slopes| {
            B::turn_backward(slopes, cos, sin, head_dim)
        });
    }
}

impl<B: Passes, C: CheckpointStrategy> Passes for Autodiff<B, C> {
    fn gate(gates: Tracked<B, C>, values: Tracked<B, C>) -> Tracked<B, C> {
        let nodes = [gates.node(), values.node()];
        let (gates, values) = (gates.into_primitive(), values.into_primitive());
        let gated = B::gate(gates.clone(), values.clone());
        match Backward::<B, 2>::prepare::<C>(Gate, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((gates, values), gated),
            OpsKind::UnTracked(prep) => prep.finish(gated),
        }
    }

    fn normalise(rows: Tracked<B, C>, scales: Tracked<B, C>, eps: f32) -> Tracked<B, C> {
        let nodes = [rows.node()];
        let (rows, scales) = (rows.into_primitive(), scales.into_primitive());
        let normed = B::normalise(rows.clone(), scales.clone(), eps);
        match Backward::<B, 1>::prepare::<C>(Normalise, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((rows, scales, eps), normed),
            OpsKind::UnTracked(prep) => prep.finish(normed),
        }
    }

    fn masked_softmax(scores: Tracked<B, C>, mask: Tracked<B, C>) -> Tracked<B, C> {
        let nodes = [scores.node()];
        let shares = B::masked_softmax(scores.into_primitive(), mask.into_primitive());
        match Backward::<B, 1>::prepare::<C>(MaskedSoftmax, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(shares.clone(), shares),
            OpsKind::UnTracked(prep) => prep.finish(shares),
        }
    }

    fn turn(
        rows: Tracked<B, C>,
        cos: Tracked<B, C>,
        sin: Tracked<B, C>,
        head_dim: usize,
    ) -> Tracked<B, C> {
        let nodes = [rows.node()];
        let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
        let turned = B::turn(rows.into_primitive(), cos.clone(), sin.clone(), head_dim);
        match Backward::<B, 1>::prepare::<C>(Turn, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((cos, sin, head_dim), turned),
            OpsKind::UnTracked(prep) => prep.finish(turned),
        }
    }
}
