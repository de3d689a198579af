//! A collection as it was at one moment: what every read looks at.
//!
//! A snapshot is a handful of shared pointers. Writers make new ones and leave
//! old ones alone, so a read never waits and never sees half a write; the files
//! under a snapshot stay mapped until the last reader lets go.

mod fields;
mod list;
mod parts;
mod plan;
mod scan;
mod search;

pub use plan::{Filtering, Plan, Strategy};
pub use search::{
    Hit, MAX_LIMIT, MIN_RECALL_TARGET, Ranked, Ranking, SearchOptions, SearchOutcome,
};

use crate::{
    config::CollectionConfig,
    document::StoredDocument,
    error::IndexError,
    filter::{Admitted, Filter, matches},
    projection::Projection,
    segment::Segment,
    tail::Tail,
};
use roaring::RoaringBitmap;
use std::sync::Arc;

/// A consistent view of a collection, unaffected by later writes.
///
/// Invariant: each id has at most one live row among the tails and segments,
/// since every write buries the row it takes the place of.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(crate) config: Arc<CollectionConfig>,
    /// Oldest first.
    pub(crate) segments: Arc<Vec<SegmentView>>,
    /// The rows being sealed; empty most of the time.
    pub(crate) frozen: Tail,
    /// The rows written since the last seal began.
    pub(crate) tail: Tail,
    pub(crate) last_sequence: u64,
}

/// A segment and which of its rows are dead.
#[derive(Debug, Clone)]
pub(crate) struct SegmentView {
    pub(crate) segment: Arc<Segment>,
    pub(crate) dead: Arc<RoaringBitmap>,
}

impl SegmentView {
    pub(crate) fn live_rows(&self) -> u64 {
        u64::from(self.segment.rows()) - self.dead.len()
    }

    /// Finds the live row of an id.
    pub(crate) fn find(&self, id: &str) -> Option<u32> {
        self.segment.ids.find(id).ok().filter(|&row| !self.dead.contains(row))
    }

    /// Returns the rows that a search may find.
    fn admitted(&self, filter: Option<&Filter>) -> Result<Admitted<'_>, IndexError> {
        let matching = filter.map(|filter| self.segment.matching(filter)).transpose()?;
        Ok(Admitted::new(matching, &self.dead, self.segment.rows()))
    }

    /// Returns the live rows that match a filter.
    fn matching(&self, filter: &Filter) -> Result<RoaringBitmap, IndexError> {
        Ok(self.segment.matching(filter)?.rows() - &*self.dead)
    }
}

impl Snapshot {
    /// Returns the sequence number of the last operation it includes.
    pub fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    /// Returns the number of documents.
    pub fn len(&self) -> u64 {
        let sealed: u64 = self.segments.iter().map(SegmentView::live_rows).sum();
        sealed + self.tail_len()
    }

    /// Tells whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the document of an id, if there is one.
    pub fn get(&self, id: &str) -> Result<Option<StoredDocument>, IndexError> {
        if let Some(row) = self.tails().find_map(|tail| tail.get(id)) {
            return Ok(Some(row.to_stored(Projection::ALL)));
        }
        let found = self.find_sealed(id).map(|(segment, row)| segment.read(row, Projection::ALL));
        self.check_sound()?;
        found.transpose()
    }

    /// Returns the content hash of a document without reading it.
    pub fn content_hash(&self, id: &str) -> Result<Option<[u8; 32]>, IndexError> {
        if let Some(row) = self.tails().find_map(|tail| tail.get(id)) {
            return Ok(Some(row.document.content_hash));
        }
        let hash = self.find_sealed(id).map(|(segment, row)| segment.ids.content_hash(row));
        self.check_sound()?;
        Ok(hash)
    }

    /// Counts the documents that match, exactly.
    pub fn count(&self, filter: Option<&Filter>) -> Result<u64, IndexError> {
        let Some(filter) = filter else { return Ok(self.len()) };
        filter.validate()?;
        self.config.schema.check_filter(filter)?;
        let mut count = 0;
        for view in self.segments.iter() {
            count += view.admitted(Some(filter))?.count();
        }
        for tail in self.tails() {
            let rows = tail.iter().map(|(_, row)| row);
            count += rows.filter(|row| matches(filter, &row.document.payload)).count() as u64;
        }
        self.check_sound()?;
        Ok(count)
    }

    /// Refuses if anything was found damaged in its files. Every read asks this
    /// at its end: where damage was met, what has been put together is not all
    /// there is.
    pub(crate) fn check_sound(&self) -> Result<(), IndexError> {
        self.segments.iter().try_for_each(|view| view.segment.check_sound())
    }

    /// Returns the rows that are in no segment yet.
    pub(crate) fn tail_len(&self) -> u64 {
        (self.tail.len() + self.frozen.len()) as u64
    }

    fn tails(&self) -> impl Iterator<Item = &Tail> {
        [&self.tail, &self.frozen].into_iter()
    }

    fn find_sealed(&self, id: &str) -> Option<(&Segment, u32)> {
        let newest_first = self.segments.iter().rev();
        newest_first.into_iter().find_map(|view| Some((&*view.segment, view.find(id)?)))
    }
}
