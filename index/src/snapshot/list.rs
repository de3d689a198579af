//! Going through documents in the order of their ids.

use super::{MAX_LIMIT, Snapshot};
use crate::{
    document::StoredDocument,
    error::{IndexError, check_option},
    filter::{Filter, matches},
    projection::Projection,
    segment::Segment,
    tail::TailRow,
};
use std::iter::Peekable;

/// One document found while going through a source.
enum Found<'a> {
    Sealed(&'a Segment, u32),
    Fresh(&'a TailRow),
}

impl Found<'_> {
    fn id(&self) -> &[u8] {
        match self {
            Self::Sealed(segment, row) => segment.ids.id(*row),
            Self::Fresh(row) => row.id().as_bytes(),
        }
    }

    fn read(&self) -> Result<StoredDocument, IndexError> {
        match self {
            Self::Sealed(segment, row) => segment.read(*row, Projection::ALL),
            Self::Fresh(row) => Ok(row.to_stored(Projection::ALL)),
        }
    }
}

type Source<'a> = Peekable<Box<dyn Iterator<Item = Found<'a>> + 'a>>;

impl Snapshot {
    /// Returns up to `limit` documents by ascending id, compared bytewise,
    /// beginning with the first id greater than `after`.
    pub fn list(
        &self,
        after: Option<&str>,
        limit: usize,
        filter: Option<&Filter>,
    ) -> Result<Vec<StoredDocument>, IndexError> {
        check_option("limit", limit, 1, MAX_LIMIT)?;
        filter.map_or(Ok(()), Filter::validate)?;
        filter.map_or(Ok(()), |filter| self.config.schema.check_filter(filter))?;
        // No document has an empty id, so this is before all of them.
        let after = after.unwrap_or("");
        let mut sources = self.sources(after, filter)?;
        let mut listed = Vec::new();
        while listed.len() < limit {
            let Some(next) = take_least(&mut sources) else { break };
            listed.push(next.read());
            // Damage may have taken it out of its order.
            self.check_sound()?;
        }
        self.check_sound()?;
        listed.into_iter().collect()
    }

    /// Opens each segment and tail as a sorted run of matching documents.
    fn sources<'a>(
        &'a self,
        after: &'a str,
        filter: Option<&'a Filter>,
    ) -> Result<Vec<Source<'a>>, IndexError> {
        let mut sources: Vec<Source<'a>> = Vec::with_capacity(self.segments.len() + 2);
        for view in self.segments.iter() {
            let segment = &*view.segment;
            let first = match segment.ids.find(after) {
                Ok(row) => row + 1,
                Err(row) => row,
            };
            let rows: Box<dyn Iterator<Item = Found<'a>>> = match filter {
                Some(filter) => {
                    let mut rows = view.matching(filter)?;
                    rows.remove_range(..first);
                    Box::new(rows.into_iter().map(|row| Found::Sealed(segment, row)))
                }
                None => {
                    let live = (first..segment.rows()).filter(|&row| !view.dead.contains(row));
                    Box::new(live.map(|row| Found::Sealed(segment, row)))
                }
            };
            sources.push(rows.peekable());
        }
        for tail in self.tails() {
            let rows = tail.iter_after(after).map(|(_, row)| &**row);
            let rows: Box<dyn Iterator<Item = Found<'a>>> = Box::new(
                rows.filter(move |row| {
                    filter.is_none_or(|filter| matches(filter, &row.document.payload))
                })
                .map(Found::Fresh),
            );
            sources.push(rows.peekable());
        }
        Ok(sources)
    }
}

/// Takes the document with the least id of all sources.
fn take_least<'a>(sources: &mut [Source<'a>]) -> Option<Found<'a>> {
    let least = sources
        .iter_mut()
        .enumerate()
        .filter_map(|(number, source)| source.peek().map(|found| (number, found)))
        .min_by(|(_, a), (_, b)| a.id().cmp(b.id()))
        .map(|(number, _)| number)?;
    sources[least].next()
}
