//! One search through the house: encode the query, walk the index, report how.

use std::{sync::Arc, time::Instant};

use tokio::sync::oneshot;
use twn_encoder::{Content, EmbedKind, EncodeInput, RouteReason, Usage};
use twn_index::{Filter, Hit, Plan, SearchOptions, StoredDocument, UnitVector};

use crate::{
    call::Call,
    collections::Hosted,
    document::{check_content, check_id, unit_vector},
    encoding::{Encoded, Lane},
    engine::Engine,
    error::ServiceError,
    policy::PolicyRequest,
    timings::Timings,
};

/// What is searched for.
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    /// Encoded by the server.
    Content(Content),
    /// Used as it is, normalised to unit length.
    Vector(Vec<f32>),
}

/// One search.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRequest {
    /// Where to search.
    pub collection: String,
    /// What to search for.
    pub query: Query,
    /// Task instruction; `None` takes the encoder's default.
    pub instruction: Option<String>,
    /// Number of hits, at least 1.
    pub limit: usize,
    /// Which documents may be hits.
    pub filter: Option<Filter>,
    /// When to think.
    pub policy: PolicyRequest,
    /// Candidate list size of the graph search; `None` takes the collection's default.
    pub ef_search: Option<usize>,
    /// Compare with every document instead of walking the graph.
    pub exact: bool,
}

/// The hits of one search and how they came about.
#[derive(Debug, Clone)]
pub struct SearchAnswer {
    /// Highest score first.
    pub hits: Vec<Hit>,
    /// How the query was embedded.
    pub usage: Usage,
    /// The query's thought, if there was one and it was asked for.
    pub thought: Option<String>,
    /// Where the time went.
    pub timings: Timings,
    /// How the index answered.
    pub plan: Plan,
}

/// Documents read by id.
#[derive(Debug, Clone)]
pub struct Found {
    /// Those that exist, in the request's order.
    pub documents: Vec<StoredDocument>,
    /// Those that do not.
    pub missing: Vec<String>,
}

impl Engine {
    /// Finds the documents nearest to a query.
    ///
    /// # Errors
    /// The caller's faults by field; `Overloaded`, `DeadlineExceeded`, `Cancelled`;
    /// `FailedPrecondition` when the collection holds another encoder's vectors.
    pub async fn search(
        &self,
        request: SearchRequest,
        call: &Call,
    ) -> Result<SearchAnswer, ServiceError> {
        let arrived = Instant::now();
        let hosted = self.collections.get(&request.collection)?;
        self.check_search(&request, &hosted)?;

        let include_thought = request.policy.include_thought;
        let (vector, encoded) = self.query_vector(&hosted, &request, call).await?;
        let options = SearchOptions {
            limit: request.limit,
            ef: request.ef_search,
            exact: request.exact,
            filter: request.filter,
        };

        let searching = Instant::now();
        let outcome =
            self.read(&hosted, call, move |snapshot| snapshot.search(&vector, &options)).await?;

        let mut timings = Timings { search: searching.elapsed(), ..Timings::default() };
        let (usage, thought) = match encoded {
            Some(Encoded { usage, thought, timings: encode, .. }) => {
                timings.encode = encode;
                (usage, thought.filter(|_| include_thought))
            }
            None => (Usage::not_encoded(RouteReason::VectorSupplied, ""), None),
        };
        timings.total = arrived.elapsed();
        Ok(SearchAnswer { hits: outcome.hits, usage, thought, timings, plan: outcome.plan })
    }

    /// Reads documents by id.
    ///
    /// # Errors
    /// Refuses no ids, too many and unusable ones.
    pub async fn get(
        &self,
        collection: &str,
        ids: Vec<String>,
        call: &Call,
    ) -> Result<Found, ServiceError> {
        let hosted = self.collections.get(collection)?;
        self.check_ids(&ids)?;
        self.read(&hosted, call, move |snapshot| {
            let mut found = Found { documents: Vec::new(), missing: Vec::new() };
            for id in ids {
                match snapshot.get(&id)? {
                    Some(document) => found.documents.push(document),
                    None => found.missing.push(id),
                }
            }
            Ok(found)
        })
        .await
    }

