//! One search on its way through the parts of a snapshot.
//!
//! Each segment is scanned, walked or probed, the tails are scanned, and the best of
//! each are merged. Filters and tombstones keep rows out before anything is
//! ranked, so an answer has as many hits as were asked for, or all there are.

use super::{
    Hit, Ranked, Ranking, SearchOptions, SearchOutcome, SegmentView, Snapshot,
    plan::{Course, Ground, Tally, width},
    scan::{Nearest, cosine, scan, scan_rows},
};
use crate::{
    document::StoredDocument,
    error::IndexError,
    filter::{Admitted, matches},
    graph::{Exact, Graph, Key, Space, Walk, Walked, row_of, with_scratch},
    partitions::{Effort, Partitions, Probe},
    projection::Projection,
    segment::RESCORED_PER_HIT,
    simd::prefetch,
    tail::{Place, Tail},
    vector::UnitVector,
};
use rayon::prelude::*;

/// Rows compared in full, for each hit asked for, after a probe: by half a byte a value they are
/// in little more than a rough order.
const RESCORED_PER_PROBED: usize = 6;

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
        let is_answered = match self.course(view, &admitted) {
            Course::Scan => false,
            Course::Walk { ef } => self.walk(view, ef, &admitted, &mut part),
            Course::Probe(effort) => self.probe(view, effort, &admitted, &mut part),
        };
        if !is_answered {
            self.scan(view, &admitted, &mut part);
        }
        Ok(part)
    }

    /// Decides how to search a segment.
    fn course(&self, view: &SegmentView, admitted: &Admitted<'_>) -> Course {
        let config = &self.snapshot.config;
        if self.options.exact || view.segment.graph.is_none() {
            return Course::Scan;
        }
        let Some(ef) = width(self.options, config, &view.segment) else { return Course::Scan };
        let partitions = view.segment.partitions.as_ref().filter(|_| admitted.is_filtered());
        let ground = Ground {
            admitted: admitted.count(),
            partitions: partitions.map_or(0, Partitions::count),
            ..Ground::unfiltered(view)
        };
        ground.course(self.options, ef, config.hnsw.m)
    }

    /// Walks the segment's graph, over codes where there are any; false if that turned out to
    /// be more work than a scan, or found fewer than it had to, so that a scan has to answer
    /// instead.
    fn walk(
        &self,
        view: &'a SegmentView,
        ef: usize,
        admitted: &Admitted<'_>,
        part: &mut Part<'a>,
    ) -> bool {
        let Some(graph) = &view.segment.graph else { return false };
        let mut nearest: Vec<Key> = Vec::with_capacity(ef);
        let walked = match &view.segment.codes {
            Some(codes) => {
                let space = &codes.seen_from(self.query);
                let walked = walk_in(space, graph, ef, admitted, &mut nearest);
                nearest.truncate(RESCORED_PER_HIT * self.options.limit);
                part.tally.distance_computations += nearest.len() as u64;
                walked
            }
            None => {
                let space = &Exact { vectors: &view.segment.vectors, query: self.query };
                let walked = walk_in(space, graph, ef, admitted, &mut nearest);
                nearest.truncate(self.options.limit);
                walked
            }
        };
        part.tally.distance_computations += walked.distance_computations;
        if !walked.is_complete || nearest.len() < self.due(admitted) {
            return false;
        }
        part.tally.walks += 1;
        self.keep_sealed(view, &nearest, part);
        true
    }

    /// Probes the segment's partitions; false if that found fewer than it had to.
    fn probe(
        &self,
        view: &'a SegmentView,
        effort: Effort,
        admitted: &Admitted<'_>,
        part: &mut Part<'a>,
    ) -> bool {
        let Some(partitions) = &view.segment.partitions else { return false };
        let Some(bits) = admitted.in_order(partitions) else { return false };
        let due = self.due(admitted);
        // The dead are compared too: only for the nearest it is asked whether they are.
        let with_dead = effort.breadth.saturating_mul(admitted.count_with_dead());
        let effort = Effort { breadth: with_dead / admitted.count().max(1), ..effort };
        let kept = RESCORED_PER_PROBED * self.options.limit;
        let query = self.query;
        let probe = Probe { partitions, query, admitted: bits, effort, wanted: due, kept };
        let mut nearest = Vec::with_capacity(kept);
        let compared = probe.run(|row| admitted.is_alive(row), &mut nearest);
        part.tally.distance_computations += compared + nearest.len() as u64;
        if nearest.len() < due {
            return false;
        }
        part.tally.probes += 1;
        self.keep_sealed(view, &nearest, part);
        true
    }

    /// How many rows of a segment a search has to find.
    fn due(&self, admitted: &Admitted<'_>) -> usize {
        (self.options.limit as u64).min(admitted.count()) as usize
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
        // Most of them will be read.
        nearest.iter().for_each(|&key| view.segment.ids.prefetch(row_of(key)));
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

fn walk_in(
    space: &impl Space,
    graph: &Graph,
    ef: usize,
    admitted: &Admitted<'_>,
    nearest: &mut Vec<Key>,
) -> Walked {
    let walk = Walk { graph, space, ef, budget: admitted.count() };
    with_scratch(|scratch| match admitted.is_everything() {
        true => walk.run(scratch, nearest),
        false => walk.run_gated(|row| admitted.admits(row), scratch, nearest),
    })
}

impl<'a> Part<'a> {
    fn add(&mut self, other: Self) {
        self.tally.add(&other.tally);
        self.found.extend(other.found);
    }
}
