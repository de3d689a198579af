//! Finding the nearest documents.
//!
//! Each segment is scanned or walked, the tails are scanned, and the best of
//! each are merged. Filters and tombstones keep rows out before anything is
//! ranked, so an answer has as many hits as were asked for, or all there are.

use super::{
    SegmentView, Snapshot,
    plan::{Plan, Tally, prefers_walk},
    scan::{Nearest, cosine, scan},
};
use crate::{
    config::MAX_EF,
    document::StoredDocument,
    error::{IndexError, check_option},
    filter::{Filter, matches},
    graph::{Graph, Walk, row_of, with_scratch},
    tail::{Place, Tail},
    vector::UnitVector,
};
use roaring::RoaringBitmap;

/// The most hits or documents that one call returns.
pub const MAX_LIMIT: usize = 10_000;

/// What to search for besides the vector.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchOptions {
    /// How many hits to return, from 1 to [`MAX_LIMIT`].
    pub limit: usize,
    /// Candidates kept while walking a graph, up to [`MAX_EF`]: more of them
    /// find more and cost more. The collection's own value where absent; never
    /// less than `limit`.
    pub ef: Option<usize>,
    /// Compare every admitted vector, for an exact answer.
    pub exact: bool,
    /// Only documents that match.
    pub filter: Option<Filter>,
}

impl SearchOptions {
    /// Asks for this many hits and leaves the rest to the collection.
    pub fn new(limit: usize) -> Self {
        Self { limit, ef: None, exact: false, filter: None }
    }

    fn validate(&self) -> Result<(), IndexError> {
        check_option("limit", self.limit, 1, MAX_LIMIT)?;
        self.ef.map_or(Ok(()), |ef| check_option("ef", ef, 1, MAX_EF))?;
        self.filter.as_ref().map_or(Ok(()), Filter::validate)
    }
}

/// What a search found, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchOutcome {
    /// The hits, best first; equal scores by ascending id.
    pub hits: Vec<Hit>,
    /// What the search did.
    pub plan: Plan,
}

/// One document found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Cosine of the query and the document, from -1 to 1.
    pub score: f32,
    /// The document.
    pub document: StoredDocument,
}

/// A row that may become a hit.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    score: f32,
    row: Row<'a>,
}

#[derive(Clone, Copy)]
enum Row<'a> {
    Sealed(&'a SegmentView, u32),
    Fresh(&'a Tail, Place),
}

impl Row<'_> {
    fn id(&self) -> &[u8] {
        match self {
            Self::Sealed(view, row) => view.segment.ids.id(*row),
            Self::Fresh(tail, place) => tail.at(*place).id().as_bytes(),
        }
    }

    fn read(&self) -> Result<StoredDocument, IndexError> {
        match self {
            Self::Sealed(view, row) => view.segment.read(*row),
            Self::Fresh(tail, place) => Ok(tail.at(*place).to_stored()),
        }
    }
}

impl Snapshot {
    /// Finds the documents nearest to a query.
    pub fn search(
        &self,
        query: &UnitVector,
        options: &SearchOptions,
    ) -> Result<SearchOutcome, IndexError> {
        options.validate()?;
        let schema = &self.config.schema;
        options.filter.as_ref().map_or(Ok(()), |filter| schema.check_filter(filter))?;
        if query.dimension() != self.config.dimension {
            return Err(IndexError::DimensionMismatch {
                what: "query vector".to_owned(),
                got: query.dimension(),
                want: self.config.dimension,
            });
        }
        let ef = options.ef.unwrap_or(self.config.hnsw.ef_search).max(options.limit);
        let (query, m) = (query.as_slice(), self.config.hnsw.m);
        let mut search = Search { query, options, ef, m, tally: Tally::default(), found: vec![] };
        for view in self.segments.iter() {
            search.segment(view)?;
        }
        for tail in self.tails() {
            search.tail(tail);
        }
        let plan = search.tally.plan(options.filter.is_some(), self.segments.len());
        Ok(SearchOutcome { hits: search.into_hits()?, plan })
    }
}

/// One search on its way through the parts of a snapshot.
struct Search<'a> {
    query: &'a [f32],
    options: &'a SearchOptions,
    ef: usize,
    m: usize,
    tally: Tally,
    found: Vec<Candidate<'a>>,
}

/// Which rows of a segment count.
enum Admitted<'a> {
    All,
    AllBut(&'a RoaringBitmap),
    Only(RoaringBitmap),
}

