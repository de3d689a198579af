//! Shapes of a Qwen3-VL vision tower.

use serde::{Deserialize, Serialize};

use crate::backbone::BackboneConfig;

/// Shapes of a Qwen3-VL vision tower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisionConfig {
    /// Blocks.
    pub depth: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Inner width of the feed-forward networks.
    pub intermediate_size: usize,
    /// Attention heads; divides `hidden_size`.
    pub heads: usize,
    /// Colours of a pixel.
    pub channels: usize,
    /// Pixels along the side of a patch.
    pub patch_size: usize,
    /// Patches along the side of what becomes one token.
    pub merge_size: usize,
    /// Frames in a patch.
    pub frames: usize,
    /// Learned positions: a square table.
    pub positions: usize,
    /// Blocks whose states are added to the decoder's: the first of them after the decoder's
    /// first layer, and so on. Ascending.
    pub deepstack: Vec<usize>,
    /// Token that stands for a piece of an image.
    pub image_token: u32,
    /// Token that stands for a piece of a video.
    pub video_token: u32,
}

impl VisionConfig {
    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.heads
    }

    /// Numbers in one patch: `channels * frames * patch_size²`.
    pub fn patch_width(&self) -> usize {
        self.channels * self.frames * self.patch_size * self.patch_size
    }

    /// Patches that become one token.
    pub fn patches_per_token(&self) -> usize {
        self.merge_size * self.merge_size
    }

    /// Width of the patches of one token side by side.
    pub(crate) fn merged_width(&self) -> usize {
        self.hidden_size * self.patches_per_token()
    }

    /// Learned positions along one side.
    pub(crate) fn positions_side(&self) -> usize {
        self.positions.isqrt()
    }

    /// Refuses shapes that the tower cannot run before the given decoder.
    pub(crate) fn check(&self, decoder: &BackboneConfig) -> Result<(), String> {
        let sizes = [
            ("depth", self.depth, 1024),
            ("hidden_size", self.hidden_size, 1 << 16),
            ("intermediate_size", self.intermediate_size, 1 << 18),
            ("num_heads", self.heads, 1 << 12),
            ("in_channels", self.channels, 16),
            ("patch_size", self.patch_size, 256),
            ("spatial_merge_size", self.merge_size, 16),
            ("temporal_patch_size", self.frames, 16),
            ("num_position_embeddings", self.positions, 1 << 20),
        ];
        for (what, got, max) in sizes {
            if !(1..=max).contains(&got) {
                return Err(format!("the vision tower has {what} = {got}; supported: 1 to {max}"));
            }
        }
        if !self.hidden_size.is_multiple_of(self.heads) || !self.head_dim().is_multiple_of(4) {
            return Err(format!(
                "the vision tower's width {} is no multiple of 4 for each of its {} heads",
                self.hidden_size, self.heads
            ));
        }
        if self.positions_side().pow(2) != self.positions {
            return Err(format!("{} learned positions are no square", self.positions));
        }
        let deepstack = &self.deepstack;
        let is_ascending = deepstack.is_sorted_by(|a, b| a < b);
        if !is_ascending || deepstack.last().is_some_and(|&last| last >= self.depth) {
            return Err(format!(
                "the vision tower hands the states of blocks {deepstack:?} on; they must ascend \
                 and lie below {}",
                self.depth
            ));
        }
        if deepstack.len() > decoder.layers {
            return Err(format!(
                "{} states of the vision tower are added after {} decoder layers",
                deepstack.len(),
                decoder.layers
            ));
        }
        let tokens = [self.image_token, self.video_token];
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= decoder.vocab_size) {
            return Err(format!(
                "token {token} stands for pixels, the vocabulary has {}",
                decoder.vocab_size
            ));
        }
        Ok(())
    }

    /// Lists every tensor of a tower before a decoder `out` wide, with its shape.
    pub(crate) fn tensors(&self, out: usize) -> Vec<(String, Vec<usize>)> {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let side = self.patch_size;
        let mut tensors = Vec::new();
        let mut add = |name: &str, shape: &[usize]| {
            tensors.push((format!("{PREFIX}{name}"), shape.to_vec()));
        };
        add("patch_embed.proj.weight", &[hidden, self.channels, self.frames, side, side]);
        add("patch_embed.proj.bias", &[hidden]);
        add("pos_embed.weight", &[self.positions, hidden]);
        let mut linear = |name: String, output: usize, input: usize| {
            add(&format!("{name}.weight"), &[output, input]);
            add(&format!("{name}.bias"), &[output]);
        };
        for block in 0..self.depth {
            linear(format!("blocks.{block}.attn.qkv"), 3 * hidden, hidden);
            linear(format!("blocks.{block}.attn.proj"), hidden, hidden);
            linear(format!("blocks.{block}.mlp.linear_fc1"), inner, hidden);
            linear(format!("blocks.{block}.mlp.linear_fc2"), hidden, inner);
        }
        let merged = self.merged_width();
        let mergers =
            (0..self.deepstack.len()).map(|index| format!("deepstack_merger_list.{index}"));
        for merger in mergers.chain(["merger".to_owned()]) {
            linear(format!("{merger}.linear_fc1"), merged, merged);
            linear(format!("{merger}.linear_fc2"), out, merged);
        }
        let mut norm = |name: String, width: usize| {
            add(&format!("{name}.weight"), &[width]);
            add(&format!("{name}.bias"), &[width]);
        };
        for block in 0..self.depth {
            norm(format!("blocks.{block}.norm1"), hidden);
            norm(format!("blocks.{block}.norm2"), hidden);
        }
        norm("merger.norm".to_owned(), hidden);
        for index in 0..self.deepstack.len() {
            norm(format!("deepstack_merger_list.{index}.norm"), merged);
        }
        tensors
    }

    /// Counts the parameters before a decoder `out` wide.
    pub(crate) fn parameters(&self, out: usize) -> u64 {
        let size = |(_, shape): (String, Vec<usize>)| shape.iter().product::<usize>() as u64;
        self.tensors(out).into_iter().map(size).sum()
    }
}

/// What the names of the tower's tensors begin with.
pub(crate) const PREFIX: &str = "model.visual.";
