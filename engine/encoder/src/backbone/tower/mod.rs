//! The vision tower of Qwen3-VL: patches of pixels in, rows for the decoder out.
//!
//! Written in burn operations, so that it runs on any device; in front of the fused pass
//! its affine maps run over packed weights instead, on the decoder's threads. Knows no
//! image format: whoever calls it has resized, normalised and cut the pixels.
//!
//! Invariant: what becomes of an image does not depend on the images beside it.

mod block;
mod config;
mod grid;
mod linear;
mod merger;

use burn::tensor::{Device, Int, Tensor, TensorData};
use twn_kernels::{Decoder, Precision};

pub(crate) use config::PREFIX;
pub use config::VisionConfig;
pub use grid::Grid;

use crate::{checkpoint::TensorSource, error::EncoderError};
use block::{Block, Pass};
use grid::interpolation;
use linear::{Linear, Loader};
use merger::Merger;

/// Base of the rotary frequencies; the same for every tower of the family.
const ROPE_THETA: f64 = 10_000.0;
/// Patches of one pass, unless a single slice has more: bounds the memory of long videos.
const PASS_PATCHES: usize = 4096;

/// What the tower makes of some grids of patches.
#[derive(Debug, Clone)]
pub struct VisionStates {
    /// The decoder's inputs in the places of the vision tokens, `[tokens, hidden]`.
    pub rows: Tensor<2>,
    /// What is added there after the decoder's first layers, `[tokens, hidden]` each.
    pub deepstack: Vec<Tensor<2>>,
}

#[derive(Debug)]
pub(super) struct Tower {
    config: VisionConfig,
    device: Device,
    patch_embed: Linear,
    /// Learned positions, `[side², hidden]`.
    positions: Tensor<2>,
    blocks: Vec<Block>,
    merger: Merger,
    deepstack: Vec<Merger>,
}

impl Tower {
    /// Reads a tower in front of a decoder `out` wide, onto `device` or packed.
    pub(super) fn load(
        config: &VisionConfig,
        tensors: &dyn TensorSource,
        out: usize,
        device: &Device,
        packed: Option<Precision>,
    ) -> Result<Self, EncoderError> {
        let loader = Loader { tensors, device, packed };
        let deepstack = (0..config.deepstack.len()).map(|index| {
            Merger::load(config, &loader, &format!("deepstack_merger_list.{index}"), true, out)
        });
        let table = [config.positions, config.hidden_size];
        Ok(Self {
            config: config.clone(),
            device: device.clone(),
            patch_embed: loader.linear(
                "patch_embed.proj",
                config.hidden_size,
                config.patch_width(),
            )?,
            positions: loader.matrix("pos_embed.weight", table)?,
            blocks: (0..config.depth)
                .map(|index| Block::load(config, &loader, index))
                .collect::<Result<_, _>>()?,
            merger: Merger::load(config, &loader, "merger", false, out)?,
            deepstack: deepstack.collect::<Result<_, _>>()?,
        })
    }

    /// Runs the patches of all grids, one after another: `patch_width` values each.
    ///
    /// # Errors
    /// Refuses patches that the grids do not cover, and grids that do not fall into blocks.
    pub(super) fn forward(
        &self,
        patches: &[f32],
        grids: &[Grid],
        decoder: Option<&Decoder>,
    ) -> Result<VisionStates, EncoderError> {
        let refuse = |problem: String| EncoderError::Internal { problem };
        let width = self.config.patch_width();
        for grid in grids {
            grid.check(self.config.merge_size).map_err(refuse)?;
        }
        let total: usize = grids.iter().map(|grid| grid.patches()).sum();
        if total == 0 || patches.len() != total * width {
            return Err(refuse(format!(
                "{} values are no {total} patches of {width}",
                patches.len()
            )));
        }
        let (mut rows, mut deepstack) = (Vec::new(), vec![Vec::new(); self.deepstack.len()]);
        let mut rest = patches;
        for grid in grids {
            let slice = grid.height * grid.width;
            let at_once = (PASS_PATCHES / slice).max(1);
            for first in (0..grid.slices).step_by(at_once) {
                let slices = at_once.min(grid.slices - first);
                let (own, after) = rest.split_at(slices * slice * width);
                rest = after;
                let states = self.slices(own, Grid { slices, ..*grid }, decoder);
                rows.push(states.rows);
                for (all, one) in deepstack.iter_mut().zip(states.deepstack) {
                    all.push(one);
                }
            }
        }
        let deepstack = deepstack.into_iter().map(|parts| Tensor::cat(parts, 0)).collect();
        Ok(VisionStates { rows: Tensor::cat(rows, 0), deepstack })
    }

