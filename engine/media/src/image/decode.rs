//! Encoded bytes to an upright RGB image.

use std::io::Cursor;

use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader,
    error::UnsupportedErrorKind, metadata::Orientation,
};

use super::{Image, jpeg, rgb::rgb_of};
use crate::{error::MediaError, format::Format, guard, limits::Limits};

/// What is read as an image.
const READABLE: &str = "PNG, JPEG, WebP, GIF, BMP and TIFF";
/// The most bytes a pixel has while it is decoded: 16-bit RGBA, twice.
const DECODED_BYTES_MAX: u64 = 16;
/// What a decoder may use beside its pixels.
const DECODER_BYTES: u64 = 16 << 20;

/// Decodes a still image, or the first picture of an animation.
///
/// The format is told by the first bytes. The image is turned upright by its EXIF
/// orientation, transparency is laid over white, and 16-bit channels keep their high byte.
/// Colour profiles are not applied.
///
/// # Errors
/// Refuses other formats, CMYK, damaged and truncated files, and what exceeds `limits`.
pub fn decode_image(bytes: &[u8], limits: &Limits) -> Result<Image, MediaError> {
    if bytes.is_empty() {
        return Err(MediaError::Empty);
    }
    let max = limits.image_bytes_max as u64;
    MediaError::check_limit("size of the image in bytes", bytes.len() as u64, max)?;
    let format = Format::of(bytes);
    let image_format = match format {
        Format::Png => ImageFormat::Png,
        Format::Jpeg => ImageFormat::Jpeg,
        Format::Webp => ImageFormat::WebP,
        Format::Gif => ImageFormat::Gif,
        Format::Bmp => ImageFormat::Bmp,
        Format::Tiff => ImageFormat::Tiff,
        Format::Pdf | Format::Mp4 | Format::Matroska | Format::Avi | Format::Unknown => {
            return Err(MediaError::Format { format, kind: "an image", readable: READABLE });
        }
    };
    if format == Format::Jpeg {
        jpeg::check(bytes)?;
    }
    guard::catch(format, || decode(bytes, format, image_format, limits))
}

fn decode(
    bytes: &[u8],
    format: Format,
    image_format: ImageFormat,
    limits: &Limits,
) -> Result<Image, MediaError> {
    let problem = |error| explain(format, error);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), image_format);
    let mut decoder_limits = image::Limits::default();
    decoder_limits.max_alloc = Some(limits.image_pixels_max * DECODED_BYTES_MAX + DECODER_BYTES);
    reader.limits(decoder_limits);
    let mut decoder = reader.into_decoder().map_err(problem)?;
    check_size(decoder.dimensions(), limits)?;
    if matches!(decoder.original_color_type(), ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16)
    {
        return Err(MediaError::Unsupported {
            format,
            what: "CMYK colours".to_owned(),
            advice: "convert it to RGB first",
        });
    }
    let orientation = match format {
        // A TIFF file is laid out as an EXIF block is.
        Format::Tiff => Orientation::from_exif_chunk(bytes),
        _ => decoder.orientation().ok(),
    };
    let mut image = DynamicImage::from_decoder(decoder).map_err(problem)?;
    image.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
    let (width, height) = (image.width(), image.height());
    Image::new(width, height, rgb_of(image))
}

/// Holds a size against the limits.
pub(crate) fn check_size((width, height): (u32, u32), limits: &Limits) -> Result<(), MediaError> {
    if width == 0 || height == 0 {
        return Err(MediaError::Empty);
    }
    let side = u64::from(width.max(height));
    MediaError::check_limit("longer side in pixels", side, limits.image_side_max.into())?;
    let pixels = u64::from(width) * u64::from(height);
    MediaError::check_limit("size of the image in pixels", pixels, limits.image_pixels_max)
}

fn explain(format: Format, error: ImageError) -> MediaError {
    match error {
        ImageError::Unsupported(error) => {
            let what = match error.kind() {
                UnsupportedErrorKind::Color(color) => format!("{color:?} pixels"),
                UnsupportedErrorKind::GenericFeature(feature) => feature,
                _ => "a feature of its format that is not read here".to_owned(),
            };
            let advice = "save it as a plain 8-bit image first";
            MediaError::Unsupported { format, what, advice }
        }
        other => MediaError::Damaged { format, problem: other.to_string() },
    }
}
