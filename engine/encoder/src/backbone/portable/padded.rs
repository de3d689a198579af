//! The forward pass over a padded batch: the shape of work that trains.
//!
//! The ragged pass attends span by span, which suits serving. Training runs hundreds of
//! short sequences at once, on devices where every operation has a price, so here all
//! sequences of a batch go through each operation together, padded to one length. The two
//! passes compute the same; a test holds them together.

use burn::tensor::Tensor;

use super::{
    BackboneConfig, Portable,
    layer::{Layer, linear},
    passes,
    rope::Rotation,
};
use crate::adapter::{Lora, LoraLayer, Target};

/// Rotated keys and values of one layer, `[batch, kv_heads, positions, head_dim]`.
#[derive(Debug, Clone)]
pub struct LayerMemory {
    /// Keys.
    pub keys: Tensor<4>,
    /// Values.
    pub values: Tensor<4>,
}

/// Keys and values of a padded batch, one entry a layer.
pub type PaddedMemory = Vec<LayerMemory>;

/// What one pass over a padded batch reads, beside its rows.
#[derive(Debug)]
pub struct PaddedInput<'a> {
    /// Sequences in the batch.
    pub batch: usize,
    /// Position of every row, sequence by sequence; padding may have any.
    pub positions: &'a [usize],
    /// Added to attention's scores, `[batch, rows of a sequence, earlier + own positions]`:
    /// 0 for what a row may see and a large negative number elsewhere.
    pub mask: Tensor<3>,
    /// Keys and values of earlier positions, one entry a layer.
    pub earlier: Option<&'a [LayerMemory]>,
    /// Keeps this pass's keys and values.
    pub keep_memory: bool,
}

/// What a pass over a padded batch gives.
#[derive(Debug)]
pub struct PaddedOutput {
    /// Hidden states after the final norm, `[batch * rows, hidden]`.
    pub hidden: Tensor<2>,
    /// Keys and values of earlier and own positions, if they were to be kept.
    pub memory: PaddedMemory,
}

/// What the layers share.
struct Shared<'a> {
    config: &'a BackboneConfig,
    batch: usize,
    rotation: Rotation,
    /// `[batch, 1, group * rows, positions]`.
    mask: Tensor<4>,
}

impl Portable {
    /// Runs the layers and the final norm over `[batch * rows, hidden]`.
    pub(in crate::backbone) fn forward_padded(
        &self,
        rows: Tensor<2>,
        input: &PaddedInput<'_>,
        lora: Option<&Lora>,
    ) -> PaddedOutput {
        let group = self.config.heads / self.config.kv_heads;
        let [batch, count, positions] = input.mask.dims();
        let shared = Shared {
            config: &self.config,
            batch: input.batch,
            rotation: self.rope.rotation(input.positions),
            mask: input.mask.clone().reshape([batch, 1, count, positions]).repeat_dim(2, group),
        };
        let mut hidden = rows;
        let mut memory = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let earlier = input.earlier.map(|layers| &layers[index]);
            let lora = lora.map(|lora| lora.layer(index));
            let (next, kept) = layer.forward_padded(hidden, &shared, earlier, lora);
            hidden = next;
            if input.keep_memory {
                memory.push(kept);
            }
        }
        PaddedOutput { hidden: self.norm.apply(hidden), memory }
    }
}

impl Layer {
    fn forward_padded(
        &self,
        hidden: Tensor<2>,
        shared: &Shared<'_>,
        earlier: Option<&LayerMemory>,
        lora: Option<&LoraLayer>,
    ) -> (Tensor<2>, LayerMemory) {
        let normed = self.attention_norm.apply(hidden.clone());
        let (mixed, memory) = self.attend_padded(normed, shared, earlier, lora);
        let hidden = hidden + linear(mixed, &self.output, Target::Output, lora);

        let normed = self.mlp_norm.apply(hidden.clone());
        let gate = linear(normed.clone(), &self.gate, Target::Gate, lora);
        let up = linear(normed, &self.up, Target::Up, lora);
        (hidden + linear(passes::gate(gate, up), &self.down, Target::Down, lora), memory)
    }

    fn attend_padded(
        &self,
        normed: Tensor<2>,
        shared: &Shared<'_>,
        earlier: Option<&LayerMemory>,
        lora: Option<&LoraLayer>,
    ) -> (Tensor<2>, LayerMemory) {
        let config = shared.config;
        let [total, _] = normed.dims();
        let (batch, count) = (shared.batch, total / shared.batch);
        let (kv_heads, head_dim) = (config.kv_heads, config.head_dim);
        let group = config.heads / kv_heads;
        let query_width = config.heads * head_dim;
        let kv_width = kv_heads * head_dim;

        let qkv = self.project(normed, config, lora);
        let unturned = qkv.clone().slice([0..total, 0..query_width + kv_width]);
        let turned = shared.rotation.apply(self.normalise_heads(unturned, config));
        let queries = turned
            .clone()
            .slice([0..total, 0..query_width])
            .reshape([batch, count, kv_heads, group, head_dim])
            .permute([0, 2, 3, 1, 4])
            .reshape([batch, kv_heads, group * count, head_dim]);
        let heads = |rows: Tensor<2>| {
            rows.reshape([batch, count, kv_heads, head_dim]).permute([0, 2, 1, 3])
        };
        let mut keys = heads(turned.slice([0..total, query_width..query_width + kv_width]));
        let mut values =
            heads(qkv.slice([0..total, query_width + kv_width..query_width + 2 * kv_width]));
        if let Some(earlier) = earlier {
            keys = Tensor::cat(vec![earlier.keys.clone(), keys], 2);
            values = Tensor::cat(vec![earlier.values.clone(), values], 2);
        }
        let scores = queries.matmul(keys.clone().swap_dims(2, 3));
        let mixed = passes::masked_softmax(scores, shared.mask.clone())
            .matmul(values.clone())
            .reshape([batch, kv_heads, group, count, head_dim])
            .permute([0, 3, 1, 2, 4])
            .reshape([total, query_width]);
        (mixed, LayerMemory { keys, values })
    }
}
