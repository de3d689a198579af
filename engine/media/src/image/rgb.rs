//! Any pixel layout to 8-bit red, green and blue.
//!
//! Transparency is laid over white, as the Hugging Face processors do before anything
//! else, with Pillow's integer arithmetic (`AlphaComposite.c`). Of 16-bit channels the
//! high byte is kept, as Pillow does for colour; for grey it would clip at 255.

use image::DynamicImage;

/// Converts, dropping depth and laying alpha over white.
pub(super) fn rgb_of(image: DynamicImage) -> Vec<u8> {
    match image {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageLuma8(image) => {
            image.as_raw().iter().flat_map(|&grey| [grey; 3]).collect()
        }
        DynamicImage::ImageLumaA8(image) => {
            let pixels = image.as_raw().chunks_exact(2);
            pixels.flat_map(|pixel| [over_white(pixel[0], pixel[1]); 3]).collect()
        }
        DynamicImage::ImageRgba8(image) => rgb_of_rgba(image.as_raw().chunks_exact(4)),
        DynamicImage::ImageLuma16(image) => {
            image.as_raw().iter().flat_map(|&grey| [high(grey); 3]).collect()
        }
        DynamicImage::ImageLumaA16(image) => {
            let pixels = image.as_raw().chunks_exact(2);
            pixels.flat_map(|pixel| [over_white(high(pixel[0]), high(pixel[1])); 3]).collect()
        }
        DynamicImage::ImageRgb16(image) => {
            image.as_raw().iter().map(|&value| high(value)).collect()
        }
        DynamicImage::ImageRgba16(image) => {
            let bytes: Vec<u8> = image.as_raw().iter().map(|&value| high(value)).collect();
            rgb_of_rgba(bytes.chunks_exact(4))
        }
        other => other.into_rgb8().into_raw(),
    }
}

fn rgb_of_rgba<'a>(pixels: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    pixels
        .flat_map(|p| [over_white(p[0], p[3]), over_white(p[1], p[3]), over_white(p[2], p[3])])
        .collect()
}

fn high(value: u16) -> u8 {
    (value >> 8) as u8
}

/// Lays one channel over white, with 7 extra bits of precision.
fn over_white(value: u8, alpha: u8) -> u8 {
    if alpha == 0 {
        return 255;
    }
    let front = u32::from(alpha) << 7;
    let back = (255 << 7) - front;
    let sum = u32::from(value) * front + 255 * back + (0x80 << 7);
    ((((sum >> 8) + sum) >> 8) >> 7) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_is_laid_over_white() {
        // Figures of Pillow's `alpha_composite`.
        assert_eq!(
            [(100, 0), (100, 128), (100, 255), (7, 3)].map(|(v, a)| over_white(v, a)),
            [255, 177, 100, 252]
        );
    }
}
