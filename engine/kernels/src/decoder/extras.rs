//! What sets rows of a pass apart from plain text.

use super::{DecoderShape, pass::Pass};
use crate::{rope::Angles, team::Member};

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
}
