//! Sequences of which shared beginnings are computed once.

use std::ops::Range;

/// Rows that follow those of another segment, or begin a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The segment that comes before, one of those listed earlier.
    pub parent: Option<usize>,
    /// Rows there are, at least one.
    pub len: usize,
}

/// Segments of rows, each of which sees its ancestors and, causally, itself. Rows lie segment by
/// segment. A sequence is a path from a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forest {
    segments: Vec<Placed>,
    rows: usize,
}

/// A segment among the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    /// Its own rows.
    pub(super) rows: Range<usize>,
    /// The rows of its ancestors, the root's first.
    pub(super) before: Vec<Range<usize>>,
    /// Rows of its ancestors: the position of its first row.
    pub(super) position: usize,
}

impl Placed {
    /// Rows of ancestors and its own, in order of their positions.
    pub(super) fn seen(&self) -> impl Iterator<Item = usize> + '_ {
        self.before.iter().cloned().flatten().chain(self.rows.clone())
    }
}

impl Forest {
    /// Places segments one after another.
    ///
    /// # Panics
    /// Panics when a segment is empty, or its parent is not listed before it.
    pub fn new(segments: &[Segment]) -> Self {
        let mut placed: Vec<Placed> = Vec::with_capacity(segments.len());
        let mut rows = 0;
        for segment in segments {
            assert!(segment.len > 0, "a segment has rows");
            let (before, position) = match segment.parent.map(|parent| &placed[parent]) {
                None => (Vec::new(), 0),
                Some(parent) => {
                    let mut before = parent.before.clone();
                    before.push(parent.rows.clone());
                    (before, parent.position + parent.rows.len())
                }
            };
            placed.push(Placed { rows: rows..rows + segment.len, before, position });
            rows += segment.len;
        }
        Self { segments: placed, rows }
    }

    /// Rows of all segments.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Where a segment's rows lie.
    ///
    /// # Panics
    /// Panics when there is no such segment.
    pub fn rows_of(&self, segment: usize) -> Range<usize> {
        self.segments[segment].rows.clone()
    }

    /// The position of every row in its sequence.
    pub fn positions(&self) -> Vec<usize> {
        let of = |one: &Placed| one.position..one.position + one.rows.len();
        self.segments.iter().flat_map(of).collect()
    }

    pub(super) fn segments(&self) -> &[Placed] {
        &self.segments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_follow_their_ancestors() {
        let segment = |parent, len| Segment { parent, len };
        let forest = Forest::new(&[
            segment(None, 2),
            segment(Some(0), 3),
            segment(Some(0), 1),
            segment(Some(1), 2),
            segment(None, 1),
        ]);
        assert_eq!(forest.rows(), 9);
        assert_eq!(forest.positions(), [0, 1, 2, 3, 4, 2, 5, 6, 0]);
        assert_eq!(forest.rows_of(3), 6..8);
        let seen: Vec<usize> = forest.segments()[3].seen().collect();
        assert_eq!(seen, [0, 1, 2, 3, 4, 6, 7]);
    }
}
