//! Bicubic resizing, bit for bit as Pillow does it for 8-bit channels (`Resample.c`):
//! a separable convolution whose support grows with the reduction, with coefficients in
//! 22-bit fixed point and an 8-bit image between the two passes.

use super::Image;
use crate::vision::Size;

/// Fractional bits of a coefficient: 32, less 8 for the pixel, less 2 of headroom.
const PRECISION_BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION_BITS - 1);
/// Reach of the bicubic kernel.
const SUPPORT: f64 = 2.0;

/// Which inputs make one output, and with what weights.
struct Window {
    start: usize,
    weights: Vec<i32>,
}

/// Resizes to exactly `to`.
pub(crate) fn resize(image: &Image, to: Size) -> Image {
    let from = image.size();
    let wide = if from.width == to.width {
        None
    } else {
        Some(resize_rows(image.rgb(), from, &windows(from.width, to.width)))
    };
    let rgb = wide.as_deref().unwrap_or(image.rgb());
    let tall = if from.height == to.height {
        None
    } else {
        Some(resize_columns(rgb, to.width as usize * 3, &windows(from.height, to.height)))
    };
    let rgb = tall.or(wide).unwrap_or_else(|| image.rgb().to_vec());
    Image { size: to, rgb }
}

/// Keys' cubic with a = -0.5.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Makes the windows of one axis, as `precompute_coeffs` and `normalize_coeffs_8bpc`.
fn windows(from: u32, to: u32) -> Vec<Window> {
    let scale = f64::from(from) / f64::from(to);
    let filter_scale = scale.max(1.0);
    let support = SUPPORT * filter_scale;
    let inverse = 1.0 / filter_scale;
    let window = |output: u32| {
        let center = (f64::from(output) + 0.5) * scale;
        let start = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(from as usize);
        let weights: Vec<f64> = (0..end - start)
            .map(|x| bicubic(((x + start) as f64 - center + 0.5) * inverse))
            .collect();
        let sum: f64 = weights.iter().sum();
        let weights = weights.iter().map(|weight| fixed(weight / sum)).collect();
        Window { start, weights }
    };
    (0..to).map(window).collect()
}

/// Rounds half away from zero, as the C code's cast does.
fn fixed(weight: f64) -> i32 {
    let scaled = weight * f64::from(1_u32 << PRECISION_BITS);
    (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

fn clip(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

fn resize_rows(rgb: &[u8], from: Size, windows: &[Window]) -> Vec<u8> {
    let mut out = Vec::with_capacity(windows.len() * from.height as usize * 3);
    for row in rgb.chunks_exact(from.width as usize * 3) {
        for window in windows {
            let mut sums = [HALF; 3];
            let pixels = row[window.start * 3..].chunks_exact(3);
            for (pixel, &weight) in pixels.zip(&window.weights) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            out.extend(sums.map(clip));
        }
    }
    out
}

fn resize_columns(rgb: &[u8], row_len: usize, windows: &[Window]) -> Vec<u8> {
    let mut out = Vec::with_capacity(windows.len() * row_len);
    let mut sums = vec![HALF; row_len];
    for window in windows {
        sums.fill(HALF);
        let rows = rgb[window.start * row_len..].chunks_exact(row_len);
        for (row, &weight) in rows.zip(&window.weights) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * weight;
            }
        }
        out.extend(sums.iter().map(|&sum| clip(sum)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_colour_stays_itself_at_every_size() {
        let image = Image::new(7, 5, [200, 3, 90].repeat(35)).expect("is an image");
        for (width, height) in [(7, 5), (1, 1), (3, 9), (64, 2), (13, 5)] {
            let resized = resize(&image, Size { width, height });
            assert_eq!(resized.size(), Size { width, height });
            assert!(resized.rgb().chunks_exact(3).all(|pixel| pixel == [200, 3, 90]));
        }
    }

    #[test]
    fn weights_of_a_window_sum_to_one() {
        for (from, to) in [(1, 50), (50, 1), (997, 31), (31, 997), (32_767, 32)] {
            for window in windows(from, to) {
                let sum: i64 = window.weights.iter().map(|&weight| i64::from(weight)).sum();
                let rounding = window.weights.len() as i64;
                assert!((sum - (1 << PRECISION_BITS)).abs() <= rounding, "{from} to {to}: {sum}");
            }
        }
    }
}
