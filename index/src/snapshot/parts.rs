//! One search on its way through the parts of a snapshot.
//!
//! Each segment is scanned or walked, the tails are scanned, and the best of
//! each are merged. Filters and tombstones keep rows out before anything is
//! ranked, so an answer has as many hits as were asked for, or all there are.

use super::{
    Hit, Ranked, Ranking, SearchOptions, SearchOutcome, SegmentView, Snapshot,
    plan::{Course, Tally, course, may_widen, width},
    scan::{Nearest, cosine, scan, scan_rows},
};
use crate::{
    document::StoredDocument,
    error::IndexError,
    filter::{Admitted, matches},
    graph::{Admission, Exact, Graph, Key, Space, Walk, Walked, row_of, with_scratch},
    projection::Projection,
    segment::RESCORED_PER_HIT,
    simd::prefetch,
    tail::{Place, Tail},
    vector::UnitVector,
};
use rayon::prelude::*;

/// One search, ready to run.
pub(super) struct Search<'a> {
    snapshot: &'a Snapshot,
    query: &'a [f32],
    options: &'a SearchOptions,
}

/// What the search of a part came to.
#[derive(Default)]
pub(super) struct Part<'a> {
    tally: Tally,
    found: Vec<Candidate<'a>>,
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

impl<'a> Row<'a> {
    fn id(&self) -> &'a [u8] {
        match *self {
            Self::Sealed(view, row) => view.segment.ids.id(row),
            Self::Fresh(tail, place) => tail.at(place).id().as_bytes(),
        }
    }

    fn name(&self) -> Result<String, IndexError> {
        match self {
            Self::Sealed(view, row) => view.segment.id(*row),
            Self::Fresh(tail, place) => Ok(tail.at(*place).id().to_owned()),
        }
    }

    fn read(&self, projection: Projection) -> Result<StoredDocument, IndexError> {
        match self {
            Self::Sealed(view, row) => view.segment.read(*row, projection),
            Self::Fresh(tail, place) => Ok(tail.at(*place).to_stored(projection)),
        }
    }
}

impl<'a> Search<'a> {
    pub(super) fn new(
        snapshot: &'a Snapshot,
        query: &'a UnitVector,
        options: &'a SearchOptions,
    ) -> Result<Self, IndexError> {
        options.validate()?;
        let schema = &snapshot.config.schema;
        options.filter.as_ref().map_or(Ok(()), |filter| schema.check_filter(filter))?;
        if query.dimension() != snapshot.config.dimension {
            return Err(IndexError::DimensionMismatch {
                what: "query vector".to_owned(),
                got: query.dimension(),
                want: snapshot.config.dimension,
            });
        }
        Ok(Self { snapshot, query: query.as_slice(), options })
    }

