//! Kernels over rows of f32 for a model in training, with their derivatives.
//!
//! A tensor library takes each of these apart into half a dozen passes over memory, and as many
//! more on the way back; here each is one. Owns nothing. All run on the caller's thread; rows do
//! not depend on each other, so that callers may share them out.

use crate::{
    Isa,
    kernels::Kernels,
    lanes::{Lanes, exp},
    matrix::GROUP,
};

/// Multiplies values by the SiLU of their gates: `gate / (1 + e^-gate) * value`.
///
/// # Panics
/// Panics unless all slices are equally long.
pub fn gate(gates: &[f32], values: &[f32], out: &mut [f32]) {
    assert!(gates.len() == out.len() && values.len() == out.len(), "slices of one length");
    let kernels = Kernels::of(Isa::best());
    let inputs = gates.chunks(GROUP).zip(values.chunks(GROUP));
    for (out, (gates, values)) in out.chunks_mut(GROUP).zip(inputs) {
        let mut result = [0.0; GROUP];
        let (gates, values) = (group(gates), group(values));
        // SAFETY: each array has 16 values; `Kernels::of` has checked the instructions.
        unsafe { (kernels.gate)(gates.as_ptr(), values.as_ptr(), result.as_mut_ptr()) };
        out.copy_from_slice(&result[..out.len()]);
    }
}

/// The derivatives of [`gate`] by gates and by values, times `slopes`, those of what comes after.
///
/// # Panics
/// Panics unless all slices are equally long.
pub fn gate_backward(
    gates: &[f32],
    values: &[f32],
    slopes: &[f32],
    by_gates: &mut [f32],
    by_values: &mut [f32],
) {
    let len = by_gates.len();
    assert!(
        [gates.len(), values.len(), slopes.len(), by_values.len()]
            .iter()
            .all(|&other| other == len),
        "slices of one length"
    );
    let kernels = Kernels::of(Isa::best());
    let inputs = gates.chunks(GROUP).zip(values.chunks(GROUP)).zip(slopes.chunks(GROUP));
    let outputs = by_gates.chunks_mut(GROUP).zip(by_values.chunks_mut(GROUP));
    for (((gates, values), slopes), (by_gates, by_values)) in inputs.zip(outputs) {
        let (mut first, mut second) = ([0.0; GROUP], [0.0; GROUP]);
        let inputs = [group(gates), group(values), group(slopes)];
        // SAFETY: `Kernels::of` has checked the instructions.
        unsafe { (kernels.gate_backward)(&inputs, &mut first, &mut second) };
        by_gates.copy_from_slice(&first[..by_gates.len()]);
        by_values.copy_from_slice(&second[..by_values.len()]);
    }
}

/// A group of values, with zeros for what is missing.
fn group(values: &[f32]) -> [f32; GROUP] {
    values.first_chunk().copied().unwrap_or_else(|| {
        let mut padded = [0.0; GROUP];
        padded[..values.len()].copy_from_slice(values);
        padded
    })
}

/// Divides each row by its root mean square and scales the columns: RMSNorm.
///
/// # Panics
/// Panics unless `rows` and `out` are the same number of rows as wide as `scales`.
pub fn normalise(rows: &[f32], scales: &[f32], eps: f32, out: &mut [f32]) {
    let width = scales.len();
    assert!(rows.len() == out.len() && width > 0 && out.len().is_multiple_of(width), "whole rows");
    let kernels = Kernels::of(Isa::best());
    for (out, row) in out.chunks_exact_mut(width).zip(rows.chunks_exact(width)) {
        // SAFETY: all are `width` long; `Kernels::of` has checked the instructions.
        unsafe {
            (kernels.normalise)(row.as_ptr(), scales.as_ptr(), width, eps, out.as_mut_ptr());
        }
    }
}

