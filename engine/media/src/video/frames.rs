//! Frames that were chosen, at the size they are looked at, with their times.

use super::sampling::{FPS_UNKNOWN, Sampling, sample, spread, step_times};
use crate::{
    error::MediaError,
    format::Format,
    image::{Image, Resampler, decode_image, resize},
    limits::Limits,
    vision::{Patches, Size, VideoSpec, patches_of_frames, video_frame_size},
};

/// Sampled frames of one video, at least one, brought to the size that a vision tower
/// wants; the frames as they came are not kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Frames {
    images: Vec<Image>,
    sampling: Sampling,
    spec: VideoSpec,
}

impl Frames {
    /// Resizes frames that were sampled by `sampling`, one for each of its numbers.
    ///
    /// # Errors
    /// Refuses no frames, too few or too many, frames of different sizes, and an extreme
    /// aspect ratio.
    pub fn new(
        images: impl IntoIterator<Item = Result<Image, MediaError>>,
        sampling: Sampling,
        spec: &VideoSpec,
    ) -> Result<Self, MediaError> {
        let count = sampling.indices.len();
        let step = spec.vision.temporal_patch as usize;
        let mut sizes: Option<(Size, Size)> = None;
        let mut resized = Vec::with_capacity(count);
        for image in images {
            let image = image?;
            let (from, to) = match sizes {
                Some(sizes) => sizes,
                // The reference refuses fewer frames than a step has; they are repeated here.
                None => (image.size(), video_frame_size(image.size(), count.max(step), spec)?),
            };
            sizes = Some((from, to));
            if image.size() != from {
                return Err(different(from, image.size()));
            }
            resized.push(resize(&image, to, Resampler::Torch));
        }
        if resized.is_empty() {
            return Err(MediaError::Empty);
        }
        if resized.len() != count {
            let problem =
                format!("{} frames were read where {count} were asked for", resized.len());
            return Err(MediaError::Damaged { format: Format::Unknown, problem });
        }
        Ok(Self { images: resized, sampling, spec: spec.clone() })
    }

    /// The resized frames in time order.
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// Which frames of the video they are.
    pub fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// Normalises and flattens them, as Qwen3-VL's video processor does. The last frame is
    /// repeated to fill the last step of time.
    pub fn patches(&self) -> Patches {
        let step = self.spec.vision.temporal_patch as usize;
        let timestamps = step_times(&self.sampling.indices, self.sampling.fps, step);
        patches_of_frames(&self.images, timestamps, &self.spec.vision)
    }
}

/// Samples a list of encoded frames and decodes those that were chosen.
///
/// With a rate, the list is a video and is sampled as one. Without one (0), it counts as
/// sampled already: all frames are kept, up to the spec's most, and their times are
/// counted at 24 frames a second, as transformers does for frames without metadata.
///
/// # Errors
/// As [`decode_image`]; refuses no frames, and frames of different sizes.
pub fn decode_frames(
    files: &[Vec<u8>],
    fps: f32,
    spec: &VideoSpec,
    limits: &Limits,
) -> Result<Frames, MediaError> {
    if files.is_empty() {
        return Err(MediaError::Empty);
    }
    let max = limits.video_frames_max as u64;
    MediaError::check_limit("number of frames", files.len() as u64, max)?;
    let bytes: u64 = files.iter().map(|file| file.len() as u64).sum();
    MediaError::check_limit("size of the frames in bytes", bytes, limits.video_bytes_max as u64)?;
    let sampling = if fps > 0.0 && fps.is_finite() {
        sample(files.len(), f64::from(fps), spec)
    } else {
        let count = files.len().min(spec.max_frames);
        Sampling { indices: spread(files.len(), count), fps: FPS_UNKNOWN }
    };
    let count = sampling.indices.len();
    let chosen = sampling.indices.clone();
    let images = chosen.into_iter().map(|index| {
        let image = decode_image(&files[index], limits)?;
        check_pixels(image.size(), count, limits)?;
        Ok(image)
    });
    Frames::new(images, sampling, spec)
}

/// Holds the pixels of so many frames against the limits.
pub(super) fn check_pixels(size: Size, frames: usize, limits: &Limits) -> Result<(), MediaError> {
    let pixels = size.pixels().saturating_mul(frames as u64);
    MediaError::check_limit("size of the frames in pixels", pixels, limits.video_pixels_max)
}

fn different(first: Size, other: Size) -> MediaError {
    let problem = format!(
        "frames have different sizes: {} x {} and {} x {} pixels",
        first.width, first.height, other.width, other.height
    );
    MediaError::Damaged { format: Format::Unknown, problem }
}
