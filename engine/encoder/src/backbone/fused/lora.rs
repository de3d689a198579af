//! From burn's adapter to a packed one.

use twn_kernels::{Adapter, AdapterLayer, LowRankPair};

use super::{Fused, load::failed};
use crate::{
    adapter::{Lora, LoraLayer, Target, to_host},
    error::EncoderError,
};

/// A pair read back to the host.
struct HostPair {
    a: Vec<f32>,
    b: Vec<f32>,
    rank: usize,
    scale: f32,
}

impl Fused {
    /// Packs an adapter.
    pub(in crate::backbone) fn pack(&self, lora: &Lora) -> Result<Adapter, EncoderError> {
        let pairs: Vec<_> = lora.layers.iter().map(|layer| Target::ALL.map(host(layer))).collect();
        let layers: Vec<_> = pairs
            .iter()
            .map(|layer| {
                let [query, key, value, output, gate, up, down] =
                    layer.each_ref().map(|pair| pair.as_ref().map(HostPair::borrow));
                AdapterLayer { qkv: [query, key, value], output, gate_up: [gate, up], down }
            })
            .collect();
        self.decoder.pack_adapter(&layers).map_err(|error| failed("an adapter", &error))
    }
}

impl HostPair {
    fn borrow(&self) -> LowRankPair<'_> {
        LowRankPair { a: &self.a, b: &self.b, rank: self.rank, scale: self.scale }
    }
}

/// Reads a layer's pairs back by their targets.
fn host(layer: &LoraLayer) -> impl Fn(Target) -> Option<HostPair> {
    |target| {
        layer.pair(target).map(|pair| HostPair {
            a: to_host(&pair.a).values,
            b: to_host(&pair.b).values,
            rank: pair.rank(),
            scale: pair.scale as f32,
        })
    }
}