/// The derivative of [`normalise`] by the rows, times `slopes`, those of what comes after.
///
/// # Panics
/// Panics unless all are the same number of rows as wide as `scales`.
pub fn normalise_backward(rows: &[f32], scales: &[f32], eps: f32, slopes: &[f32], out: &mut [f32]) {
    let width = scales.len();
    assert!(rows.len() == out.len() && slopes.len() == out.len(), "rows of one number");
    assert!(width > 0 && out.len().is_multiple_of(width), "whole rows");
    let kernels = Kernels::of(Isa::best());
    let inputs = rows.chunks_exact(width).zip(slopes.chunks_exact(width));
    for (out, (row, slopes)) in out.chunks_exact_mut(width).zip(inputs) {
        // SAFETY: all are equally long; `Kernels::of` has checked the instructions.
        unsafe { (kernels.normalise_backward)(row, scales, eps, slopes, out) };
    }
}

/// The softmax of each row of `scores` plus its row of `mask`: `scores` is `[batch, heads, rows,
/// width]`, `mask` is `[batch, rows, width]`.
///
/// # Panics
/// Panics unless the slices have these shapes.
pub fn masked_softmax(
    scores: &[f32],
    mask: &[f32],
    [heads, rows, width]: [usize; 3],
    out: &mut [f32],
) {
    assert!(scores.len() == out.len() && scores.len() == mask.len() * heads, "a mask for each");
    assert!(width > 0 && mask.len().is_multiple_of(rows * width), "whole batches");
    let kernels = Kernels::of(Isa::best());
    let parts = out.chunks_exact_mut(width).zip(scores.chunks_exact(width));
    for (at, (out, scores)) in parts.enumerate() {
        let masked = at / (heads * rows) * rows + at % rows;
        let mask = &mask[masked * width..][..width];
        // SAFETY: all are equally long; `Kernels::of` has checked the instructions.
        unsafe { (kernels.softmax)(scores, mask, out) };
    }
}

/// The derivative of [`masked_softmax`] by the scores, times `slopes`, those of what comes after;
/// `shares` is what it gave, rows of `width`.
///
/// # Panics
/// Panics unless all slices are as many whole rows.
pub fn softmax_backward(shares: &[f32], slopes: &[f32], width: usize, out: &mut [f32]) {
    assert!(shares.len() == out.len() && slopes.len() == out.len(), "rows of one number");
    assert!(width > 0 && out.len().is_multiple_of(width), "whole rows");
    let kernels = Kernels::of(Isa::best());
    let inputs = shares.chunks_exact(width).zip(slopes.chunks_exact(width));
    for (out, (shares, slopes)) in out.chunks_exact_mut(width).zip(inputs) {
        // SAFETY: all are equally long; `Kernels::of` has checked the instructions.
        unsafe { (kernels.softmax_backward)(shares, slopes, out) };
    }
}

/// Turns the heads of each row, `head_dim` wide: a value times its cosine, plus the value half a
/// head away times its sine. `is_back` goes the way of derivatives instead.
///
/// # Panics
/// Panics unless all slices are equally long and whole heads.
pub fn turn(
    rows: &[f32],
    cos: &[f32],
    sin: &[f32],
    head_dim: usize,
    is_back: bool,
    out: &mut [f32],
) {
    let len = out.len();
    assert!(rows.len() == len && cos.len() == len && sin.len() == len, "slices of one length");
    assert!(head_dim > 0 && head_dim.is_multiple_of(2) && len.is_multiple_of(head_dim), "heads");
    let half = head_dim / 2;
    let factors = cos.chunks_exact(head_dim).zip(sin.chunks_exact(head_dim));
    let heads = out.chunks_exact_mut(head_dim).zip(rows.chunks_exact(head_dim));
    for ((out, row), (cos, sin)) in heads.zip(factors) {
        let ((low, high), (cos_low, cos_high)) = (row.split_at(half), cos.split_at(half));
        let (sin_low, sin_high) = sin.split_at(half);
        let (out_low, out_high) = out.split_at_mut(half);
        // Backwards a value's sine is that of where it goes.
        let (by_low, by_high) = if is_back { (sin_high, sin_low) } else { (sin_low, sin_high) };
        for i in 0..half {
            out_low[i] = low[i] * cos_low[i] + high[i] * by_low[i];
            out_high[i] = high[i] * cos_high[i] + low[i] * by_high[i];
        }
    }
}

