//! One search through the house: encode the query, walk the index, report how.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use twn_encoder::{Content, EmbedKind, EncodeInput, Route, RouteReason, Usage};
use twn_index::{
    Filter, Hit, IndexError, MIN_RECALL_TARGET, Plan, Projection, SearchOptions, Snapshot,
    StoredDocument, UnitVector,
};

use crate::{
    batcher::Lane,
    call::Call,
    collections::Hosted,
    document::{check_content, check_id, unit_vector},
    encoding::{EncodeRequest, Encoded},
    engine::Engine,
    error::ServiceError,
    explanation::{Explanation, ExplanationCost},
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
    /// The share of the nearest that graphs should find, in place of `ef_search`.
    pub recall_target: Option<f32>,
    /// Compare with every document instead of walking the graph.
    pub exact: bool,
    /// What to read of each hit.
    pub projection: Projection,
    /// Rank by both embeddings of the query, whatever its route.
    pub explain: bool,
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
    /// Both rankings, if they were asked for.
    pub explanation: Option<SearchExplanation>,
}

/// What each of a query's two embeddings finds in one and the same snapshot. The answer's
/// hits are those of its route's ranking.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchExplanation {
    /// By the embedding of the prompt alone.
    pub direct: Ranking,
    /// By the embedding after a thought; `None` when the context had no room for one.
    pub reasoned: Option<Ranking>,
    /// The thought, if there was one and it was asked for.
    pub thought: Option<String>,
    /// What was run for the explanation alone.
    pub cost: ExplanationCost,
    /// Searching the index with the embedding that is not the answer's.
    pub search: Duration,
}

/// What one embedding finds.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// Ids and cosine similarities, highest first.
    pub documents: Vec<(String, f32)>,
    /// How the index answered.
    pub plan: Plan,
}

impl Ranking {
    fn of(hits: &[Hit], plan: &Plan) -> Self {
        let documents = hits.iter().map(|hit| (hit.document.id.clone(), hit.score)).collect();
        Self { documents, plan: *plan }
    }
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

        let (vector, encoded) = self.query_vector(&hosted, &request, call).await?;
        let explanation = encoded.as_ref().and_then(|encoded| encoded.explanation.as_deref());
        let route = encoded.as_ref().map_or(Route::None, |encoded| encoded.usage.route);
        let other = explanation.and_then(|explanation| explanation.other(route)).map(unit);
        let other = other.transpose()?;
        let options = SearchOptions {
            limit: request.limit,
            ef: request.ef_search,
            recall_target: request.recall_target,
            exact: request.exact,
            filter: request.filter,
            projection: request.projection,
        };

        let searching = Instant::now();
        let snapshot = hosted.collection.snapshot();
        let comparisons = snapshot.effort(&options).saturating_mul(1 + u64::from(other.is_some()));
        let multiplications = match snapshot.is_settled() {
            true => comparisons.saturating_mul(vector.dimension() as u64),
            false => u64::MAX,
        };
        let searched = self.read_in(snapshot, multiplications, &hosted, call, move |snapshot| {
            let own = snapshot.search(&vector, &options)?;
            let (search, started) = (searching.elapsed(), Instant::now());
            let other = other.map(|other| snapshot.search(&other, &options)).transpose()?;
            let other = other.map(|other| Ranking::of(&other.hits, &other.plan));
            Ok((own, search, other, started.elapsed()))
        });
        let (outcome, search, other, search_other) = searched.await?;

