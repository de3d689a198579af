//! How a segment is searched, decided before it is.
//!
//! A scan compares each admitted row, one after the other. An open walk
//! compares about `ef * m` rows; gated by a filter it goes on until `ef` rows
//! were admitted, so it takes as many more as there are rows not admitted. A
//! walk within a filter is wider, and reads lists of rows that it does not
//! compare. Whichever is the least work is done; all give as many
//! rows as were asked for, or all there are.

use super::{SearchOptions, Snapshot};
use crate::{
    config::{CollectionConfig, MAX_EF},
    graph::width_for,
    segment::Segment,
};

/// How the documents of an answer were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Every admitted vector was compared: the answer is exact.
    Scan,
    /// Graphs were walked.
    Graph,
    /// Some parts were scanned and some walked.
    Mixed,
}

/// How a filter was brought to bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filtering {
    /// Few rows match: those, and no others, were compared.
    Scan,
    /// Graphs were walked along matching rows only, around the others.
    Within,
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
    /// Vectors compared with the query.
    pub distance_computations: u64,
    /// Documents that match the filter; absent where there was none.
    pub filter_matches: Option<u64>,
    /// Sealed segments searched.
    pub segments: usize,
}

/// How to search one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    Scan,
    /// A walk through all rows, which keeps those admitted.
    Open,
    /// A walk through admitted rows only.
    Within,
}

/// Adds up what the parts of a search did.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) distance_computations: u64,
    pub(super) filter_matches: u64,
    pub(super) scans: usize,
    open_walks: usize,
    walks_within: usize,
}

impl Tally {
    pub(super) fn count_walk(&mut self, course: Course) {
        match course {
            Course::Within => self.walks_within += 1,
            Course::Scan | Course::Open => self.open_walks += 1,
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.distance_computations += other.distance_computations;
        self.filter_matches += other.filter_matches;
        self.scans += other.scans;
        self.open_walks += other.open_walks;
        self.walks_within += other.walks_within;
    }

    pub(super) fn plan(&self, options: &SearchOptions, snapshot: &Snapshot) -> Plan {
        let is_filtered = options.filter.is_some();
        let strategy = match (self.scans, self.open_walks + self.walks_within) {
            (_, 0) => Strategy::Scan,
            (0, _) => Strategy::Graph,
            _ => Strategy::Mixed,
        };
        let filtering = match (self.scans, self.open_walks, self.walks_within) {
            (_, 0, 0) => Filtering::Scan,
            (0, _, 0) => Filtering::Gated,
            (0, 0, _) => Filtering::Within,
            _ => Filtering::Mixed,
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

/// From this share of admitted rows on, a gated walk is less work than one
/// within the filter.
const LEAST_SHARE_GATED: f64 = 0.6;

/// Scanning a row takes this share of comparing one on a walk: rows of a scan
/// are read in the order in which they lie.
const SCAN_COST: f64 = 1.0 / 3.0;

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
            let all = u64::from(view.segment.rows());
            match graph.and_then(|_| width(options, &self.config, &view.segment)) {
                Some(ef) if course(all, rows, ef, m) != Course::Scan => {
                    walk(all, rows, ef, m).1 as u64
                }
                _ => rows,
            }
        });
        segments.chain(self.tails().map(|tail| tail.len() as u64)).sum()
    }
}

/// Picks the least work for a graph of `rows` rows, of which `admitted` count.
pub(super) fn course(rows: u64, admitted: u64, ef: usize, m: usize) -> Course {
    let (course, work) = walk(rows, admitted, ef, m);
    if SCAN_COST * admitted as f64 <= work { Course::Scan } else { course }
}

/// Tells whether the wider walk that a query outside of its filter needs is less work than a
/// scan. It takes a fourth longer than others: it goes round fewer rows.
pub(super) fn may_widen(rows: u64, admitted: u64, ef: usize, m: usize) -> bool {
    course(rows, admitted, ef + ef / 4, m) != Course::Scan
}

/// Picks the way to walk, and weighs its work in vectors that an open walk compares.
///
/// A walk within a filter is wider, and reads the more lists of rows that it does not compare
/// the fewer are admitted. How much that weighs was found by trial, so that a walk and a scan
/// take about equally long where one is given up for the other.
fn walk(rows: u64, admitted: u64, ef: usize, m: usize) -> (Course, f64) {
    let share = admitted.max(1) as f64 / rows.max(1) as f64;
    let open = (ef * m) as f64;
    if share >= LEAST_SHARE_GATED {
        (Course::Open, open)
    } else {
        (Course::Within, open * (1.0 - share.log2()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_are_scanned_many_walked_and_the_rest_walked_within() {
        assert_eq!(course(20_000, 20_000, 64, 16), Course::Open);
        assert_eq!(course(1_000_000, 900_000, 64, 16), Course::Open);
        assert_eq!(course(1_000_000, 100_000, 64, 16), Course::Within);
        assert_eq!(course(1_000_000, 30_000, 64, 16), Course::Within);
        assert_eq!(course(1_000_000, 10_000, 64, 16), Course::Scan);
        assert_eq!(course(1_000, 1_000, 64, 16), Course::Scan);
        assert_eq!(course(20_000, 0, 64, 16), Course::Scan);
        assert_eq!(course(0, 0, 64, 16), Course::Scan);
    }
}