/// The derivatives of a gated group by gates and values, times slopes.
///
/// # Safety
/// The instruction set is there.
#[inline(always)]
pub(crate) unsafe fn gate_backward_group<V: Lanes>(
    [gates, values, slopes]: &[[f32; GROUP]; 3],
    by_gates: &mut [f32; GROUP],
    by_values: &mut [f32; GROUP],
) {
    // SAFETY: the caller's promise; `WIDTH` divides 16.
    unsafe {
        let one = V::splat(1.0);
        for i in (0..GROUP).step_by(V::WIDTH) {
            let gate = V::load(gates.as_ptr().add(i));
            let slope = V::load(slopes.as_ptr().add(i));
            let share = one.div(exp(V::splat(0.0).sub(gate)).add(one));
            let silu = gate.mul(share);
            // d silu = share + silu (1 - share)
            let by_gate = silu.mul(one.sub(share)).add(share);
            let value = V::load(values.as_ptr().add(i));
            slope.mul(silu).store(by_values.as_mut_ptr().add(i));
            slope.mul(value).mul(by_gate).store(by_gates.as_mut_ptr().add(i));
        }
    }
}

/// The derivative of a normalised row, times slopes.
///
/// # Safety
/// All slices are equally long; the instruction set is there.
#[inline(always)]
pub(crate) unsafe fn normalise_backward_row<V: Lanes>(
    row: &[f32],
    scales: &[f32],
    eps: f32,
    slopes: &[f32],
    out: &mut [f32],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let (mut squares, mut along) = (V::splat(0.0), V::splat(0.0));
        for at in (0..row.len()).step_by(V::WIDTH) {
            let value: V = load(row, at, 0.0);
            squares = value.mul_add(value, squares);
            let slope = load::<V>(slopes, at, 0.0).mul(load(scales, at, 0.0));
            along = slope.mul_add(value, along);
        }
        let mean = squares.sum() / row.len() as f32 + eps;
        let factor = 1.0 / mean.sqrt();
        // d x_i = factor (s_i g_i - x_i (sum s g x) / (n mean))
        let back = V::splat(-along.sum() / (row.len() as f32 * mean));
        for at in (0..row.len()).step_by(V::WIDTH) {
            let slope = load::<V>(slopes, at, 0.0).mul(load(scales, at, 0.0));
            let value = load::<V>(row, at, 0.0).mul_add(back, slope);
            store(value.mul(V::splat(factor)), out, at);
        }
    }
}

/// The softmax of a row and its mask.
///
/// # Safety
/// All slices are equally long and not empty; the instruction set is there.
#[inline(always)]
pub(crate) unsafe fn softmax_row<V: Lanes>(scores: &[f32], mask: &[f32], out: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe {
        let (mut largest, mut total) = (V::splat(f32::MIN), V::splat(0.0));
        for at in (0..scores.len()).step_by(V::WIDTH) {
            let score = load::<V>(scores, at, f32::MIN).add(load(mask, at, 0.0));
            largest = largest.max(score);
            total = total.add(score);
        }
        if total.sum().is_nan() {
            // The maximum does not show what is not a number; whoever trains has to see it.
            return out.fill(f32::NAN);
        }
        let largest = V::splat(largest.largest());
        let mut sum = V::splat(0.0);
        for at in (0..scores.len()).step_by(V::WIDTH) {
            let score = load::<V>(scores, at, f32::MIN).add(load(mask, at, 0.0));
            // Nothing where all but nothing: what is hidden must not become a subnormal number,
            // which products take many times as long for.
            let share = exp(score.sub(largest)).sub(V::splat(1e-37)).max(V::splat(0.0));
            store(share, out, at);
            // Read back, so that lanes beyond the row count nothing.
            sum = sum.add(load(out, at, 0.0));
        }
        let factor = V::splat(1.0 / sum.sum());
        for at in (0..scores.len()).step_by(V::WIDTH) {
            store(load::<V>(out, at, 0.0).mul(factor), out, at);
        }
    }
}

