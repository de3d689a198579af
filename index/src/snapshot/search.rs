//! Finding the nearest documents: what may be asked for, and what comes back.

use super::{Snapshot, parts::Search, plan::Plan};
use crate::{
    config::MAX_EF,
    document::StoredDocument,
    error::{IndexError, check_option},
    filter::Filter,
    projection::Projection,
    vector::UnitVector,
};
use rayon::prelude::*;

/// The most hits or documents that one call returns.
pub const MAX_LIMIT: usize = 10_000;

/// The least share of the nearest that may be asked for.
pub const MIN_RECALL_TARGET: f32 = 0.5;

/// What to search for besides the vector.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchOptions {
    /// How many hits to return, from 1 to [`MAX_LIMIT`].
    pub limit: usize,
    /// Candidates kept while walking a graph, up to [`MAX_EF`]: more of them
    /// find more and cost more. The collection's own value where absent; never
    /// less than `limit`.
    pub ef: Option<usize>,
    /// The share of the true nearest that graphs should find, from 0.5 to 1,
    /// where `ef` is not given: each segment takes the width that found this
    /// share of its own rows' nearest when it was sealed, more for more hits
    /// than ten, and is scanned where no width did.
    pub recall_target: Option<f32>,
    /// Compare every admitted vector, for an exact answer.
    pub exact: bool,
    /// Only documents that match.
    pub filter: Option<Filter>,
    /// What to read of each hit.
    pub projection: Projection,
}

impl SearchOptions {
    /// Asks for this many hits and leaves the rest to the collection.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            ef: None,
            recall_target: None,
            exact: false,
            filter: None,
            projection: Projection::ALL,
        }
    }

    pub(super) fn validate(&self) -> Result<(), IndexError> {
        check_option("limit", self.limit, 1, MAX_LIMIT)?;
        self.ef.map_or(Ok(()), |ef| check_option("ef", ef, 1, MAX_EF))?;
        if let Some(got) = self.recall_target
            && !(MIN_RECALL_TARGET..=1.0).contains(&got)
        {
            return Err(IndexError::BadRecallTarget { got });
        }
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

/// One document found, by its id alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// Cosine of the query and the document, from -1 to 1.
    pub score: f32,
    /// The document's id.
    pub id: String,
}

/// What a search found, without the documents.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// The ids, best first; equal scores by ascending id.
    pub ids: Vec<Ranked>,
    /// What the search did.
    pub plan: Plan,
}

impl Snapshot {
    /// Finds the documents nearest to a query, on the thread of the caller.
    pub fn search(
        &self,
        query: &UnitVector,
        options: &SearchOptions,
    ) -> Result<SearchOutcome, IndexError> {
        let search = Search::new(self, query, options)?;
        search.read(search.run()?)
    }

    /// Finds them with the segments searched side by side on `pool`.
    pub fn search_on(
        &self,
        pool: &rayon::ThreadPool,
        query: &UnitVector,
        options: &SearchOptions,
    ) -> Result<SearchOutcome, IndexError> {
        let search = Search::new(self, query, options)?;
        search.read(pool.install(|| search.run_side_by_side())?)
    }

    /// Finds only the ids of the documents nearest to a query.
    pub fn rank(&self, query: &UnitVector, options: &SearchOptions) -> Result<Ranking, IndexError> {
        let search = Search::new(self, query, options)?;
        search.name(search.run()?)
    }

    /// Searches for many queries at once on `pool`, all in this snapshot, and
    /// returns the outcomes in the order of the queries.
    pub fn search_many(
        &self,
        pool: &rayon::ThreadPool,
        queries: &[UnitVector],
        options: &SearchOptions,
    ) -> Result<Vec<SearchOutcome>, IndexError> {
        pool.install(|| queries.par_iter().map(|query| self.search(query, options)).collect())
    }

    /// Ranks for many queries at once on `pool`, as [`Self::search_many`] does.
    pub fn rank_many(
        &self,
        pool: &rayon::ThreadPool,
        queries: &[UnitVector],
        options: &SearchOptions,
    ) -> Result<Vec<Ranking>, IndexError> {
        pool.install(|| queries.par_iter().map(|query| self.rank(query, options)).collect())
    }
}