        let mut timings = Timings { search, ..Timings::default() };
        let (usage, thought, explanation) = match encoded {
            Some(Encoded { usage, thought, timings: encode, explanation, .. }) => {
                timings.encode = encode;
                let explanation = explanation.map(|explanation| {
                    let own = Ranking::of(&outcome.hits, &outcome.plan);
                    explained(*explanation, usage.route, own, other, search_other)
                });
                (usage, thought, explanation)
            }
            None => (Usage::not_encoded(RouteReason::VectorSupplied, ""), None, None),
        };
        timings.total = arrived.elapsed();
        let (hits, plan) = (outcome.hits, outcome.plan);
        Ok(SearchAnswer { hits, usage, thought, timings, plan, explanation })
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
        if let Some(target) = request.recall_target {
            check_recall_target(target, request.ef_search)?;
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
            Query::Vector(_) if request.explain => {
                let problem = "a supplied vector has no other embedding to compare with";
                return Err(ServiceError::invalid("explain", problem));
            }
            Query::Vector(values) => {
                let dimension = hosted.collection.config().dimension;
                let vector = unit_vector(values, dimension, &hosted.name, "vector")?;
                return Ok((vector, None));
            }
            Query::Content(content) => content,
        };
        hosted.check_encoder(self.encoder.info())?;
        check_content(content, "content", &self.limits)?;
        let wish = request.policy;
        let input = EncodeInput {
            content: content.clone(),
            instruction: request.instruction.clone(),
            kind: EmbedKind::Query,
        };
        let request = EncodeRequest {
            input,
            field: "content",
            policy: self.resolve_policy(&wish)?,
            fixed: wish.fixed,
            explain: request.explain,
            lane: Lane::Search,
        };
        let mut encoded = self.encoder.encode(request, call).await?;
        if !wish.include_thought {
            encoded.forget_thought();
        }
        let vector = unit(&encoded.embedding)?;
        Ok((vector, Some(encoded)))
    }

    /// Runs `work` on a snapshot in the search pool.
    async fn read<T: Send + 'static>(
        &self,
        hosted: &Arc<Hosted>,
        call: &Call,
        work: impl FnOnce(&Snapshot) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let snapshot = hosted.collection.snapshot();
        self.read_in(snapshot, u64::MAX, hosted, call, work).await
    }

    /// Runs `work` of so many `multiplications` on a snapshot.
    async fn read_in<T: Send + 'static>(
        &self,
        snapshot: Arc<Snapshot>,
        multiplications: u64,
        hosted: &Hosted,
        call: &Call,
        work: impl FnOnce(&Snapshot) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let read = async {
            let outcome = self.search_pool.run(multiplications, move || work(&snapshot)).await?;
            outcome.map_err(|error| ServiceError::from_index(error, &hosted.name, "request"))
        };
        call.bound("searching", read).await
    }
}

/// Takes an embedding of the encoder to search with.
fn unit(embedding: &[f32]) -> Result<UnitVector, ServiceError> {
    UnitVector::new(embedding.to_owned())
        .map_err(|error| ServiceError::Internal { problem: error.to_string() })
}

/// Puts the answer's own ranking and the other one where they belong.
fn explained(
    explanation: Explanation,
    route: Route,
    own: Ranking,
    other: Option<Ranking>,
    search: Duration,
) -> SearchExplanation {
    let Explanation { thought, cost, .. } = explanation;
    let (direct, reasoned) = match (route, other) {
        (Route::Reasoned, Some(direct)) => (direct, Some(own)),
        (_, other) => (own, other),
    };
    SearchExplanation { direct, reasoned, thought, cost, search }
}

/// Checks a share of the nearest, before anything is encoded for it.
fn check_recall_target(target: f32, ef_search: Option<usize>) -> Result<(), ServiceError> {
    if !(MIN_RECALL_TARGET..=1.0).contains(&target) {
        let problem = format!("{target} is outside {MIN_RECALL_TARGET} to 1");
        return Err(ServiceError::invalid("recall_target", problem));
    }
    if ef_search.is_some() {
        let problem = "takes the place of `ef_search`: give one of the two";
        return Err(ServiceError::invalid("recall_target", problem));
    }
    Ok(())
}

/// Checks that a count is from 1 to `max`.
pub(crate) fn check_range(field: &str, got: usize, max: usize) -> Result<(), ServiceError> {
    if (1..=max).contains(&got) {
        return Ok(());
    }
    Err(ServiceError::invalid(field, format!("{got} is outside 1 to {max}")))
}