/// The derivative of a row's softmax, times slopes.
///
/// # Safety
/// All slices are equally long; the instruction set is there.
#[inline(always)]
pub(crate) unsafe fn softmax_backward_row<V: Lanes>(
    shares: &[f32],
    slopes: &[f32],
    out: &mut [f32],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut along = V::splat(0.0);
        for at in (0..shares.len()).step_by(V::WIDTH) {
            along = load::<V>(shares, at, 0.0).mul_add(load(slopes, at, 0.0), along);
        }
        let along = V::splat(along.sum());
        for at in (0..shares.len()).step_by(V::WIDTH) {
            let slope = load::<V>(slopes, at, 0.0).sub(along);
            store(load::<V>(shares, at, 0.0).mul(slope), out, at);
        }
    }
}

/// Loads a vector of a slice from `at` on, with `missing` beyond its end.
#[inline(always)]
unsafe fn load<V: Lanes>(values: &[f32], at: usize, missing: f32) -> V {
    // SAFETY: a whole vector lies in the slice, or in the array; the caller has the instructions.
    unsafe {
        if at + V::WIDTH <= values.len() {
            return V::load(values.as_ptr().add(at));
        }
        let mut padded = [missing; GROUP];
        padded[..values.len() - at].copy_from_slice(&values[at..]);
        V::load(padded.as_ptr())
    }
}

