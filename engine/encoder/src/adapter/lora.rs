//! Low-rank additions to the backbone's linears ("LoRA", arXiv 2106.09685).

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData},
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::Target;
use crate::{backbone::BackboneConfig, checkpoint::HostTensor};

/// A low-rank addition to one linear: `x -> scale * x Aᵀ Bᵀ`, computed beside the base
/// product and never merged into the weight, so that adapters switch at no cost.
#[derive(Module, Debug)]
pub struct LoraPair {
    /// `A`, `[rank, in]`.
    pub a: Param<Tensor<2>>,
    /// `B`, `[out, rank]`.
    pub b: Param<Tensor<2>>,
    /// `alpha / rank`, or `alpha / sqrt(rank)` with rank-stabilised scaling.
    pub scale: f64,
}

/// The additions to one layer.
#[derive(Module, Debug)]
pub struct LoraLayer {
    /// On attention's queries.
    pub query: Option<LoraPair>,
    /// On attention's keys.
    pub key: Option<LoraPair>,
    /// On attention's values.
    pub value: Option<LoraPair>,
    /// On attention's output.
    pub output: Option<LoraPair>,
    /// On the feed-forward network's gate.
    pub gate: Option<LoraPair>,
    /// On the way into the feed-forward network.
    pub up: Option<LoraPair>,
    /// On the way out of the feed-forward network.
    pub down: Option<LoraPair>,
}

/// One named adapter: an addition to each layer of the backbone.
#[derive(Module, Debug)]
pub struct Lora {
    /// As many as the backbone has layers.
    pub layers: Vec<LoraLayer>,
}

impl LoraPair {
    /// Puts host matrices `a` (`[rank, in]`) and `b` (`[out, rank]`) on a device.
    ///
    /// # Panics
    /// Panics unless both are matrices of one rank.
    pub fn new(a: HostTensor, b: HostTensor, scale: f64, device: &Device) -> Self {
        assert!(a.shape.len() == 2 && b.shape.len() == 2 && a.shape[0] == b.shape[1]);
        Self { a: parameter(a, device), b: parameter(b, device), scale }
    }

    /// Computes what is added to the linear's output for `rows` (`[T, in]`): `[T, out]`.
    pub fn delta(&self, rows: Tensor<2>) -> Tensor<2> {
        let low = rows.matmul(self.a.val().transpose()).mul_scalar(self.scale);
        low.matmul(self.b.val().transpose())
    }

    /// The rank.
    pub fn rank(&self) -> usize {
        self.a.dims()[0]
    }
}

impl LoraLayer {
    /// Makes a layer from what `pair` gives for each target.
    pub(super) fn from_targets<E>(
        mut pair: impl FnMut(Target) -> Result<Option<LoraPair>, E>,
    ) -> Result<Self, E> {
        Ok(Self {
            query: pair(Target::Query)?,
            key: pair(Target::Key)?,
            value: pair(Target::Value)?,
            output: pair(Target::Output)?,
            gate: pair(Target::Gate)?,
            up: pair(Target::Up)?,
            down: pair(Target::Down)?,
        })
    }

    /// The addition to `target`, if there is one.
    pub fn pair(&self, target: Target) -> Option<&LoraPair> {
        match target {
            Target::Query => self.query.as_ref(),
            Target::Key => self.key.as_ref(),
            Target::Value => self.value.as_ref(),
            Target::Output => self.output.as_ref(),
            Target::Gate => self.gate.as_ref(),
            Target::Up => self.up.as_ref(),
            Target::Down => self.down.as_ref(),
        }
    }
}

impl Lora {
    /// Makes an adapter on all linears that changes nothing yet: `A` uniform in
    /// `±1 / sqrt(in)`, `B` zero. `scale` is that of a trained adapter.
    pub fn fresh(
        config: &BackboneConfig,
        rank: usize,
        scale: f64,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let mut pair = |target: Target| {
            let (input, output) = target.shape(config);
            let bound = 1.0 / (input as f32).sqrt();
            let a = (0..rank * input).map(|_| rng.random_range(-bound..bound)).collect();
            let a = HostTensor { shape: vec![rank, input], values: a };
            let b = HostTensor { shape: vec![output, rank], values: vec![0.0; output * rank] };
            Ok::<_, std::convert::Infallible>(Some(LoraPair::new(a, b, scale, device)))
        };
        let layers = (0..config.layers).map(|_| {
            let Ok(layer) = LoraLayer::from_targets(&mut pair);
            layer
        });
        Self { layers: layers.collect() }
    }

    /// The additions to layer `index`.
    ///
    /// # Panics
    /// Panics when there is no such layer.
    pub fn layer(&self, index: usize) -> &LoraLayer {
        &self.layers[index]
    }

    /// Every pair with its layer and target, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, Target, &LoraPair)> {
        self.layers.iter().enumerate().flat_map(|(index, layer)| {
            Target::ALL
                .into_iter()
                .filter_map(move |target| layer.pair(target).map(|pair| (index, target, pair)))
        })
    }

    /// Tells whether every `B` is zero, so that leaving the adapter out changes no bit.
    pub fn is_silent(&self) -> bool {
        self.pairs().all(|(_, _, pair)| {
            let values = pair.b.val().into_data();
            values.try_to_vec::<f32>().is_ok_and(|values| values.iter().all(|&value| value == 0.0))
        })
    }

    /// The number of parameters.
    pub fn parameters(&self) -> u64 {
        let size = |pair: &LoraPair| pair.a.shape().num_elements() + pair.b.shape().num_elements();
        self.pairs().map(|(_, _, pair)| size(pair) as u64).sum()
    }
}

/// Puts a host tensor on a device as a parameter.
///
/// # Panics
/// Panics when the tensor has not `D` dimensions or its values do not fill them.
pub(crate) fn parameter<const D: usize>(host: HostTensor, device: &Device) -> Param<Tensor<D>> {
    let shape: [usize; D] = host.shape.try_into().expect("callers check the dimensions");
    Param::from_tensor(Tensor::from_data(TensorData::new(host.values, shape), device))
}

/// Reads a parameter back to the host.
pub(crate) fn to_host<const D: usize>(parameter: &Param<Tensor<D>>) -> HostTensor {
    let data = parameter.val().into_data();
    HostTensor {
        shape: parameter.dims().to_vec(),
        values: data.convert::<f32>().try_to_vec().expect("converted to f32"),
    }
}