    /// Searches one part after the other.
    pub(super) fn run(&self) -> Result<Part<'a>, IndexError> {
        let mut whole = Part::default();
        for view in self.snapshot.segments.iter() {
            whole.add(self.segment(view)?);
        }
        Ok(self.with_tails(whole))
    }

    /// Searches the segments on the threads of the current pool.
    pub(super) fn run_side_by_side(&self) -> Result<Part<'a>, IndexError> {
        let parts: Result<Vec<_>, _> =
            self.snapshot.segments.par_iter().map(|view| self.segment(view)).collect();
        let mut whole = Part::default();
        parts?.into_iter().for_each(|part| whole.add(part));
        Ok(self.with_tails(whole))
    }

    fn with_tails(&self, mut whole: Part<'a>) -> Part<'a> {
        self.snapshot.tails().for_each(|tail| self.tail(tail, &mut whole));
        // Keys of a part are in order, but merging is a sort all the same: there
        // are few of them.
        whole
            .found
            .sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.row.id().cmp(b.row.id())));
        whole.found.truncate(self.options.limit);
        whole
    }

    /// Reads the documents found.
    pub(super) fn read(&self, part: Part<'a>) -> Result<SearchOutcome, IndexError> {
        let hits = part.found.iter().map(|candidate| {
            let document = candidate.row.read(self.options.projection)?;
            Ok(Hit { score: candidate.score, document })
        });
        let hits = hits.collect::<Result<_, IndexError>>();
        self.snapshot.check_sound()?;
        let hits = hits?;
        Ok(SearchOutcome { hits, plan: part.tally.plan(self.options, self.snapshot) })
    }

    /// Reads the ids found.
    pub(super) fn name(&self, part: Part<'a>) -> Result<Ranking, IndexError> {
        let ids = part
            .found
            .iter()
            .map(|candidate| Ok(Ranked { score: candidate.score, id: candidate.row.name()? }));
        let ids = ids.collect::<Result<_, IndexError>>();
        self.snapshot.check_sound()?;
        let ids = ids?;
        Ok(Ranking { ids, plan: part.tally.plan(self.options, self.snapshot) })
    }

    fn segment(&self, view: &'a SegmentView) -> Result<Part<'a>, IndexError> {
        let mut part = Part::default();
        let admitted = view.admitted(self.options.filter.as_ref())?;
        if self.options.filter.is_some() {
            part.tally.filter_matches += admitted.count();
        }
        if admitted.count() == 0 {
            return Ok(part);
        }
        let graph = view.segment.graph.as_ref().filter(|_| !self.options.exact);
        let is_walked = match graph {
            Some(graph) => self.walk(view, graph, &admitted, &mut part),
            None => false,
        };
        if !is_walked {
            self.scan(view, &admitted, &mut part);
        }
        Ok(part)
    }

    /// Walks the segment's graph, over codes where there are any; false if that is more work than a scan, or
    /// turned out to be, or found fewer than it had to, so that a scan has to
    /// answer instead.
    fn walk(
        &self,
        view: &'a SegmentView,
        graph: &Graph,
        admitted: &Admitted<'_>,
        part: &mut Part<'a>,
    ) -> bool {
        let count = admitted.count();
        let rows = u64::from(view.segment.rows());
        let m = self.snapshot.config.hnsw.m;
        let Some(ef) = width(self.options, &self.snapshot.config, &view.segment) else {
            return false;
        };
        let course = course(rows, count, ef, m);
        if course == Course::Scan {
            return false;
        }
        let mut nearest: Vec<Key> = Vec::with_capacity(ef);
        let walked = match &view.segment.codes {
            Some(codes) => {
                let space = &codes.seen_from(self.query);
                let walked = self.walk_in(space, graph, (course, ef), admitted, &mut nearest);
                nearest.truncate(RESCORED_PER_HIT * self.options.limit);
                part.tally.distance_computations += nearest.len() as u64;
                walked
            }
            None => {
                let space = &Exact { vectors: &view.segment.vectors, query: self.query };
                let walked = self.walk_in(space, graph, (course, ef), admitted, &mut nearest);
                nearest.truncate(self.options.limit);
                walked
            }
        };
        part.tally.distance_computations += walked.distance_computations;
        let due = (self.options.limit as u64).min(count);
        if !walked.is_complete || (nearest.len() as u64) < due {
            return false;
        }
        part.tally.count_walk(course);
        self.keep_sealed(view, &nearest, part);
        true
    }

    fn walk_in(
        &self,
        space: &impl Space,
        graph: &Graph,
        (course, ef): (Course, usize),
        admitted: &Admitted<'_>,
        nearest: &mut Vec<Key>,
    ) -> Walked {
        let m = self.snapshot.config.hnsw.m;
        let walk = Walk { graph, space, ef, budget: admitted.count() };
        let is_admitted = |row| admitted.admits(row);
        with_scratch(|scratch| match course {
            Course::Open if admitted.is_everything() => walk.run(scratch, nearest),
            Course::Within => {
                let may_widen = may_widen(graph.rows() as u64, admitted.count(), ef, m);
                let reach = (m, may_widen);
                walk.run_within(admitted.sample(), admitted, reach, scratch, nearest)
            }
            Course::Open | Course::Scan => walk.run_gated(is_admitted, scratch, nearest),
        })
    }

    fn scan(&self, view: &'a SegmentView, admitted: &Admitted<'_>, part: &mut Part<'a>) {
        let space = &Exact { vectors: &view.segment.vectors, query: self.query };
        let mut nearest = Nearest::new(self.options.limit);
        let compared = admitted.with_rows(|rows| scan_rows(space, rows, &mut nearest));
        part.tally.distance_computations += compared;
        part.tally.scans += 1;
        self.keep_sealed(view, &nearest.into_keys(), part);
    }

    /// Keeps rows of a segment, with their scores from the vectors themselves.
    fn keep_sealed(&self, view: &'a SegmentView, nearest: &[Key], part: &mut Part<'a>) {
        let vectors = &*view.segment.vectors;
        nearest.iter().for_each(|&key| vectors.check(&[row_of(key)]));
        nearest.iter().for_each(|&key| prefetch(vectors.row(row_of(key))));
        part.found.extend(nearest.iter().map(|&key| {
            let row = row_of(key);
            Candidate { score: cosine(self.query, vectors.row(row)), row: Row::Sealed(view, row) }
        }));
    }

    fn tail(&self, tail: &'a Tail, part: &mut Part<'a>) {
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
        part.tally.filter_matches += compared;
        part.tally.distance_computations += compared;
        part.tally.scans += 1;
        part.found.extend(nearest.into_keys().into_iter().map(|key| {
            let place = Place(row_of(key));
            let score = cosine(self.query, tail.at(place).vector());
            Candidate { score, row: Row::Fresh(tail, place) }
        }));
    }
}

impl<'a> Part<'a> {
    fn add(&mut self, other: Self) {
        self.tally.add(&other.tally);
        self.found.extend(other.found);
    }
}
