//! Kernels over single rows: normalising, quantising, gating, low-rank additions.

use crate::{
    activations::Slot,
    lanes::{Element, Lanes, exp},
    matrix::{BLOCK, GROUP},
};

/// Divides `count` values by their root mean square and scales them: RMSNorm.
///
/// # Safety
/// All pointers hold `count` values; the instruction set is there.
#[inline(always)]
pub(crate) unsafe fn normalise<V: Lanes>(
    row: *const f32,
    scales: *const f32,
    count: usize,
    eps: f32,
    out: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let whole = count - count % V::WIDTH;
        let mut squares = V::splat(0.0);
        for i in (0..whole).step_by(V::WIDTH) {
            let value = V::load(row.add(i));
            squares = value.mul_add(value, squares);
        }
        let mut sum = squares.sum();
        for i in whole..count {
            sum += row.add(i).read() * row.add(i).read();
        }
        let factor = 1.0 / (sum / count as f32 + eps).sqrt();
        for i in (0..whole).step_by(V::WIDTH) {
            let value = V::load(row.add(i)).mul(V::splat(factor));
            value.mul(V::load(scales.add(i))).store(out.add(i));
        }
        for i in whole..count {
            *out.add(i) = row.add(i).read() * factor * scales.add(i).read();
        }
    }
}

/// Integers that activations are rounded to.
pub(crate) trait Quant: Copy + Default {
    /// The largest; the smallest is as far from zero.
    const LIMIT: f32;
    /// Stores a vector of integers within the limits.
    ///
    /// # Safety
    /// As for [`Lanes`].
    unsafe fn store<V: Lanes>(values: V, to: *mut Self);
    /// Puts four neighbours into the order of the kernels.
    fn order(quad: [Self; 4]) -> [Self; 4];
}

impl Quant for i8 {
    const LIMIT: f32 = 127.0;

    #[inline(always)]
    unsafe fn store<V: Lanes>(values: V, to: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe { values.store_bytes(to) }
    }

    #[inline(always)]
    fn order(quad: [Self; 4]) -> [Self; 4] {
        quad
    }
}

impl Quant for i16 {
    const LIMIT: f32 = 32767.0;

    #[inline(always)]
    unsafe fn store<V: Lanes>(values: V, to: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe { values.store_words(to) }
    }

    #[inline(always)]
    fn order([first, second, third, fourth]: [Self; 4]) -> [Self; 4] {
        [first, third, second, fourth]
    }
}

/// An int8 that lies as int16 does.
#[derive(Debug, Clone, Copy, Default)]
#[repr(transparent)]
pub(crate) struct Widened(i16);

impl Quant for Widened {
    const LIMIT: f32 = i8::LIMIT;

    #[inline(always)]
    unsafe fn store<V: Lanes>(values: V, to: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe { values.store_words(to.cast()) }
    }

    #[inline(always)]
    fn order([first, second, third, fourth]: [Self; 4]) -> [Self; 4] {
        [first, third, second, fourth]
    }
}

/// Quantises a row of `count` values to integers in blocks of 32, each with the scale that
/// takes its largest value to the largest integer. What is missing of the last block counts as zero.
///
/// # Safety
/// `row` holds `count` values and `slot` is a row of quantised activations of as many
/// columns; the instruction set is there.
#[inline(always)]
pub(crate) unsafe fn quantise<V: Lanes, Q: Quant>(row: *const f32, count: usize, slot: &Slot) {
    // SAFETY: the caller's promise.
    unsafe {
        for block in 0..count.div_ceil(BLOCK) {
            let (start, len) = (block * BLOCK, (count - block * BLOCK).min(BLOCK));
            let mut padded = [0.0; BLOCK];
            let values = if len == BLOCK {
                row.add(start)
            } else {
                std::ptr::copy_nonoverlapping(row.add(start), padded.as_mut_ptr(), len);
                padded.as_ptr()
            };
            let mut largest = V::splat(0.0);
            for i in (0..BLOCK).step_by(V::WIDTH) {
                largest = largest.max(V::load(values.add(i)).abs());
            }
            let largest = largest.largest();
            // Bounded, lest it overflow for values next to zero.
            let inverse = if largest > 0.0 { (Q::LIMIT / largest).min(f32::MAX) } else { 0.0 };
            let mut quants = [Q::default(); BLOCK];
            let mut total = V::splat(0.0);
            for i in (0..BLOCK).step_by(V::WIDTH) {
                let value = V::load(values.add(i)).mul(V::splat(inverse)).round();
                let value = value.min(V::splat(Q::LIMIT)).max(V::splat(-Q::LIMIT));
                total = total.add(value);
                Q::store(value, quants.as_mut_ptr().add(i));
            }
            let total = total.sum();
            let scale = largest / Q::LIMIT;
            let at = block * slot.width;
            *slot.scales.add(at) = scale;
            *slot.centres.add(at) = -128 * total as i32;
            *slot.sums.add(at) = scale * total;
            let to = slot.quants.cast::<Q>().add(at * BLOCK);
            for (index, quad) in quants.as_chunks::<4>().0.iter().enumerate() {
                to.add(index * slot.width * 4).cast::<[Q; 4]>().write_unaligned(Q::order(*quad));
            }
        }
    }
}

