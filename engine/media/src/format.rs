//! File formats, recognised by their first bytes.

use std::fmt;

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
    /// AVI in its RIFF container.
    Avi,
    /// None of these.
    Unknown,
}

impl Format {
    /// Recognises a format by the file's first bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let is_riff = |kind| bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(kind);
        let is_iso_media = matches!(bytes.get(4..8), Some(b"ftyp" | b"moov"));
        match bytes {
            _ if bytes.starts_with(b"\x89PNG\r\n\x1a\n") => Self::Png,
            _ if bytes.starts_with(b"\xff\xd8\xff") => Self::Jpeg,
            _ if is_riff(b"WEBP") => Self::Webp,
            _ if is_riff(b"AVI ") => Self::Avi,
            _ if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") => Self::Gif,
            _ if bytes.starts_with(b"BM") => Self::Bmp,
            _ if bytes.starts_with(b"II*\0") || bytes.starts_with(b"MM\0*") => Self::Tiff,
            _ if bytes.starts_with(b"%PDF-") => Self::Pdf,
            _ if is_iso_media => Self::Mp4,
            _ if bytes.starts_with(b"\x1a\x45\xdf\xa3") => Self::Matroska,
            _ => Self::Unknown,
        }
    }

    /// Tells a film in one file from a picture and a document.
    pub fn is_film(self) -> bool {
        matches!(self, Self::Mp4 | Self::Matroska | Self::Avi)
    }

    /// Tells a picture from a film and a document.
    pub fn is_picture(self) -> bool {
        matches!(self, Self::Png | Self::Jpeg | Self::Webp | Self::Gif | Self::Bmp | Self::Tiff)
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
            Self::Avi => "AVI",
            Self::Unknown => "unknown format",
        })
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
        check(b"RIFF\0\0\0\0AVI LIST", Format::Avi);
        check(b"GIF89a", Format::Gif);
        check(b"BM", Format::Bmp);
        check(b"MM\0*", Format::Tiff);
        check(b"%PDF-1.7", Format::Pdf);
        check(b"\0\0\0\x20ftypisom", Format::Mp4);
        check(b"\x1a\x45\xdf\xa3", Format::Matroska);
        check(b"", Format::Unknown);
    }
}
