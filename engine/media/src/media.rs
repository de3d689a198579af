//! One piece of media, still encoded.

use std::fmt;

use crate::format::Format;

/// What a piece of media is used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MediaKind {
    /// A still picture.
    #[default]
    Image,
    /// Frames or an encoded film.
    Video,
    /// A page of a document.
    Page,
}

impl MediaKind {
    /// Names it in lower case: `image`, `video` or `page`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Page => "page",
        }
    }
}

/// Encoded bytes with their use.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Media {
    /// What the bytes are used as.
    pub kind: MediaKind,
    /// The encoded file; for a list of frames, one entry a frame.
    pub files: Vec<Vec<u8>>,
    /// Where it came from, never fetched; may be empty.
    pub uri: String,
    /// The files are a video's frames, so many a second; 0 means unknown.
    pub frames_per_second: f32,
    /// For a page: its number in the PDF, from 0.
    pub page: u32,
}

impl Media {
    /// Makes an image of an encoded file.
    pub fn image(file: Vec<u8>) -> Self {
        Self { kind: MediaKind::Image, files: vec![file], ..Self::default() }
    }

    /// Makes a video of an encoded file.
    pub fn video(file: Vec<u8>) -> Self {
        Self { kind: MediaKind::Video, files: vec![file], ..Self::default() }
    }

    /// Makes a video of encoded frames in time order; 0 frames a second means unknown.
    pub fn frames(files: Vec<Vec<u8>>, frames_per_second: f32) -> Self {
        Self { kind: MediaKind::Video, files, frames_per_second, ..Self::default() }
    }

    /// Makes a page of a PDF, or of one rendered page, counted from 0.
    pub fn page(file: Vec<u8>, page: u32) -> Self {
        Self { kind: MediaKind::Page, files: vec![file], page, ..Self::default() }
    }

    /// Sums the encoded bytes of all files.
    pub fn bytes(&self) -> usize {
        self.files.iter().map(Vec::len).sum()
    }
}

/// Reads as `an image (PNG)`.
impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            MediaKind::Image => "an image",
            MediaKind::Video => "a video",
            MediaKind::Page => "a page",
        };
        let format = self.files.first().map_or(Format::Unknown, |file| Format::of(file));
        write!(f, "{kind} ({format})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_names_itself_in_errors() {
        assert_eq!(Media::image(b"GIF87a".to_vec()).to_string(), "an image (GIF)");
        assert_eq!(Media::page(b"%PDF-1.7".to_vec(), 3).to_string(), "a page (PDF)");
        assert_eq!(Media::frames(Vec::new(), 0.0).to_string(), "a video (unknown format)");
    }
}