    /// Runs slices of one grid together.
    fn slices(&self, patches: &[f32], grid: Grid, decoder: Option<&Decoder>) -> VisionStates {
        let config = &self.config;
        let data = TensorData::new(patches.to_vec(), [grid.patches(), config.patch_width()]);
        let patches = Tensor::from_data(data, &self.device);
        let positions = self.learned_positions(grid).repeat_dim(0, grid.slices);
        let mut states = self.patch_embed.apply(patches, decoder) + positions;
        let (cos, sin) = self.rotary_factors(grid);
        let pass = Pass { config, slices: grid.slices, cos, sin, decoder };
        let mut deepstack = Vec::with_capacity(self.deepstack.len());
        for (index, block) in self.blocks.iter().enumerate() {
            states = block.forward(states, &pass);
            if let Some(which) = config.deepstack.iter().position(|&block| block == index) {
                deepstack.push(self.deepstack[which].forward(states.clone(), decoder));
            }
        }
        VisionStates { rows: self.merger.forward(states, decoder), deepstack }
    }

    /// The learned positions of one slice's patches, `[patches, hidden]`.
    fn learned_positions(&self, grid: Grid) -> Tensor<2> {
        let taps = interpolation(grid, self.config.merge_size, self.config.positions_side());
        let gather = |tap: usize| {
            let indices: Vec<i32> = taps.iter().map(|taps| taps[tap].0 as i32).collect();
            let shares: Vec<f32> = taps.iter().map(|taps| taps[tap].1).collect();
            let indices = TensorData::new(indices, [taps.len()]);
            let shares = TensorData::new(shares, [taps.len(), 1]);
            let rows = self
                .positions
                .clone()
                .select(0, Tensor::<1, Int>::from_data(indices, &self.device));
            rows * Tensor::<2>::from_data(shares, &self.device)
        };
        gather(0) + gather(1) + gather(2) + gather(3)
    }

    /// Cosines and signed sines for the patches of all slices, `[patches, 1, head_dim]`: a
    /// head's first quarter turns by the row and its second by the column, and so again.
    fn rotary_factors(&self, grid: Grid) -> (Tensor<3>, Tensor<3>) {
        let width = self.config.head_dim();
        let (half, quarter) = (width / 2, width / 4);
        let places = grid.places(self.config.merge_size);
        let count = places.len() * width;
        let (mut cos, mut sin) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for (row, column) in places {
            for i in 0..width {
                let within = i % half;
                let place = if within < quarter { row } else { column };
                let power = -2.0 * (within % quarter) as f64 / half as f64;
                let angle = place as f64 * ROPE_THETA.powf(power);
                let sign = if i < half { -1.0 } else { 1.0 };
                cos.push(angle.cos() as f32);
                sin.push((sign * angle.sin()) as f32);
            }
        }
        let tensor = |values: Vec<f32>| {
            let shape = [values.len() / width, 1, width];
            let one = Tensor::<3>::from_data(TensorData::new(values, shape), &self.device);
            one.repeat_dim(0, grid.slices)
        };
        (tensor(cos), tensor(sin))
    }

    /// Bytes of packed weights.
    pub(super) fn packed_bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(Block::packed_bytes).sum();
        let mergers = self.deepstack.iter().chain([&self.merger]);
        blocks + self.patch_embed.packed_bytes() + mergers.map(Merger::packed_bytes).sum::<usize>()
    }
}