impl<'a> Search<'a> {
    fn segment(&mut self, view: &'a SegmentView) -> Result<(), IndexError> {
        let (admitted, count) = match &self.options.filter {
            Some(filter) => {
                let rows = view.matching(filter)?;
                let count = rows.len();
                self.tally.filter_matches += count;
                (Admitted::Only(rows), count)
            }
            None if view.dead.is_empty() => (Admitted::All, view.live_rows()),
            None => (Admitted::AllBut(&view.dead), view.live_rows()),
        };
        if count == 0 {
            return Ok(());
        }
        let rows = u64::from(view.segment.rows());
        let graph = view.segment.graph.as_ref().filter(|_| !self.options.exact);
        let is_walked = match graph {
            Some(graph) if prefers_walk(rows, count, self.ef, self.m) => match &admitted {
                Admitted::All => self.walk(view, graph, count, |_| true),
                Admitted::AllBut(dead) => self.walk(view, graph, count, |row| !dead.contains(row)),
                Admitted::Only(only) => self.walk(view, graph, count, |row| only.contains(row)),
            },
            _ => false,
        };
        if !is_walked {
            match &admitted {
                Admitted::All => self.scan(view, 0..view.segment.rows()),
                Admitted::AllBut(dead) => {
                    self.scan(view, (0..view.segment.rows()).filter(|&row| !dead.contains(row)));
                }
                Admitted::Only(only) => self.scan(view, only.iter()),
            }
        }
        Ok(())
    }

    /// Walks the segment's graph; false if it found fewer than it had to, or
    /// cost more than a scan, so that a scan has to answer instead.
    fn walk(
        &mut self,
        view: &'a SegmentView,
        graph: &Graph,
        admitted: u64,
        is_admitted: impl Fn(u32) -> bool,
    ) -> bool {
        let vectors = &*view.segment.vectors;
        let walk = Walk { graph, vectors, query: self.query, ef: self.ef, budget: admitted };
        let mut nearest = Vec::with_capacity(self.ef);
        let walked = with_scratch(|scratch| walk.run(scratch, is_admitted, &mut nearest));
        self.tally.distance_computations += walked.distance_computations;
        let due = (self.options.limit as u64).min(admitted);
        if !walked.is_complete || (nearest.len() as u64) < due {
            return false;
        }
        self.tally.walks += 1;
        self.found.extend(nearest.iter().take(self.options.limit).map(|&key| {
            let row = row_of(key);
            let score = cosine(self.query, vectors.row(row));
            Candidate { score, row: Row::Sealed(view, row) }
        }));
        true
    }

    fn scan(&mut self, view: &'a SegmentView, rows: impl Iterator<Item = u32>) {
        let vectors = &*view.segment.vectors;
        let mut nearest = Nearest::new(self.options.limit);
        let compared = scan(self.query, rows.map(|row| (row, vectors.row(row))), &mut nearest);
        self.tally.distance_computations += compared;
        self.tally.scans += 1;
        self.found.extend(nearest.into_keys().into_iter().map(|key| {
            let row = row_of(key);
            let score = cosine(self.query, vectors.row(row));
            Candidate { score, row: Row::Sealed(view, row) }
        }));
    }

    fn tail(&mut self, tail: &'a Tail) {
        let filter = self.options.filter.as_ref();
        let rows = tail
            .iter()
            .filter(|(_, row)| filter.is_none_or(|filter| matches(filter, &row.document.payload)))
            .map(|(place, row)| (place.0, row.vector()));
        let mut nearest = Nearest::new(self.options.limit);
        let compared = scan(self.query, rows, &mut nearest);
        if compared == 0 {
            return;
        }
        self.tally.filter_matches += compared;
        self.tally.distance_computations += compared;
        self.tally.scans += 1;
        self.found.extend(nearest.into_keys().into_iter().map(|key| {
            let place = Place(row_of(key));
            let score = cosine(self.query, tail.at(place).vector());
            Candidate { score, row: Row::Fresh(tail, place) }
        }));
    }

    /// Reads the best candidates of all parts.
    fn into_hits(mut self) -> Result<Vec<Hit>, IndexError> {
        self.found
            .sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.row.id().cmp(b.row.id())));
        self.found.truncate(self.options.limit);
        let hits = self
            .found
            .iter()
            .map(|candidate| Ok(Hit { score: candidate.score, document: candidate.row.read()? }));
        hits.collect()
    }
}
