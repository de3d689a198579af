//! Lays pixels out as patches.

use super::{patches::Grid, smart_resize::Size, spec::VisionSpec};
use crate::image::Image;

/// Normalised values of the 256 levels of each channel.
pub(super) type Levels = [[f32; 256]; 3];

/// Writes the patches of one step of time: `temporal_patch` frames of one size, whose
/// sides are multiples of a token.
pub(super) fn flatten(frames: &[&Image], spec: &VisionSpec, levels: &Levels, out: &mut Vec<f32>) {
    let patch = spec.patch as usize;
    let merge = spec.merge as usize;
    let token = patch * merge;
    let (width, height) = (frames[0].width() as usize, frames[0].height() as usize);
    for block_y in 0..height / token {
        for block_x in 0..width / token {
            for inner in 0..merge * merge {
                let y = (block_y * merge + inner / merge) * patch;
                let x = (block_x * merge + inner % merge) * patch;
                push_patch(frames, (x, y), patch, levels, out);
            }
        }
    }
}

/// Writes `[channel, frame, y, x]` of the patch whose corner is at `(x, y)`.
fn push_patch(
    frames: &[&Image],
    (x, y): (usize, usize),
    patch: usize,
    levels: &Levels,
    out: &mut Vec<f32>,
) {
    for (channel, level) in levels.iter().enumerate() {
        for frame in frames {
            let width = frame.width() as usize;
            for row in y..y + patch {
                let start = (row * width + x) * 3;
                let pixels = &frame.rgb()[start..start + patch * 3];
                out.extend(pixels.chunks_exact(3).map(|pixel| level[usize::from(pixel[channel])]));
            }
        }
    }
}

/// Patches of so many steps of time of frames of this size.
pub(super) fn grid(size: Size, steps: usize, spec: &VisionSpec) -> Grid {
    Grid { t: steps as u32, h: size.height / spec.patch, w: size.width / spec.patch }
}
