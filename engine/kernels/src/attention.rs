//! Grouped-query attention over paged keys and values.
//!
//! Scores, softmax and the weighted sum go page by page with a running maximum and sum
//! ("online softmax", arXiv 1805.02867). Pages start at fixed positions and a row never
//! skips a page, so a row's result depends neither on the rows beside it nor on how the
//! prompt was cut into passes.

use crate::{
    kv::PAGE,
    lanes::{Element, Lanes, exp},
};

/// Rows done together: they share every key and value that is loaded.
pub(crate) const ATTENTION_ROWS: usize = 6;

/// Queries of one key-value head.
#[derive(Debug)]
pub(crate) struct AttentionTile<'a> {
    /// Rotated and scaled, `[rows, head_width]`, padding zero.
    pub(crate) queries: *const f32,
    /// At most [`ATTENTION_ROWS`].
    pub(crate) rows: usize,
    /// Positions that each row may see: its own and those before.
    pub(crate) visible: [usize; ATTENTION_ROWS],
    /// Addresses of the sequence's pages.
    pub(crate) pages: &'a [*mut u8],
    /// The element of a page at which the head's keys start; its values follow.
    pub(crate) head_start: usize,
    /// A head's width in memory, a multiple of 16.
    pub(crate) head_width: usize,
    /// Outputs, `[rows, head_width]`.
    pub(crate) out: *mut f32,
    /// Keys that are attended to next, to be fetched meanwhile with their values; null for none.
    pub(crate) next: *const u8,
}

/// Attends.
///
/// # Safety
/// The pointers must hold what the fields say, the pages as many positions as any row
/// sees; the instruction set is there.
#[inline(always)]
pub(crate) unsafe fn attend<V: Lanes, E: Element>(tile: &AttentionTile<'_>) {
    // SAFETY: the caller's promise.
    unsafe {
        match tile.rows {
            1 => attend_rows::<V, E, 1>(tile),
            2 => attend_rows::<V, E, 2>(tile),
            3 => attend_rows::<V, E, 3>(tile),
            4 => attend_rows::<V, E, 4>(tile),
            5 => attend_rows::<V, E, 5>(tile),
            _ => attend_rows::<V, E, ATTENTION_ROWS>(tile),
        }
    }
}

#[inline(always)]
unsafe fn attend_rows<V: Lanes, E: Element, const R: usize>(tile: &AttentionTile<'_>) {
    // SAFETY: the caller's promise; the scores are a page wide.
    unsafe {
        let width = tile.head_width;
        let mut scores = [[0.0_f32; PAGE]; R];
        let mut maxima = [f32::NEG_INFINITY; R];
        let mut sums = [0.0_f32; R];
        std::slice::from_raw_parts_mut(tile.out, R * width).fill(0.0);
        let end = tile.visible[..R].iter().copied().max().unwrap_or(0);
        for (number, first) in (0..end).step_by(PAGE).enumerate() {
            let page = tile.pages[number];
            let next = match tile.pages.get(number + 1) {
                Some(next) if first + PAGE < end => {
                    next.cast::<E>().wrapping_add(tile.head_start).cast_const().cast()
                }
                _ => tile.next,
            };
            let keys = page.cast::<E>().add(tile.head_start).cast_const();
            let ahead = if next.is_null() { 0 } else { next.addr().wrapping_sub(keys.addr()) };
            let values = keys.add(PAGE * width);
            let count = (end - first).min(PAGE);
            let columns = count.next_multiple_of(16);
            let table = scores.as_mut_ptr().cast::<f32>();
            let factors =
                Factors { a: tile.queries, a_stride: width, b: keys, b_stride: PAGE, ahead };
            multiply::<V, E, R>(factors, (width, columns), table, PAGE);
            for row in 0..R {
                let seen = tile.visible[row].saturating_sub(first).min(PAGE);
                let row_scores = &mut scores[row];
                row_scores[seen..columns].fill(f32::NEG_INFINITY);
                let mut max = V::splat(maxima[row]);
                for i in (0..columns).step_by(V::WIDTH) {
                    max = max.max(V::load(row_scores.as_ptr().add(i)));
                }
                let max = max.largest();
                let out = tile.out.add(row * width);
                if max > maxima[row] {
                    let factor = exp(V::splat(maxima[row] - max));
                    sums[row] *= factor.largest();
                    for i in (0..width).step_by(V::WIDTH) {
                        V::load(out.add(i)).mul(factor).store(out.add(i));
                    }
                    maxima[row] = max;
                }
                for i in (0..columns).step_by(V::WIDTH) {
                    let at = row_scores.as_mut_ptr().add(i);
                    exp(V::load(at).sub(V::splat(max))).store(at);
                }
                // Exactly zero, so that later positions do not touch this row.
                row_scores[seen..columns].fill(0.0);
                let mut sum = V::splat(0.0);
                for i in (0..columns).step_by(V::WIDTH) {
                    sum = sum.add(V::load(row_scores.as_ptr().add(i)));
                }
                sums[row] += sum.sum();
            }
            let a = scores.as_ptr().cast();
            let factors = Factors { a, a_stride: PAGE, b: values, b_stride: width, ahead };
            accumulate::<V, E, R>(factors, (count, width), tile.out);
        }
        for (row, sum) in sums.iter().enumerate() {
            let factor = V::splat(1.0 / sum);
            for i in (0..width).step_by(V::WIDTH) {
                let at = tile.out.add(row * width + i);
                V::load(at).mul(factor).store(at);
            }
        }
    }
}

