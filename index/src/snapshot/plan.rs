//! How a segment is searched, decided before it is.
//!
//! A scan compares each admitted row, one after the other. An open walk
//! compares about `ef * m` rows; gated by a filter it goes on until `ef` rows
//! were admitted, so it takes as many more as there are rows not admitted. A
//! probe compares the means of all partitions, and the codes of the admitted
//! rows in some of them. Whichever is the least work is done, but a scan, which
//! is exact, wherever it is no more than a walk without a filter; all give as
//! many rows as were asked for, or all there are.

use super::{SearchOptions, SegmentView, Snapshot};
use crate::{
    config::{CollectionConfig, MAX_EF},
    graph::width_for,
    partitions::Effort,
    segment::Segment,
};

/// How the documents of an answer were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Every admitted vector was compared: the answer is exact.
    Scan,
    /// Graphs were walked.
    Graph,
    /// Rows near to each other were compared, those nearest by their codes in full.
    Probe,
    /// Different parts took different ways.
    Mixed,
}

/// How a filter was brought to bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filtering {
    /// Few rows match: those, and no others, were compared.
    Scan,
    /// Matching rows were compared, and no others, in the partitions nearest to the query.
    Probe,
    /// Most rows match: graphs were walked as without a filter, and results
    /// kept where they match.
    Gated,
    /// Different parts took different ways.
    Mixed,
}

/// What a search did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How the documents were found.
    pub strategy: Strategy,
    /// How the filter was brought to bear; absent where there was none.
    pub filtering: Option<Filtering>,
    /// Vectors compared with the query, or their codes, and means of partitions.
    pub distance_computations: u64,
    /// Documents that match the filter; absent where there was none.
    pub filter_matches: Option<u64>,
    /// Sealed segments searched.
    pub segments: usize,
}

/// How to search one segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Course {
    Scan,
    /// A walk of this width through all rows, which keeps those admitted.
    Walk {
        ef: usize,
    },
    Probe(Effort),
}

/// Adds up what the parts of a search did.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) distance_computations: u64,
    pub(super) filter_matches: u64,
    pub(super) scans: usize,
    pub(super) walks: usize,
    pub(super) probes: usize,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.distance_computations += other.distance_computations;
        self.filter_matches += other.filter_matches;
        self.scans += other.scans;
        self.walks += other.walks;
        self.probes += other.probes;
    }

    pub(super) fn plan(&self, options: &SearchOptions, snapshot: &Snapshot) -> Plan {
        let is_filtered = options.filter.is_some();
        let (strategy, filtering) = match (self.scans, self.walks, self.probes) {
            (_, 0, 0) => (Strategy::Scan, Filtering::Scan),
            (0, _, 0) => (Strategy::Graph, Filtering::Gated),
            (0, 0, _) => (Strategy::Probe, Filtering::Probe),
            _ => (Strategy::Mixed, Filtering::Mixed),
        };
        Plan {
            strategy,
            filtering: is_filtered.then_some(filtering),
            distance_computations: self.distance_computations,
            filter_matches: is_filtered.then_some(self.filter_matches),
            segments: snapshot.segments.len(),
        }
    }
}

/// From this share of admitted rows on, walks are gated.
const LEAST_SHARE_GATED: f64 = 0.6;

/// Scanning a row takes this share of comparing one on a walk: rows of a scan
/// are read in the order in which they lie.
const SCAN_COST: f64 = 1.0 / 3.0;

/// Comparing a row's code, or the mean of a partition, takes this share.
const PROBE_COST: f64 = 1.0 / 25.0;

/// A probe compares at most this many rows, times `ef`, the square root of all rows and the share
/// admitted to the power of [`SHARE_POWER`]. These and the patience were found by trial on a real
/// and a clustered set, for a recall@10 of 0.95 at `ef` 64 and 50 to 1 % of the rows, at random
/// and at one end of an axis.
const PROBED_PER_WIDTH: f64 = 1.35;
const SHARE_POWER: f64 = 0.75;

/// The same, in the place of that times `ef`, where a recall of 0.95 is asked for. To miss half
/// as many takes two to the power of this many times the rows.
const PROBED_AT_TARGET: f64 = 86.0;
const MISS_POWER: f64 = 0.7;

/// The patience of a probe, in the same measure.
const PATIENCE: f64 = 0.081;

/// Hits that a segment's recall curve is about.
const CURVE_HITS: usize = 10;

/// Returns how wide a walk of a segment has to be; `None` where no width is
/// known to find what is asked for.
pub(super) fn width(
    options: &SearchOptions,
    config: &CollectionConfig,
    segment: &Segment,
) -> Option<usize> {
    let limit = options.limit;
    let ef = match (options.ef, options.recall_target) {
        (Some(ef), _) => ef,
        (None, None) => config.hnsw.ef_search,
        (None, Some(target)) => {
            // The curve is about ten hits; more take more in proportion.
            let ef = width_for(&segment.recall_curve, target)?;
            (ef * limit.max(CURVE_HITS)).div_ceil(CURVE_HITS).min(MAX_EF)
        }
    };
    Some(ef.max(limit))
}

