//! One piece of media of any kind to patches.

use crate::{
    error::MediaError,
    format::Format,
    image::{Image, decode_image},
    limits::Limits,
    media::{Media, MediaKind},
    pdf::Pdf,
    video::{Ffmpeg, Frames, decode_frames, sample_video_file},
    vision::{Patches, VideoSpec, VisionSpec, preprocess_image},
};

/// Reads any piece of media for one vision tower. Takes as long as decoding takes, so
/// it belongs on a thread that may block.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaReader {
    /// What the tower wants of images and pages.
    pub image: VisionSpec,
    /// What it wants of videos.
    pub video: VideoSpec,
    /// Resolution that PDF pages are rendered at, in dots per inch. Default: 150.
    pub page_dpi: f32,
    /// What is accepted.
    pub limits: Limits,
    /// What reads video files.
    pub ffmpeg: Ffmpeg,
}

impl Default for MediaReader {
    fn default() -> Self {
        Self {
            image: VisionSpec::QWEN3_VL,
            video: VideoSpec::QWEN3_VL,
            page_dpi: 150.0,
            limits: Limits::default(),
            ffmpeg: Ffmpeg::default(),
        }
    }
}

impl MediaReader {
    /// Decodes a piece of media and makes its patches.
    ///
    /// # Errors
    /// See [`MediaError`].
    pub fn read(&self, media: &Media) -> Result<Patches, MediaError> {
        match media.kind {
            MediaKind::Image | MediaKind::Page => {
                preprocess_image(&self.picture(media)?, &self.image)
            }
            MediaKind::Video => Ok(self.frames(media)?.patches()),
        }
    }

    /// Decodes an image, or renders a page.
    ///
    /// # Errors
    /// See [`MediaError`].
    pub fn picture(&self, media: &Media) -> Result<Image, MediaError> {
        let file = media.files.first().ok_or(MediaError::Empty)?;
        if media.kind == MediaKind::Page && Format::of(file) == Format::Pdf {
            return Pdf::open(file.as_slice(), &self.limits)?.render(media.page, self.page_dpi);
        }
        decode_image(file, &self.limits)
    }

    /// Samples and decodes the frames of a video.
    ///
    /// # Errors
    /// See [`MediaError`].
    pub fn frames(&self, media: &Media) -> Result<Frames, MediaError> {
        match media.files.as_slice() {
            [file] if Format::of(file).is_film() => {
                sample_video_file(file, &self.video, &self.limits, &self.ffmpeg)
            }
            files => decode_frames(files, media.frames_per_second, &self.video, &self.limits),
        }
    }
}
