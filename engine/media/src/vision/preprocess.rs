//! Resizes, normalises and flattens.

use super::{
    flatten::{Levels, flatten, grid},
    patches::Patches,
    smart_resize::image_size,
    spec::VisionSpec,
};
use crate::{
    error::MediaError,
    image::{Image, Resampler, resize},
};

/// Makes the patches of one still image, as Qwen2-VL's PIL image processor does.
///
/// # Errors
/// Refuses an image of extreme aspect ratio.
pub fn preprocess_image(image: &Image, spec: &VisionSpec) -> Result<Patches, MediaError> {
    let resized = resize(image, image_size(image.size(), spec)?, Resampler::Pillow);
    let frames = vec![&resized; spec.temporal_patch as usize];
    let grid = grid(resized.size(), 1, spec);
    let mut values = Vec::with_capacity(grid.rows() * spec.patch_values());
    flatten(&frames, spec, &image_levels(spec), &mut values);
    Ok(Patches { values, grid, timestamps: Vec::new() })
}

/// Makes the patches of resized frames, of which there is at least one.
pub(crate) fn patches_of_frames(
    frames: &[Image],
    timestamps: Vec<f64>,
    spec: &VisionSpec,
) -> Patches {
    let step = spec.temporal_patch as usize;
    let grid = grid(frames[0].size(), frames.len().div_ceil(step), spec);
    let levels = video_levels(spec);
    let mut values = Vec::with_capacity(grid.rows() * spec.patch_values());
    for group in frames.chunks(step) {
        let filled: Vec<&Image> = (0..step).map(|i| &group[i.min(group.len() - 1)]).collect();
        flatten(&filled, spec, &levels, &mut values);
    }
    Patches { values, grid, timestamps }
}

/// Rescales in f64, rounds to f32 and normalises there, in the image processor's order.
fn image_levels(spec: &VisionSpec) -> Levels {
    levels(|level, channel| {
        let scaled = (f64::from(level) * (1.0 / 255.0)) as f32;
        (scaled - spec.mean[channel]) / spec.std[channel]
    })
}

/// Normalises with mean and deviation scaled to 255 in f32, as the video processor does
/// when it fuses rescaling into it.
fn video_levels(spec: &VisionSpec) -> Levels {
    let full = (1.0_f64 / (1.0 / 255.0)) as f32;
    levels(|level, channel| {
        (f32::from(level) - spec.mean[channel] * full) / (spec.std[channel] * full)
    })
}

fn levels(value: impl Fn(u8, usize) -> f32) -> Levels {
    std::array::from_fn(|channel| std::array::from_fn(|level| value(level as u8, channel)))
}