impl Snapshot {
    /// Tells whether all vectors have been read and verified since the collection was
    /// opened: until then a search may wait for the disk.
    pub fn is_settled(&self) -> bool {
        self.segments.iter().all(|view| view.segment.vectors.is_whole())
    }

    /// Tells about how many vectors a search will compare. With a filter that is not known
    /// beforehand, and the most there can be.
    pub fn effort(&self, options: &SearchOptions) -> u64 {
        if options.filter.is_some() {
            return u64::MAX;
        }
        let m = self.config.hnsw.m;
        let segments = self.segments.iter().map(|view| {
            let rows = view.live_rows();
            let graph = view.segment.graph.as_ref().filter(|_| !options.exact);
            let ground = Ground::unfiltered(view);
            match graph.and_then(|_| width(options, &self.config, &view.segment)) {
                Some(ef) if ground.course(options, ef, m) != Course::Scan => {
                    ground.gated_walk(ef, m) as u64
                }
                _ => rows,
            }
        });
        segments.chain(self.tails().map(|tail| tail.len() as u64)).sum()
    }
}

/// What there is to search in a segment with a graph.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground {
    pub(super) rows: u64,
    pub(super) admitted: u64,
    /// Partitions that can be probed; none without a filter.
    pub(super) partitions: usize,
}

impl Ground {
    /// Returns the ground of a search without a filter.
    pub(super) fn unfiltered(view: &SegmentView) -> Self {
        Self { rows: u64::from(view.segment.rows()), admitted: view.live_rows(), partitions: 0 }
    }

    /// Picks the way to search, by its work in vectors that a walk compares.
    pub(super) fn course(&self, options: &SearchOptions, ef: usize, m: usize) -> Course {
        let scan = SCAN_COST * self.admitted as f64;
        let walk = self.gated_walk(ef, m);
        if scan <= (ef * m) as f64 {
            return Course::Scan;
        }
        let share = self.admitted as f64 / self.rows.max(1) as f64;
        if self.partitions == 0 || share >= LEAST_SHARE_GATED {
            return if scan <= walk { Course::Scan } else { Course::Walk { ef } };
        }
        let effort = self.effort(options, ef);
        let compared = effort.breadth.min(self.admitted) + self.partitions as u64;
        // Codes alone do not promise what takes a look at every row.
        let is_promise = options.ef.is_none() && options.recall_target.is_some();
        let is_scan =
            is_promise && effort.breadth >= self.admitted || scan <= PROBE_COST * compared as f64;
        if is_scan { Course::Scan } else { Course::Probe(effort) }
    }

    /// The work of a walk that goes everywhere and keeps what is admitted.
    fn gated_walk(&self, ef: usize, m: usize) -> f64 {
        (ef * m) as f64 * self.rows as f64 / self.admitted.max(1) as f64
    }

    /// How far a probe goes: the fewer are admitted, the greater is the share of them that it
    /// has to look at.
    fn effort(&self, options: &SearchOptions, ef: usize) -> Effort {
        let per_root = match (options.ef, options.recall_target) {
            (None, Some(target)) => {
                let misses = f64::from(1.0 - target) / 0.05;
                let hits = options.limit.max(CURVE_HITS) as f64 / CURVE_HITS as f64;
                PROBED_AT_TARGET * misses.powf(-MISS_POWER) * hits
            }
            _ => PROBED_PER_WIDTH * ef as f64,
        };
        let rows = self.rows.max(1) as f64;
        let share = self.admitted as f64 / rows;
        let breadth = (per_root * rows.sqrt() * share.powf(SHARE_POWER)).round() as u64;
        Effort { breadth, patience: PATIENCE * per_root }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EF: usize = 60;

    #[track_caller]
    fn check(rows: u64, admitted: u64, partitions: usize, due: Course) {
        let ground = Ground { rows, admitted, partitions };
        assert_eq!(ground.course(&SearchOptions::new(10), EF, 16), due);
    }

    #[test]
    fn few_rows_are_scanned_many_walked_and_the_rest_probed() {
        let walk = Course::Walk { ef: EF };
        let per_root = PROBED_PER_WIDTH * EF as f64;
        let probe = |breadth: f64| {
            let breadth = (per_root * breadth).round() as u64;
            Course::Probe(Effort { breadth, patience: PATIENCE * per_root })
        };
        check(20_000, 20_000, 0, walk);
        check(1_000_000, 900_000, 2016, walk);
        check(1 << 20, 1 << 16, 2048, probe(1024.0 / 8.0));
        check(1 << 20, 1 << 12, 2048, probe(1024.0 / 64.0));
        check(1_000_000, 2_800, 2016, Course::Scan);
        check(1_000, 1_000, 0, Course::Scan);
        check(20_000, 0, 288, Course::Scan);
        check(0, 0, 0, Course::Scan);
        // Without partitions.
        check(1_000_000, 500_000, 0, walk);
        check(1_000_000, 20_000, 0, Course::Scan);
    }
}
