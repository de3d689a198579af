//! Searches: the request, and how the index answered.

use twn_protos::v1 as pb;
use twn_service::{Filtering, Plan, Query, SearchRequest, ServiceError, Strategy};

use super::{
    content::content, count32, filter, mask::Mask, nonempty, nonzero, policy::policy, required,
};

const DEFAULT_LIMIT: usize = 10;

/// Reads a search and what it wants back of each hit.
pub(crate) fn request(message: pb::SearchRequest) -> Result<(SearchRequest, Mask), ServiceError> {
    let query = match required(message.query, "query")? {
        pb::search_request::Query::Content(parts) => Query::Content(content(parts, "content")?),
        pb::search_request::Query::Vector(vector) => Query::Vector(vector.values),
    };
    let mask = Mask::read(message.mask)?;
    let request = SearchRequest {
        collection: message.collection,
        query,
        instruction: nonempty(message.instruction),
        limit: nonzero(message.limit).unwrap_or(DEFAULT_LIMIT),
        filter: filter::optional(message.filter)?,
        policy: policy(message.reasoning)?,
        ef_search: nonzero(message.ef_search),
        recall_target: (message.recall_target != 0.0).then_some(message.recall_target),
        exact: message.exact,
        projection: mask.projection(),
        explain: message.explain,
    };
    Ok((request, mask))
}

/// Writes how the index answered.
pub(crate) fn plan(plan: &Plan) -> pb::SearchPlan {
    let strategy = match plan.strategy {
        Strategy::Scan => pb::Strategy::Scan,
        Strategy::Graph => pb::Strategy::Graph,
        Strategy::Probe => pb::Strategy::Probe,
        Strategy::Mixed => pb::Strategy::Mixed,
    };
    let filtering = plan.filtering.map_or(pb::Filtering::Unspecified, |way| match way {
        Filtering::Scan => pb::Filtering::Scan,
        Filtering::Probe => pb::Filtering::Probe,
        Filtering::Gated => pb::Filtering::Gated,
        Filtering::Mixed => pb::Filtering::Mixed,
    });
    pb::SearchPlan {
        strategy: strategy.into(),
        distance_computations: plan.distance_computations,
        filter_matches: plan.filter_matches,
        segments: count32(plan.segments),
        filtering: filtering.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(values: &[f32]) -> Option<pb::search_request::Query> {
        Some(pb::search_request::Query::Vector(pb::Vector { values: values.into() }))
    }

    #[test]
    fn zeros_take_defaults() {
        let message = pb::SearchRequest { query: vector(&[1.0]), ..Default::default() };
        let (request, mask) = request(message).unwrap();
        assert_eq!((request.limit, request.ef_search, request.exact), (10, None, false));
        assert_eq!(request.recall_target, None);
        assert_eq!((request.instruction, request.filter), (None, None));
        assert_eq!(request.query, Query::Vector(vec![1.0]));
        assert_eq!(mask, Mask::default());
    }

    #[test]
    fn query_is_required() {
        let error = request(pb::SearchRequest::default()).unwrap_err().to_string();
        assert_eq!(error, "query: is required");
    }
}
