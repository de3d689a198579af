//! Which size an image is brought to: `smart_resize` of Qwen2-VL's image processor and
//! of Qwen3-VL's video processor, in transformers.

use super::spec::{VideoSpec, VisionSpec};
use crate::error::MediaError;

/// Width and height, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Size {
    /// Counts the pixels.
    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// One side is at most so many times the other.
const ASPECT_MAX: u32 = 200;

/// Chooses the size a still image is brought to: sides that are multiples of a token,
/// pixels within the bounds, and nearly the same aspect ratio.
///
/// # Errors
/// Refuses an image without pixels and one of extreme aspect ratio.
pub fn image_size(from: Size, spec: &VisionSpec) -> Result<Size, MediaError> {
    bounded(from, 1.0, 1.0, spec)
}

/// Chooses the size that every one of `frames` frames is brought to; here the bounds
/// hold for all frames together.
///
/// # Errors
/// As [`image_size`].
pub fn video_frame_size(from: Size, frames: usize, spec: &VideoSpec) -> Result<Size, MediaError> {
    let factor = spec.vision.factor();
    let mut vision = spec.vision.clone();
    if let Some(tokens) = spec.frame_tokens_max {
        let frame_cap = u64::from(tokens) * u64::from(factor) * u64::from(factor);
        let share = vision.max_pixels / frames.max(1) as u64;
        let floor = (vision.min_pixels as f64 * 1.05) as u64;
        vision.max_pixels = frame_cap.min(share).max(floor) * frames as u64;
    }
    let mut from = from;
    if from.pixels() > 0 && (from.width < factor || from.height < factor) {
        let (width, height) = (f64::from(from.width), f64::from(from.height));
        let scale = (f64::from(factor) / height).max(f64::from(factor) / width);
        from = Size { width: (width * scale) as u32, height: (height * scale) as u32 };
    }
    let step = f64::from(spec.vision.temporal_patch);
    let whole = (frames as f64 / step).round_ties_even() * step;
    bounded(from, frames as f64, whole, &vision)
}

/// The common part; `frames` as they are, and `whole` steps of time.
fn bounded(from: Size, frames: f64, whole: f64, spec: &VisionSpec) -> Result<Size, MediaError> {
    if from.pixels() == 0 {
        return Err(MediaError::Empty);
    }
    let long = from.width.max(from.height);
    let short = from.width.min(from.height);
    if u64::from(long) > u64::from(short) * u64::from(ASPECT_MAX) {
        return Err(MediaError::AspectRatio { width: from.width, height: from.height });
    }
    let factor = f64::from(spec.factor());
    let (width, height) = (f64::from(from.width), f64::from(from.height));
    let nearest = |side: f64| (side / factor).round_ties_even() * factor;
    let (mut to_width, mut to_height) = (nearest(width), nearest(height));
    let pixels = whole * to_width * to_height;
    let (min, max) = (spec.min_pixels as f64, spec.max_pixels as f64);
    if pixels > max {
        let beta = (frames * height * width / max).sqrt();
        let below = |side: f64| ((side / beta / factor).floor() * factor).max(factor);
        (to_width, to_height) = (below(width), below(height));
    } else if pixels < min {
        let beta = (min / (frames * height * width)).sqrt();
        let above = |side: f64| (side * beta / factor).ceil() * factor;
        (to_width, to_height) = (above(width), above(height));
    }
    Ok(Size { width: to_width as u32, height: to_height as u32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(width: u32, height: u32, want: (u32, u32)) {
        let got = image_size(Size { width, height }, &VisionSpec::QWEN3_VL).expect("has a size");
        assert_eq!((got.width, got.height), want);
    }

    #[test]
    fn sides_become_multiples_within_the_bounds() {
        check(640, 480, (640, 480));
        check(1000, 700, (992, 704));
        check(10, 10, (256, 256));
        check(8000, 6000, (4704, 3520));
        // 16.5 and 17.5 tokens: halves go to the even neighbour.
        check(528, 560, (512, 576));
    }

    #[test]
    fn extremes_are_refused() {
        let size = |width, height| image_size(Size { width, height }, &VisionSpec::QWEN3_VL);
        assert!(size(200, 1).is_ok());
        assert!(matches!(size(201, 1), Err(MediaError::AspectRatio { .. })));
        assert!(matches!(size(0, 1), Err(MediaError::Empty)));
    }

    #[test]
    fn nothing_overflows() {
        let huge = Size { width: u32::MAX, height: u32::MAX };
        let size = image_size(huge, &VisionSpec::QWEN3_VL).expect("has a size");
        assert_eq!((size.width, size.height), (4096, 4096));
        assert!(video_frame_size(huge, usize::MAX, &VideoSpec::QWEN3_VL).is_ok());
    }
}
