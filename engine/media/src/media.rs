//! One piece of media and the format its bytes announce.

use std::fmt;

/// What a piece of media is used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// A still picture.
    Image,
    /// Frames or an encoded film.
    Video,
    /// A page of a document.
    Page,
}

/// Encoded bytes with their use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// What the bytes are used as.
    pub kind: MediaKind,
    /// The encoded file; for a list of frames, one entry a frame.
    pub files: Vec<Vec<u8>>,
    /// Where it came from, never fetched; may be empty.
    pub uri: String,
}

/// A file format, recognised by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Portable Network Graphics.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP in its RIFF container.
    Webp,
    /// GIF87a or GIF89a.
    Gif,
    /// Windows bitmap.
    Bmp,
    /// TIFF in either byte order.
    Tiff,
    /// Portable Document Format.
    Pdf,
    /// ISO base media file: MP4, MOV and relatives.
    Mp4,
    /// Matroska or WebM.
    Matroska,
    /// None of these.
    Unknown,
}

impl Format {
    /// Recognises a format by the file's first bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let is_riff_webp =
            bytes.len() >= 12 && bytes.starts_with(b"RIFF") && &bytes[8..12] == b"WEBP";
        let is_iso_media = bytes.len() >= 8 && &bytes[4..8] == b"ftyp";
        match bytes {
            _ if bytes.starts_with(b"\x89PNG\r\n\x1a\n") => Self::Png,
            _ if bytes.starts_with(b"\xff\xd8\xff") => Self::Jpeg,
            _ if is_riff_webp => Self::Webp,
            _ if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") => Self::Gif,
            _ if bytes.starts_with(b"BM") => Self::Bmp,
            _ if bytes.starts_with(b"II*\0") || bytes.starts_with(b"MM\0*") => Self::Tiff,
            _ if bytes.starts_with(b"%PDF-") => Self::Pdf,
            _ if is_iso_media => Self::Mp4,
            _ if bytes.starts_with(b"\x1a\x45\xdf\xa3") => Self::Matroska,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::Webp => "WebP",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
            Self::Pdf => "PDF",
            Self::Mp4 => "MP4",
            Self::Matroska => "Matroska",
            Self::Unknown => "unknown format",
        })
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

    #[track_caller]
    fn check(bytes: &[u8], want: Format) {
        assert_eq!(Format::of(bytes), want);
    }

    #[test]
    fn formats_are_recognised_by_their_first_bytes() {
        check(b"\x89PNG\r\n\x1a\n....", Format::Png);
        check(b"\xff\xd8\xff\xe0", Format::Jpeg);
        check(b"RIFF\0\0\0\0WEBPVP8 ", Format::Webp);
        check(b"RIFF\0\0\0\0WAVE", Format::Unknown);
        check(b"GIF89a", Format::Gif);
        check(b"BM", Format::Bmp);
        check(b"MM\0*", Format::Tiff);
        check(b"%PDF-1.7", Format::Pdf);
        check(b"\0\0\0\x20ftypisom", Format::Mp4);
        check(b"\x1a\x45\xdf\xa3", Format::Matroska);
        check(b"", Format::Unknown);
    }

    #[test]
    fn media_names_itself_in_errors() {
        let image =
            Media { kind: MediaKind::Image, files: vec![b"GIF87a".to_vec()], uri: String::new() };
        assert_eq!(image.to_string(), "an image (GIF)");
    }
}
