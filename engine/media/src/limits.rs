//! How much of anything is accepted.

use std::time::Duration;

/// Bounds on what one piece of media may be and cost.
///
/// They are checked on what a file announces, before anything is decoded, and again on
/// what comes out. What passes them may still take, for an image, 3 bytes a pixel for the
/// result and up to 8 more while a 16-bit file with alpha is decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Encoded bytes of one image or video frame. Default: 32 MiB.
    pub image_bytes_max: usize,
    /// Pixels of one image, frame or rendered page. Default: 64 Mi, a phone's largest.
    pub image_pixels_max: u64,
    /// Pixels of either side of an image. Default: 32,767.
    pub image_side_max: u32,
    /// Encoded bytes of one video. Default: 256 MiB.
    pub video_bytes_max: usize,
    /// Frames of a list, given or asked of a video file. Default: 768.
    pub video_frames_max: usize,
    /// Pixels of all sampled frames of one video, before they are resized; one after the
    /// other is held. Default: 2 Gi, 768 frames of 1080p.
    pub video_pixels_max: u64,
    /// Time that `ffmpeg` may take for one video. Default: 60 s.
    pub video_time_max: Duration,
    /// Encoded bytes of one PDF. Default: 128 MiB.
    pub pdf_bytes_max: usize,
    /// Pages of one PDF. Default: 10,000.
    pub pdf_pages_max: usize,
    /// Time that opening a PDF or rendering one page may take. Default: 20 s.
    pub pdf_time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        Self {
            image_bytes_max: 32 * MIB,
            image_pixels_max: 64 << 20,
            image_side_max: 32_767,
            video_bytes_max: 256 * MIB,
            video_frames_max: 768,
            video_pixels_max: 2 << 30,
            video_time_max: Duration::from_secs(60),
            pdf_bytes_max: 128 * MIB,
            pdf_pages_max: 10_000,
            pdf_time_max: Duration::from_secs(20),
        }
    }
}
