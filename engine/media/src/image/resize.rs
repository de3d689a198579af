//! Bicubic resizing of 8-bit channels, bit for bit as the two processors do it: a separable
//! convolution whose support grows with the reduction, with coefficients in fixed point and
//! an 8-bit image between the passes.
//!
//! Still images go through Pillow 13 (`Resample.c`): coefficients of 22 fractional bits, and
//! the vertical pass first when the picture loses more than twice as many rows as columns.
//! Earlier Pillows always begin with the horizontal pass. That rule was found by
//! experiment, without an exception in 1,497 random pictures. Videos go through torch's
//! kernel for bytes: coefficients in 16 bits with as many fractional bits as the largest of
//! them leaves, the horizontal pass always first.

use super::Image;
use crate::vision::Size;

/// Fractional bits of Pillow's coefficients: 32, less 8 for the pixel, less 2 of headroom.
const PILLOW_BITS: u32 = 32 - 8 - 2;
/// The most fractional bits of torch's.
const TORCH_BITS_MAX: u32 = 22;
/// Torch's coefficients are below this.
const TORCH_COEFFICIENT_MAX: i64 = 1 << 15;
/// Reach of the bicubic kernel.
const SUPPORT: f64 = 2.0;

/// Whose arithmetic is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resampler {
    /// Of the image processor.
    Pillow,
    /// Of the video processor.
    Torch,
}

/// The windows of one axis.
struct Axis {
    windows: Vec<Window>,
    bits: u32,
}

/// Which inputs make one output, and with what weights.
struct Window {
    start: usize,
    weights: Vec<i32>,
}

/// Resizes to exactly `to`.
pub(crate) fn resize(image: &Image, to: Size, resampler: Resampler) -> Image {
    let from = image.size();
    let lost_rows = i64::from(from.height) - i64::from(to.height);
    let lost_columns = i64::from(from.width) - i64::from(to.width);
    let rows_first =
        resampler == Resampler::Pillow && lost_rows > 0 && lost_rows > 2 * lost_columns;
    if rows_first {
        let tall = to_height(image.rgb(), from, to.height, resampler);
        let between = Size { height: to.height, ..from };
        let rgb = to_width(tall.as_deref().unwrap_or(image.rgb()), between, to.width, resampler);
        let rgb = rgb.or(tall).unwrap_or_else(|| image.rgb().to_vec());
        return Image { size: to, rgb };
    }
    let wide = to_width(image.rgb(), from, to.width, resampler);
    let between = Size { width: to.width, ..from };
    let rgb = to_height(wide.as_deref().unwrap_or(image.rgb()), between, to.height, resampler);
    let rgb = rgb.or(wide).unwrap_or_else(|| image.rgb().to_vec());
    Image { size: to, rgb }
}

/// The horizontal pass; `None` when nothing is to be done.
fn to_width(rgb: &[u8], from: Size, width: u32, resampler: Resampler) -> Option<Vec<u8>> {
    let axis = || axis(from.width, width, resampler);
    (from.width != width).then(|| resize_rows(rgb, from, &axis()))
}

/// The vertical pass; `None` when nothing is to be done.
fn to_height(rgb: &[u8], from: Size, height: u32, resampler: Resampler) -> Option<Vec<u8>> {
    let axis = || axis(from.height, height, resampler);
    (from.height != height).then(|| resize_columns(rgb, from.width as usize * 3, &axis()))
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

/// Makes the windows of one axis, as `precompute_coeffs` of Pillow and
/// `compute_index_ranges_weights` of torch do.
fn axis(from: u32, to: u32, resampler: Resampler) -> Axis {
    let scale = f64::from(from) / f64::from(to);
    let filter_scale = scale.max(1.0);
    let support = SUPPORT * filter_scale;
    let inverse = 1.0 / filter_scale;
    let exact = |output: u32| {
        let center = (f64::from(output) + 0.5) * scale;
        let start = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(from as usize);
        let weights: Vec<f64> =
            (start..end).map(|input| bicubic((input as f64 - center + 0.5) * inverse)).collect();
        let sum: f64 = weights.iter().sum();
        (start, weights.into_iter().map(|weight| weight / sum).collect::<Vec<f64>>())
    };
    let windows: Vec<(usize, Vec<f64>)> = (0..to).map(exact).collect();
    let bits = match resampler {
        Resampler::Pillow => PILLOW_BITS,
        Resampler::Torch => {
            let weights = windows.iter().flat_map(|(_, weights)| weights);
            torch_bits(weights.fold(0.0, |most, &weight| weight.max(most)))
        }
    };
    let windows = windows.into_iter().map(|(start, weights)| Window {
        start,
        weights: weights.into_iter().map(|weight| fixed(weight, bits)).collect(),
    });
    Axis { windows: windows.collect(), bits }
}

/// As many bits as keep the largest coefficient within 16 with its sign.
fn torch_bits(largest: f64) -> u32 {
    let fits =
        |bits: u32| ((largest * f64::from(1_u32 << bits) + 0.5) as i64) < TORCH_COEFFICIENT_MAX;
    (0..TORCH_BITS_MAX).find(|&bits| !fits(bits + 1)).unwrap_or(TORCH_BITS_MAX)
}

/// Rounds half away from zero, as the C code's cast does.
fn fixed(weight: f64, bits: u32) -> i32 {
    let scaled = weight * f64::from(1_u32 << bits);
    (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

fn clip(sum: i32, bits: u32) -> u8 {
    (sum >> bits).clamp(0, 255) as u8
}

fn resize_rows(rgb: &[u8], from: Size, axis: &Axis) -> Vec<u8> {
    let mut out = Vec::with_capacity(axis.windows.len() * from.height as usize * 3);
    for row in rgb.chunks_exact(from.width as usize * 3) {
        for window in &axis.windows {
            let mut sums = [1 << (axis.bits - 1); 3];
            let pixels = row[window.start * 3..].chunks_exact(3);
            for (pixel, &weight) in pixels.zip(&window.weights) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            out.extend(sums.map(|sum| clip(sum, axis.bits)));
        }
    }
    out
}

fn resize_columns(rgb: &[u8], row_len: usize, axis: &Axis) -> Vec<u8> {
    let mut out = Vec::with_capacity(axis.windows.len() * row_len);
    let mut sums = vec![0; row_len];
    for window in &axis.windows {
        sums.fill(1 << (axis.bits - 1));
        let rows = rgb[window.start * row_len..].chunks_exact(row_len);
        for (row, &weight) in rows.zip(&window.weights) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * weight;
            }
        }
        out.extend(sums.iter().map(|&sum| clip(sum, axis.bits)));
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
            let resized = resize(&image, Size { width, height }, Resampler::Pillow);
            assert_eq!(resized.size(), Size { width, height });
            assert!(resized.rgb().chunks_exact(3).all(|pixel| pixel == [200, 3, 90]));
        }
    }

    #[test]
    fn weights_of_a_window_sum_to_one() {
        for (from, to) in [(1, 50), (50, 1), (997, 31), (31, 997), (32_767, 32)] {
            for resampler in [Resampler::Pillow, Resampler::Torch] {
                let axis = axis(from, to, resampler);
                for window in &axis.windows {
                    let weights = window.weights.iter().map(|&weight| i64::from(weight));
                    let off = weights.sum::<i64>() - (1 << axis.bits);
                    assert!(off.unsigned_abs() <= window.weights.len() as u64, "{from} to {to}");
                }
            }
        }
    }
}