/// The factors of a product.
#[derive(Clone, Copy)]
struct Factors<E> {
    a: *const f32,
    a_stride: usize,
    b: *const E,
    b_stride: usize,
    /// Bytes from `b` to what will take its place next, which is fetched bit by bit meanwhile:
    /// a page at once would fill all that can be on its way to a core.
    ahead: usize,
}

impl<E> Factors<E> {
    /// The product of `b` from a column on.
    fn from(self, column: usize) -> Self {
        Self { b: self.b.wrapping_add(column), ..self }
    }
}

/// `c = a b` for `a` of `[R, k]` and `b` of `[k, n]`, with `n` a multiple of 16.
#[inline(always)]
unsafe fn multiply<V: Lanes, E: Element, const R: usize>(
    factors: Factors<E>,
    (k, n): (usize, usize),
    c: *mut f32,
    c_stride: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut column = 0;
        while column < n {
            let (factors, c) = (factors.from(column), c.add(column));
            if V::WIDTH == 16 && column + 32 <= n {
                panel::<V, E, R, 2>(factors, k, c, c_stride, false);
                column += 32;
            } else if V::WIDTH == 16 {
                panel::<V, E, R, 1>(factors, k, c, c_stride, false);
                column += 16;
            } else {
                panel::<V, E, R, 2>(factors, k, c, c_stride, false);
                column += 16;
            }
        }
    }
}

/// `c += a b` for `a` of `[R, k]`, `b` and `c` with `n` columns, a multiple of 16.
#[inline(always)]
unsafe fn accumulate<V: Lanes, E: Element, const R: usize>(
    factors: Factors<E>,
    (k, n): (usize, usize),
    c: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut column = 0;
        while column < n {
            let (factors, c) = (factors.from(column), c.add(column));
            if V::WIDTH == 16 && column + 64 <= n {
                panel::<V, E, R, 4>(factors, k, c, n, true);
                column += 64;
            } else if V::WIDTH == 16 {
                panel::<V, E, R, 1>(factors, k, c, n, true);
                column += 16;
            } else {
                panel::<V, E, R, 2>(factors, k, c, n, true);
                column += 16;
            }
        }
    }
}

/// One panel of `N` vectors of columns.
#[inline(always)]
unsafe fn panel<V: Lanes, E: Element, const R: usize, const N: usize>(
    factors: Factors<E>,
    k: usize,
    c: *mut f32,
    c_stride: usize,
    adds: bool,
) {
    let Factors { a, a_stride, b, b_stride, ahead } = factors;
    // SAFETY: the caller's promise; what is fetched ahead may have any address.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; R];
        if adds {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load(c.add(row * c_stride + i * V::WIDTH));
                }
            }
        }
        for step in 0..k {
            let b = b.add(step * b_stride);
            V::prefetch(b.cast::<u8>().wrapping_add(ahead), N * V::WIDTH * size_of::<E>());
            let mut factors = [V::splat(0.0); N];
            for (i, factor) in factors.iter_mut().enumerate() {
                *factor = E::load::<V>(b.add(i * V::WIDTH));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = V::splat(a.add(row * a_stride + step).read());
                for (sum, factor) in sums.iter_mut().zip(factors) {
                    *sum = value.mul_add(factor, *sum);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (i, sum) in sums.iter().enumerate() {
                sum.store(c.add(row * c_stride + i * V::WIDTH));
            }
        }
    }
}
