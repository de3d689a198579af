//! Where the rows of a new segment come from: a tail, or older segments.

use super::payload::Shown;
use crate::{error::IndexError, snapshot::SegmentView, tail::TailRow};
use std::{borrow::Cow, sync::Arc};

/// Rows in the order of their ids, each id once.
///
/// Vectors and texts are lent one row at a time, so that merging segments takes
/// no more memory than the largest file of the result.
pub(crate) trait RowSource {
    fn len(&self) -> usize;
    /// Returns the bytes of a row's id.
    fn id(&self, at: usize) -> &[u8];
    fn vector(&self, at: usize) -> &[f32];
    fn sequence(&self, at: usize) -> u64;
    fn content_hash(&self, at: usize) -> [u8; 32];
    /// Reads what the row shows; this is where a damaged file is met.
    fn shown(&self, at: usize) -> Result<Shown<'_>, IndexError>;
}

impl RowSource for Vec<Arc<TailRow>> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn id(&self, at: usize) -> &[u8] {
        self[at].id().as_bytes()
    }

    fn vector(&self, at: usize) -> &[f32] {
        self[at].vector()
    }

    fn sequence(&self, at: usize) -> u64 {
        self[at].sequence
    }

    fn content_hash(&self, at: usize) -> [u8; 32] {
        self[at].document.content_hash
    }

    fn shown(&self, at: usize) -> Result<Shown<'_>, IndexError> {
        let document = &self[at].document;
        Ok(Shown {
            text: Cow::Borrowed(&document.text),
            payload: Cow::Borrowed(&document.payload),
            provenance: Cow::Borrowed(&document.provenance),
            thought: document.thought.as_deref().map(Cow::Borrowed),
        })
    }
}

/// The live rows of several segments as one run.
pub(crate) struct MergedRows {
    views: Vec<SegmentView>,
    /// Which view a row is in, and its row there.
    rows: Vec<(u32, u32)>,
}

impl MergedRows {
    /// Merges what is alive in these views.
    pub(crate) fn new(views: Vec<SegmentView>) -> Self {
        let live: u64 = views.iter().map(SegmentView::live_rows).sum();
        let mut rows = Vec::with_capacity(live as usize);
        for (number, view) in (0_u32..).zip(&views) {
            let alive = (0..view.segment.rows()).filter(|&row| !view.dead.contains(row));
            rows.extend(alive.map(|row| (number, row)));
        }
        // Runs that are sorted already: the sort merges them.
        rows.sort_by(|&a, &b| id_of(&views, a).cmp(id_of(&views, b)));
        Self { views, rows }
    }

    pub(crate) fn views(&self) -> &[SegmentView] {
        &self.views
    }
}

fn id_of(views: &[SegmentView], (number, row): (u32, u32)) -> &[u8] {
    views[number as usize].segment.ids.id(row)
}

impl RowSource for MergedRows {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn id(&self, at: usize) -> &[u8] {
        id_of(&self.views, self.rows[at])
    }

    fn vector(&self, at: usize) -> &[f32] {
        let (number, row) = self.rows[at];
        self.views[number as usize].segment.vectors.row(row)
    }

    fn sequence(&self, at: usize) -> u64 {
        let (number, row) = self.rows[at];
        self.views[number as usize].segment.ids.sequence(row)
    }

    fn content_hash(&self, at: usize) -> [u8; 32] {
        let (number, row) = self.rows[at];
        self.views[number as usize].segment.ids.content_hash(row)
    }

    fn shown(&self, at: usize) -> Result<Shown<'_>, IndexError> {
        let (number, row) = self.rows[at];
        self.views[number as usize].segment.shown(row)
    }
}