/// Stores a vector to a slice from `at` on, as far as that goes.
#[inline(always)]
unsafe fn store<V: Lanes>(vector: V, values: &mut [f32], at: usize) {
    // SAFETY: as for `load`.
    unsafe {
        if at + V::WIDTH <= values.len() {
            return vector.store(values.as_mut_ptr().add(at));
        }
        let mut padded = [0.0; GROUP];
        vector.store(padded.as_mut_ptr());
        let end = values.len();
        values[at..].copy_from_slice(&padded[..end - at]);
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn random(count: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| rng.random_range(-2.0..2.0)).collect()
    }

    fn assert_near(got: &[f32], want: &[f64], what: &str) {
        assert_eq!(got.len(), want.len());
        for (at, (got, want)) in got.iter().zip(want).enumerate() {
            let off = (f64::from(*got) - want).abs();
            assert!(off < 2e-5 * want.abs().max(1.0), "{what} {at}: {got}, not {want}");
        }
    }

    /// Slopes by central differences in f64 of `sum(slopes * function(inputs))`.
    fn differences(
        inputs: &[f64],
        slopes: &[f32],
        function: impl Fn(&[f64]) -> Vec<f64>,
    ) -> Vec<f64> {
        let total = |inputs: &[f64]| -> f64 {
            function(inputs)
                .iter()
                .zip(slopes)
                .map(|(value, &slope)| value * f64::from(slope))
                .sum()
        };
        (0..inputs.len())
            .map(|at| {
                let mut moved = inputs.to_vec();
                moved[at] = inputs[at] + 1e-4;
                let above = total(&moved);
                moved[at] = inputs[at] - 1e-4;
                (above - total(&moved)) / 2e-4
            })
            .collect()
    }

    fn wide(values: &[f32]) -> Vec<f64> {
        values.iter().map(|&value| f64::from(value)).collect()
    }

    #[test]
    fn gates_and_their_slopes() {
        for count in [1, 16, 37] {
            let (gates, values, slopes) = (random(count, 1), random(count, 2), random(count, 3));
            let function = |gates: &[f64], values: &[f64]| -> Vec<f64> {
                gates.iter().zip(values).map(|(g, v)| g / (1.0 + (-g).exp()) * v).collect()
            };
            let mut out = vec![0.0; count];
            gate(&gates, &values, &mut out);
            assert_near(&out, &function(&wide(&gates), &wide(&values)), "gated");
            let (mut by_gates, mut by_values) = (vec![0.0; count], vec![0.0; count]);
            gate_backward(&gates, &values, &slopes, &mut by_gates, &mut by_values);
            let want = differences(&wide(&gates), &slopes, |gates| function(gates, &wide(&values)));
            assert_near(&by_gates, &want, "by gates");
            let want =
                differences(&wide(&values), &slopes, |values| function(&wide(&gates), values));
            assert_near(&by_values, &want, "by values");
        }
    }

    #[test]
    fn norms_and_their_slopes() {
        for width in [1, 16, 37] {
            let (rows, slopes) = (random(3 * width, 1), random(3 * width, 2));
            let scales = random(width, 3);
            let function = |rows: &[f64]| -> Vec<f64> {
                rows.chunks(width)
                    .flat_map(|row| {
                        let mean = row.iter().map(|v| v * v).sum::<f64>() / width as f64 + 1e-5;
                        row.iter().zip(&scales).map(move |(v, &s)| v / mean.sqrt() * f64::from(s))
                    })
                    .collect()
            };
            let mut out = vec![0.0; 3 * width];
            normalise(&rows, &scales, 1e-5, &mut out);
            assert_near(&out, &function(&wide(&rows)), "normalised");
            normalise_backward(&rows, &scales, 1e-5, &slopes, &mut out);
            assert_near(&out, &differences(&wide(&rows), &slopes, function), "by rows");
        }
    }

    #[test]
    fn softmax_and_its_slopes() {
        let (batch, heads, rows) = (2, 3, 2);
        for width in [1, 16, 21] {
            let count = batch * heads * rows * width;
            let (scores, slopes) = (random(count, 1), random(count, 2));
            let mut mask = vec![0.0_f32; batch * rows * width];
            for (at, value) in mask.iter_mut().enumerate() {
                let (row, column) = (at / width, at % width);
                *value = if column > row { -1e30 } else { 0.0 };
            }
            let function = |scores: &[f64]| -> Vec<f64> {
                let shares = scores.chunks(width).enumerate().flat_map(|(at, scores)| {
                    let row = at / (heads * rows) * rows + at % rows;
                    let mask = &mask[row * width..][..width];
                    let parts: Vec<f64> =
                        scores.iter().zip(mask).map(|(s, &m)| (s + f64::from(m)).exp()).collect();
                    let sum: f64 = parts.iter().sum();
                    parts.into_iter().map(move |part| part / sum)
                });
                shares.collect()
            };
            let mut shares = vec![0.0; count];
            masked_softmax(&scores, &mask, [heads, rows, width], &mut shares);
            assert_near(&shares, &function(&wide(&scores)), "shares");
            assert!(shares.iter().all(|share| *share == 0.0 || share.is_normal()));
            let mut out = vec![0.0; count];
            softmax_backward(&shares, &slopes, width, &mut out);
            assert_near(&out, &differences(&wide(&scores), &slopes, function), "by scores");
            let mut broken = scores;
            broken[0] = f32::NAN;
            masked_softmax(&broken, &mask, [heads, rows, width], &mut shares);
            assert!(shares[..width].iter().all(|share| share.is_nan()));
            assert!(shares[width..].iter().all(|share| share.is_finite()));
        }
    }

    #[test]
    fn turns_and_their_slopes() {
        let (count, head_dim) = (24, 6);
        let (rows, slopes) = (random(count, 1), random(count, 2));
        let (cos, sin) = (random(count, 3), random(count, 4));
        let function = |rows: &[f64]| -> Vec<f64> {
            (0..count)
                .map(|at| {
                    let (head, column) = (at / head_dim, at % head_dim);
                    let other = head * head_dim + (column + head_dim / 2) % head_dim;
                    rows[at] * f64::from(cos[at]) + rows[other] * f64::from(sin[at])
                })
                .collect()
        };
        let mut out = vec![0.0; count];
        turn(&rows, &cos, &sin, head_dim, false, &mut out);
        assert_near(&out, &function(&wide(&rows)), "turned");
        turn(&slopes, &cos, &sin, head_dim, true, &mut out);
        assert_near(&out, &differences(&wide(&rows), &slopes, function), "by rows");
    }
}
