//! How a segment is searched, decided before it is.
//!
//! A scan computes one distance for each admitted row. A walk computes roughly
//! `ef * m` of them where every row is admitted, and more in proportion as
//! fewer are, since it goes on until `ef` were. Whichever is less work is done;
//! both give all rows there are, up to the limit.

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

/// What a search did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How the documents were found.
    pub strategy: Strategy,
    /// Vectors compared with the query.
    pub distance_computations: u64,
    /// Documents that match the filter; absent where there was none.
    pub filter_matches: Option<u64>,
    /// Sealed segments searched.
    pub segments: usize,
}

/// Adds up what the parts of a search did.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) distance_computations: u64,
    pub(super) filter_matches: u64,
    pub(super) scans: usize,
    pub(super) walks: usize,
}

impl Tally {
    pub(super) fn plan(&self, is_filtered: bool, segments: usize) -> Plan {
        let strategy = match (self.scans, self.walks) {
            (_, 0) => Strategy::Scan,
            (0, _) => Strategy::Graph,
            _ => Strategy::Mixed,
        };
        Plan {
            strategy,
            distance_computations: self.distance_computations,
            filter_matches: is_filtered.then_some(self.filter_matches),
            segments,
        }
    }
}

/// Tells whether walking a graph of `rows` rows, of which `admitted` count, is
/// less work than scanning those.
pub(super) fn prefers_walk(rows: u64, admitted: u64, ef: usize, m: usize) -> bool {
    let unfiltered_walk = (ef * m) as f64;
    let walk = unfiltered_walk * rows as f64 / admitted.max(1) as f64;
    walk < admitted as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_are_for_few_rows_and_walks_for_many() {
        assert!(prefers_walk(20_000, 20_000, 64, 16));
        assert!(prefers_walk(1_000_000, 100_000, 64, 16));
        assert!(!prefers_walk(1_000_000, 10_000, 64, 16));
        assert!(!prefers_walk(1_000, 1_000, 64, 16));
        assert!(!prefers_walk(20_000, 0, 64, 16));
    }
}
