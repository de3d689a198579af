//! Positions of rows on three axes: time, height and width.
//!
//! Text counts up on all axes at once. The tokens of a grid share their time and take row
//! and column on the others; what follows a grid begins after its longer side. This is what
//! transformers' `get_rope_index` computes for Qwen3-VL, where every slice of a video is a
//! grid of its own, between timestamps.

use super::BackboneConfig;

/// Time, height and width.
pub type Position = [u32; 3];

/// A stretch of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stretch {
    /// So many tokens of text, markers included.
    Text(usize),
    /// The tokens of one slice of patches.
    Grid {
        /// Rows of tokens.
        height: usize,
        /// Columns of tokens.
        width: usize,
    },
}

/// Lays stretches out one after another.
pub fn positions_of(stretches: &[Stretch]) -> Vec<Position> {
    let mut positions = Vec::new();
    let mut next = 0;
    for stretch in stretches {
        match *stretch {
            Stretch::Text(length) => {
                positions.extend((next..next + length as u32).map(|position| [position; 3]));
                next += length as u32;
            }
            Stretch::Grid { height, width } => {
                for row in 0..height as u32 {
                    positions.extend((0..width as u32).map(|col| [next, next + row, next + col]));
                }
                next += height.max(width) as u32;
            }
        }
    }
    positions
}

/// Cosines and sines of rows at `positions`, `[rows, head_dim / 2]` each; angles are
/// computed in f64.
pub(super) fn rotary_factors(
    config: &BackboneConfig,
    positions: &[Position],
) -> (Vec<f32>, Vec<f32>) {
    let half = config.head_dim / 2;
    let frequencies: Vec<(usize, f64)> = (0..half)
        .map(|i| {
            let axis = config.rope_axes.map_or(0, |axes| axes.axis(i));
            let power = -(2.0 * i as f64) / config.head_dim as f64;
            (axis, f64::from(config.rope_theta).powf(power))
        })
        .collect();
    let angles = positions.iter().flat_map(|position| {
        frequencies.iter().map(|&(axis, frequency)| f64::from(position[axis]) * frequency)
    });
    angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip()
}
