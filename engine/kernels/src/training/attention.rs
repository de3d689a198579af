//! Attention of one segment's rows and one key-value head, there and back.

use super::{
    forest::Placed,
    product::{Product, Right, Term},
};
use crate::{DecoderShape, buffer::Shared, kernels::Kernels};

/// What a thread works in.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Panels of products.
    pub(super) panels: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    scores: Vec<f32>,
    shares: Vec<f32>,
    zeros: Vec<f32>,
    key_slopes: Vec<f32>,
    value_slopes: Vec<f32>,
}

/// Attention of all heads over one layer's rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attention<'a> {
    pub(super) shape: &'a DecoderShape,
    pub(super) kernels: &'static Kernels,
    /// `[T, queries + 2 * keys]`.
    pub(super) qkv: Shared<f32>,
    /// `[T, queries]`: what is mixed, or on the way back its slopes.
    pub(super) mixed: Shared<f32>,
}

/// Where slopes go on the way back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slopes {
    /// `[T, queries + 2 * keys]`; a unit writes its segment's rows of its heads.
    pub(super) qkv: Shared<f32>,
    /// Of the ancestors' keys, then values, `[2, rows before, head_dim]` of this unit alone.
    pub(super) before: Shared<f32>,
}

impl Attention<'_> {
    fn widths(&self) -> (usize, usize, usize) {
        let DecoderShape { heads, kv_heads, head_dim, .. } = *self.shape;
        let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
        (queries, keys, queries + 2 * keys)
    }

    /// Lays the keys and values that a segment sees one after another, `[seen, head_dim]`.
    unsafe fn gather(&self, segment: &Placed, kv_head: usize, scratch: &mut Scratch) {
        let (queries, keys, width) = self.widths();
        let dim = self.shape.head_dim;
        scratch.keys.clear();
        scratch.values.clear();
        for row in segment.seen() {
            // SAFETY: the caller's promise.
            unsafe {
                let key = self.qkv.at(row * width + queries + kv_head * dim);
                scratch.keys.extend_from_slice(std::slice::from_raw_parts(key, dim));
                let value = key.add(keys);
                scratch.values.extend_from_slice(std::slice::from_raw_parts(value, dim));
            }
        }
    }

    /// Computes one head's softmax, `[rows, seen]`.
    unsafe fn share(&self, segment: &Placed, head: usize, scratch: &mut Scratch) {
        let (_, _, width) = self.widths();
        let dim = self.shape.head_dim;
        let (rows, before) = (segment.rows.len(), segment.position);
        let seen = before + rows;
        scratch.scores.resize(rows * seen, 0.0);
        scratch.shares.resize(rows * seen, 0.0);
        scratch.zeros.resize(seen, 0.0);
        // SAFETY: the caller's promise; keys are gathered and the scores have room.
        unsafe {
            let queries = self.qkv.at(segment.rows.start * width + head * dim);
            let keys = scratch.keys.as_ptr();
            let product = self.scores(segment, (queries, width), keys, &mut scratch.scores);
            product.compute(&self.kernels.tiles, &mut scratch.panels);
        }
        for row in 0..rows {
            let visible = before + row + 1;
            let scores = &scratch.scores[row * seen..][..visible];
            let (shares, hidden) = scratch.shares[row * seen..][..seen].split_at_mut(visible);
            // SAFETY: all are equally long; the kernels are this machine's.
            unsafe { (self.kernels.softmax)(scores, &scratch.zeros[..visible], shares) };
            hidden.fill(0.0);
        }
    }

    /// Mixes the values that a segment's rows see into their output, for the heads that share a
    /// key-value head.
    ///
    /// # Safety
    /// The addresses are good for the segment's rows and its ancestors'; nobody else writes what
    /// is read, or this unit's output.
    pub(super) unsafe fn mix(&self, segment: &Placed, kv_head: usize, scratch: &mut Scratch) {
        let (queries, ..) = self.widths();
        let dim = self.shape.head_dim;
        let group = self.shape.heads / self.shape.kv_heads;
        // SAFETY: the caller's promise.
        unsafe {
            self.gather(segment, kv_head, scratch);
            for head in kv_head * group..(kv_head + 1) * group {
                self.share(segment, head, scratch);
                let product = Product {
                    rows: segment.rows.len(),
                    columns: dim,
                    terms: vec![self.rows_of(&scratch.shares, segment, scratch.values.as_ptr())],
                    scale: 1.0,
                    start: None,
                    out: Shared::new(self.mixed.at(segment.rows.start * queries + head * dim)),
                    out_row: queries,
                    out_column: 1,
                };
                product.compute(&self.kernels.tiles, &mut scratch.panels);
            }
        }
    }

    /// A segment's rows of one head, at an address and so far apart, times the transpose of
    /// `[seen, head_dim]`: `[rows, seen]`.
    fn scores(
        &self,
        segment: &Placed,
        (left, left_row): (*const f32, usize),
        right: *const f32,
        out: &mut [f32],
    ) -> Product<'static> {
        let (rows, dim) = (segment.rows.len(), self.shape.head_dim);
        let seen = segment.position + rows;
        let right = Right::Columns { start: right, step: dim };
        Product {
            rows,
            columns: seen,
            terms: vec![Term { left, left_row, left_step: 1, depth: dim, right }],
            scale: 1.0,
            start: None,
            out: Shared::of(out),
            out_row: seen,
            out_column: 1,
        }
    }

    /// `[rows, seen]` times `[seen, head_dim]`.
    fn rows_of(&self, left: &[f32], segment: &Placed, right: *const f32) -> Term<'static> {
        let seen = segment.position + segment.rows.len();
        Term {
            left: left.as_ptr(),
            left_row: seen,
            left_step: 1,
            depth: seen,
            right: Right::Rows { start: right, step: self.shape.head_dim },
        }
    }

    /// Finds the slopes of queries, keys and values from those of what was mixed.
    ///
    /// # Safety
    /// As for [`Self::mix`].
    pub(super) unsafe fn back(
        &self,
        segment: &Placed,
        kv_head: usize,
        slopes: Slopes,
        scratch: &mut Scratch,
    ) {
        let (queries, keys, width) = self.widths();
        let dim = self.shape.head_dim;
        let group = self.shape.heads / self.shape.kv_heads;
        let (rows, before) = (segment.rows.len(), segment.position);
        let seen = before + rows;
        let first = segment.rows.start;
        scratch.key_slopes.resize(seen * dim, 0.0);
        scratch.value_slopes.resize(seen * dim, 0.0);
        // SAFETY: the caller's promise.
        unsafe {
            self.gather(segment, kv_head, scratch);
            for (nth, head) in (kv_head * group..(kv_head + 1) * group).enumerate() {
                self.share(segment, head, scratch);
                let mixed = self.mixed.at(first * queries + head * dim);
                // Keys and values have slopes from every head of the group.
                let sums =
                    |left: *const f32, right: *const f32, step: usize, out: &mut Vec<f32>| {
                        let out = Shared::of(out);
                        Product {
                            rows: seen,
                            columns: dim,
                            terms: vec![Term {
                                left,
                                left_row: 1,
                                left_step: seen,
                                depth: rows,
                                right: Right::Rows { start: right, step },
                            }],
                            scale: 1.0,
                            start: (nth > 0).then_some(out.at(0).cast_const()),
                            out,
                            out_row: dim,
                            out_column: 1,
                        }
                    };
                let tiles = &self.kernels.tiles;
                let shares = scratch.shares.as_ptr();
                sums(shares, mixed, queries, &mut scratch.value_slopes)
                    .compute(tiles, &mut scratch.panels);

                // The shares' slopes, then the scores', where the scores were.
                let values = scratch.values.as_ptr();
                let product = self.scores(segment, (mixed, queries), values, &mut scratch.scores);
                product.compute(tiles, &mut scratch.panels);
                for row in 0..rows {
                    let visible = before + row + 1;
                    let slopes = &scratch.scores[row * seen..][..visible];
                    let shares = &mut scratch.shares[row * seen..][..visible];
                    let kept = &mut scratch.zeros[..visible];
                    kept.copy_from_slice(shares);
                    (self.kernels.softmax_backward)(kept, slopes, shares);
                }
                scratch.zeros.fill(0.0);

                let product = Product {
                    rows,
                    columns: dim,
                    terms: vec![self.rows_of(&scratch.shares, segment, scratch.keys.as_ptr())],
                    scale: 1.0,
                    start: None,
                    out: Shared::new(slopes.qkv.at(first * width + head * dim)),
                    out_row: width,
                    out_column: 1,
                };
                product.compute(tiles, &mut scratch.panels);
                let own = self.qkv.at(first * width + head * dim);
                sums(scratch.shares.as_ptr(), own, width, &mut scratch.key_slopes)
                    .compute(tiles, &mut scratch.panels);
            }
            let found = [(&scratch.key_slopes, queries), (&scratch.value_slopes, queries + keys)];
            for (which, (found, column)) in found.into_iter().enumerate() {
                let (ancestors, own) = found.split_at(before * dim);
                let target = slopes.before.at(which * before * dim);
                std::slice::from_raw_parts_mut(target, before * dim).copy_from_slice(ancestors);
                for (row, own) in own.chunks_exact(dim).enumerate() {
                    let target = slopes.qkv.at((first + row) * width + column + kv_head * dim);
                    std::slice::from_raw_parts_mut(target, dim).copy_from_slice(own);
                }
            }
        }
    }
}