/// Lays out a row of `count` values as it is.
///
/// # Safety
/// `row` holds `count` values and `slot` is a row of f32 activations of as many columns.
#[inline(always)]
pub(crate) unsafe fn spread(row: *const f32, count: usize, slot: &Slot) {
    // SAFETY: the caller's promise.
    unsafe {
        for i in 0..count {
            *slot.dense.add(i * slot.width) = row.add(i).read();
        }
        for i in count..count.next_multiple_of(BLOCK) {
            *slot.dense.add(i * slot.width) = 0.0;
        }
    }
}

/// Multiplies 16 values by the SiLU of 16 gates: `gate / (1 + e^-gate) * value`.
///
/// # Safety
/// All pointers hold 16 values; the instruction set is there.
#[inline(always)]
pub(crate) unsafe fn gate<V: Lanes>(gates: *const f32, values: *const f32, out: *mut f32) {
    // SAFETY: the caller's promise; `WIDTH` divides 16.
    unsafe {
        for i in (0..GROUP).step_by(V::WIDTH) {
            let gate = V::load(gates.add(i));
            let share = exp(V::splat(0.0).sub(gate)).add(V::splat(1.0));
            gate.div(share).mul(V::load(values.add(i))).store(out.add(i));
        }
    }
}

/// Rows whose low-rank products are added together, where there are as many: a product waits
/// for the one before of its row.
const LOW_RANK_ROWS: [usize; 2] = [8, 4];

/// Adds low-rank products to a group's 16 outputs of `rows` rows: `out += u B`.
///
/// # Safety
/// `b` holds `rank` times 16 values, `u` holds `rank` values every `stride` for each row,
/// `out` 16 for each row; the instruction set is there.
#[inline(always)]
pub(crate) unsafe fn add_low_rank<V: Lanes, E: Element>(
    b: *const E,
    u: *const f32,
    stride: usize,
    rank: usize,
    rows: usize,
    out: *mut f32,
) {
    // SAFETY: the caller's promise; a prefetch may have any address.
    unsafe {
        // The next group's factor comes right behind, and has the time of that group's product.
        let factor = rank * GROUP;
        V::prefetch(b.wrapping_add(factor).cast(), factor * size_of::<E>());
        let mut row = 0;
        while row + LOW_RANK_ROWS[0] <= rows {
            let (u, out) = (u.add(row * stride), out.add(row * GROUP));
            low_rank_rows::<V, E, { LOW_RANK_ROWS[0] }>(b, u, stride, rank, out);
            row += LOW_RANK_ROWS[0];
        }
        while row + LOW_RANK_ROWS[1] <= rows {
            let (u, out) = (u.add(row * stride), out.add(row * GROUP));
            low_rank_rows::<V, E, { LOW_RANK_ROWS[1] }>(b, u, stride, rank, out);
            row += LOW_RANK_ROWS[1];
        }
        while row < rows {
            let (u, out) = (u.add(row * stride), out.add(row * GROUP));
            low_rank_rows::<V, E, 1>(b, u, stride, rank, out);
            row += 1;
        }
    }
}

#[inline(always)]
unsafe fn low_rank_rows<V: Lanes, E: Element, const R: usize>(
    b: *const E,
    u: *const f32,
    stride: usize,
    rank: usize,
    out: *mut f32,
) {
    // SAFETY: the caller's promise; `WIDTH` divides 16.
    unsafe {
        for lane in (0..GROUP).step_by(V::WIDTH) {
            let mut sums = [V::splat(0.0); R];
            for (row, sum) in sums.iter_mut().enumerate() {
                *sum = V::load(out.add(row * GROUP + lane));
            }
            for j in 0..rank {
                let factor = E::load::<V>(b.add(j * GROUP + lane));
                for (row, sum) in sums.iter_mut().enumerate() {
                    *sum = V::splat(u.add(row * stride + j).read()).mul_add(factor, *sum);
                }
            }
            for (row, sum) in sums.iter().enumerate() {
                sum.store(out.add(row * GROUP + lane));
            }
        }
    }
}
