//! Which frames are looked at: `sample_frames` of Qwen3-VL's video processor.

use crate::vision::VideoSpec;

/// The frame rate that is assumed where none is known.
pub(super) const FPS_UNKNOWN: f64 = 24.0;

/// Frames of a video, by number, and the rate they are numbered at.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Numbers of the frames to look at, ascending, from 0.
    pub indices: Vec<usize>,
    /// Frames a second of the whole video.
    pub fps: f64,
}

/// Chooses frames of a video that has `total` of them, at `fps` a second.
///
/// A rate that is not a positive number counts as 24, as the reference has it.
pub fn sample(total: usize, fps: f64, spec: &VideoSpec) -> Sampling {
    let fps = if fps.is_finite() && fps > 0.0 { fps } else { FPS_UNKNOWN };
    let wanted = (total as f64 / fps * spec.fps) as usize;
    let count = wanted.max(spec.min_frames).min(spec.max_frames).min(total);
    Sampling { indices: spread(total, count), fps }
}

/// Spreads `count` numbers evenly over `0..total`: `linspace(0, total - 1, count).round()`.
pub(super) fn spread(total: usize, count: usize) -> Vec<usize> {
    match (total, count) {
        (0, _) | (_, 0) => Vec::new(),
        (_, 1) => vec![0],
        _ => {
            let last = (total - 1) as f64;
            let step = last / (count - 1) as f64;
            let mut indices: Vec<usize> =
                (0..count).map(|i| (i as f64 * step).round_ties_even() as usize).collect();
            // `linspace` sets its end rather than computing it.
            indices[count - 1] = total - 1;
            indices
        }
    }
}

/// Times of the steps that `step` frames each make, as the mean of the first's and the
/// last's; the last frame fills the last step.
pub(super) fn step_times(indices: &[usize], fps: f64, step: usize) -> Vec<f64> {
    let time = |index: usize| index as f64 / fps;
    let steps = indices.chunks(step.max(1));
    steps.map(|chunk| f64::midpoint(time(chunk[0]), time(chunk[chunk.len() - 1]))).collect()
}
