//! Still images: 8-bit red, green and blue, upright, without alpha.

mod decode;
mod jpeg;
mod resize;
mod rgb;

pub(crate) use decode::check_size;
pub use decode::decode_image;
pub(crate) use resize::{Resampler, resize};

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

use crate::{error::MediaError, format::Format, vision::Size};

/// A decoded image.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    size: Size,
    rgb: Vec<u8>,
}

impl Image {
    /// Wraps rows of red, green and blue.
    ///
    /// # Errors
    /// Refuses an image without pixels, or with other than 3 bytes for each.
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self, MediaError> {
        let size = Size { width, height };
        if size.pixels() == 0 {
            return Err(MediaError::Empty);
        }
        if size.pixels().checked_mul(3) != Some(rgb.len() as u64) {
            let problem = format!("{} bytes are not {width} x {height} pixels", rgb.len());
            return Err(MediaError::Damaged { format: Format::Unknown, problem });
        }
        Ok(Self { size, rgb })
    }

    /// Columns.
    pub fn width(&self) -> u32 {
        self.size.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.size.height
    }

    /// Width and height.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Encodes it as PNG.
    ///
    /// # Errors
    /// Fails only when the encoder does.
    pub fn to_png(&self) -> Result<Vec<u8>, MediaError> {
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes)
            .write_image(&self.rgb, self.width(), self.height(), ExtendedColorType::Rgb8)
            .map_err(|error| MediaError::Damaged {
                format: Format::Png,
                problem: error.to_string(),
            })?;
        Ok(bytes)
    }

    /// The pixels, row by row, 3 bytes each.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}

/// Names the size and leaves the pixels out.
impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({} x {})", self.width(), self.height())
    }
}