    /// Reads up to `limit` documents whose ids follow `after`, in order of their ids.
    ///
    /// # Errors
    /// Refuses a limit that is 0 or too large, and an unusable filter.
    pub async fn list(
        &self,
        collection: &str,
        after: Option<String>,
        limit: usize,
        filter: Option<Filter>,
        call: &Call,
    ) -> Result<Vec<StoredDocument>, ServiceError> {
        let hosted = self.collections.get(collection)?;
        check_range("page_size", limit, self.limits.max_page_size)?;
        self.read(&hosted, call, move |s| s.list(after.as_deref(), limit, filter.as_ref())).await
    }

    /// Counts documents, exactly.
    ///
    /// # Errors
    /// Refuses an unusable filter.
    pub async fn count(
        &self,
        collection: &str,
        filter: Option<Filter>,
        call: &Call,
    ) -> Result<u64, ServiceError> {
        let hosted = self.collections.get(collection)?;
        self.read(&hosted, call, move |snapshot| snapshot.count(filter.as_ref())).await
    }

    pub(crate) fn check_ids(&self, ids: &[String]) -> Result<(), ServiceError> {
        check_range("ids", ids.len(), self.limits.max_ids)?;
        for (i, id) in ids.iter().enumerate() {
            check_id(id, &format!("ids[{i}]"), &self.limits)?;
        }
        Ok(())
    }

    fn check_search(&self, request: &SearchRequest, hosted: &Hosted) -> Result<(), ServiceError> {
        check_range("limit", request.limit, self.limits.max_search_limit)?;
        if let Some(ef) = request.ef_search {
            check_range("ef_search", ef, self.limits.max_ef_search)?;
        }
        if let Some(filter) = &request.filter {
            filter
                .validate()
                .and_then(|()| hosted.collection.config().schema.check_filter(filter))
                .map_err(|e| ServiceError::from_index(e, &request.collection, "filter"))?;
        }
        Ok(())
    }

    async fn query_vector(
        &self,
        hosted: &Hosted,
        request: &SearchRequest,
        call: &Call,
    ) -> Result<(UnitVector, Option<Encoded>), ServiceError> {
        let content = match &request.query {
            Query::Vector(values) => {
                let dimension = hosted.collection.config().dimension;
                let vector = unit_vector(values, dimension, &hosted.name, "vector")?;
                return Ok((vector, None));
            }
            Query::Content(content) => content,
        };
        hosted.check_encoder(self.encoder.info())?;
        check_content(content, "content", &self.limits)?;
        let input = EncodeInput {
            content: content.clone(),
            instruction: request.instruction.clone(),
            kind: EmbedKind::Query,
        };
        let policy = self.resolve_policy(&request.policy)?;
        let prompt = self.encoder.prepare(input, "content").await?;
        let mut encoded = self.encoder.encode(prompt, policy, Lane::Search, call).await?;
        let vector = UnitVector::new(std::mem::take(&mut encoded.embedding))
            .map_err(|error| ServiceError::Internal { problem: error.to_string() })?;
        Ok((vector, Some(encoded)))
    }

    /// Runs `work` on a snapshot in the search pool.
    async fn read<T: Send + 'static>(
        &self,
        hosted: &Arc<Hosted>,
        call: &Call,
        work: impl FnOnce(&twn_index::Snapshot) -> Result<T, twn_index::IndexError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let snapshot = hosted.collection.snapshot();
        let (answer, answered) = oneshot::channel();
        self.search_pool.spawn(move || {
            let _ = answer.send(work(&snapshot));
        });
        let answered = async {
            match answered.await {
                Ok(result) => {
                    result.map_err(|error| ServiceError::from_index(error, &hosted.name, "request"))
                }
                Err(_) => Err(ServiceError::Internal { problem: "search panicked".into() }),
            }
        };
        call.bound("searching", answered).await
    }
}

/// Checks that a count is from 1 to `max`.
pub(crate) fn check_range(field: &str, got: usize, max: usize) -> Result<(), ServiceError> {
    if (1..=max).contains(&got) {
        return Ok(());
    }
    Err(ServiceError::invalid(field, format!("{got} is outside 1 to {max}")))
}
