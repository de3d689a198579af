//! What sets rows of a pass apart from plain text, and what is read of them on the way.

use super::{DecoderShape, pass::Pass};
use crate::{buffer::Shared, rope::Angles, team::Member};

/// What sets rows of a pass apart from plain text.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowExtras<'a> {
    /// Cosines and sines by which each row turns, `[T, head_dim / 2]` each; `None` when rows
    /// turn by their place in the cache.
    pub angles: Option<(&'a [f32], &'a [f32])>,
    /// What is added to some rows between layers.
    pub additions: &'a [Addition<'a>],
}

/// Something that is added to some rows after a layer.
#[derive(Debug, Clone, Copy)]
pub struct Addition<'a> {
    /// The layer after which it is added.
    pub layer: usize,
    /// The rows of the pass, ascending.
    pub rows: &'a [usize],
    /// What is added to each, `[rows, hidden]`.
    pub values: &'a [f32],
}

/// What is read of some rows between layers.
#[derive(Debug)]
pub struct Tap<'a> {
    /// How many layers come before: at least 1, at most all.
    pub layers: usize,
    /// The rows of the pass.
    pub rows: &'a [usize],
    /// Where their residual streams go, `[rows, hidden]`, as they are before any norm.
    pub values: &'a mut [f32],
}

/// A tap, shared by the team.
pub(super) struct SharedTap<'a> {
    layers: usize,
    rows: &'a [usize],
    values: Shared<f32>,
}

impl<'a> Tap<'a> {
    /// Checks everything that the kernels rely on.
    pub(super) fn check(&self, total: usize, shape: &DecoderShape) {
        assert!((1..=shape.layers).contains(&self.layers), "the tap is behind a layer");
        assert_eq!(self.values.len(), self.rows.len() * shape.hidden, "every row has its place");
        assert!(self.rows.iter().all(|&row| row < total), "rows are of the pass");
    }

    pub(super) fn share(self) -> SharedTap<'a> {
        SharedTap { layers: self.layers, rows: self.rows, values: Shared::of(self.values) }
    }
}

impl<'a> RowExtras<'a> {
    /// Checks everything that the kernels rely on.
    pub(super) fn check(&self, total: usize, shape: &DecoderShape) {
        if let Some((cos, sin)) = self.angles {
            let want = total * (shape.head_dim / 2);
            assert_eq!([cos.len(), sin.len()], [want; 2], "every row has its angles");
        }
        for addition in self.additions {
            let want = addition.rows.len() * shape.hidden;
            assert_eq!(addition.values.len(), want, "every row gets one addition");
            assert!(addition.rows.is_sorted_by(|a, b| a < b), "rows ascend");
            assert!(addition.rows.last().is_none_or(|&row| row < total), "rows are of the pass");
        }
    }

    /// The angles of a row, where rows have their own.
    pub(super) fn angles_of(&self, row: usize, half: usize) -> Option<Angles<'a>> {
        let (cos, sin) = self.angles?;
        let own = row * half..(row + 1) * half;
        Some((&cos[own.clone()], &sin[own]))
    }
}

impl Pass<'_> {
    /// Adds what comes after layer `index` to the residual stream.
    pub(super) fn add_extras(&self, member: &Member<'_>, index: usize) {
        let hidden = self.sizes.hidden;
        for addition in self.extras.additions.iter().filter(|addition| addition.layer == index) {
            member.share(addition.rows.len(), self.row_piece(), |start, end| {
                for (row, added) in addition.rows[start..end]
                    .iter()
                    .zip(addition.values[start * hidden..].chunks_exact(hidden))
                {
                    // SAFETY: rows ascend, so each is one thread's; they lie in the pass.
                    let stream = unsafe {
                        std::slice::from_raw_parts_mut(self.stream.at(row * hidden), hidden)
                    };
                    for (value, added) in stream.iter_mut().zip(added) {
                        *value += added;
                    }
                }
            });
        }
    }

    /// Reads what is wanted of the residual stream after layer `index` and what is added to it.
    pub(super) fn read_tap(&self, member: &Member<'_>, index: usize) {
        let hidden = self.sizes.hidden;
        let Some(tap) = self.tap.as_ref().filter(|tap| tap.layers == index + 1) else { return };
        member.share(tap.rows.len(), self.row_piece(), |start, end| {
            for (place, row) in tap.rows.iter().enumerate().take(end).skip(start) {
                // SAFETY: the row lies in the pass, and nobody writes to the stream between two
                // shares; the place is this thread's alone, and not the stream's memory.
                unsafe {
                    let (from, to) = (self.stream.at(row * hidden), tap.values.at(place * hidden));
                    std::ptr::copy_nonoverlapping(from, to, hidden);
                }
            }
        });
    }
}
