//! Searches that show both of their rankings.

use std::sync::Arc;

use tempfile::TempDir;
use twn_service::{
    Engine, PolicyRequest, Query, Ranking, ReasoningMode, Route, SearchAnswer, SearchRequest,
    ServiceError,
};

use crate::support::{
    DIRECT_TEXT, HARD_TEXT, document, engine, policy, search, search_request, upsert,
};

async fn library(data: &TempDir) -> Arc<Engine> {
    let engine = engine(data.path());
    let documents = (0..40).map(|i| document(&format!("d{i}"), &format!("text w{} w{}", i, i % 7)));
    upsert(&engine, documents.collect()).await;
    engine
}

fn request(text: &str, mode: ReasoningMode, explain: bool) -> SearchRequest {
    SearchRequest { limit: 10, explain, policy: policy(mode), ..search_request(text) }
}

fn ranking(answer: &SearchAnswer) -> Ranking {
    let documents = answer.hits.iter().map(|hit| (hit.document.id.clone(), hit.score)).collect();
    Ranking { documents, plan: answer.plan }
}

#[tokio::test]
async fn both_rankings_are_those_that_each_route_gives() {
    let data = TempDir::new().expect("tempdir");
    let engine = library(&data).await;
    let plain = async |mode| search(&engine, request(HARD_TEXT, mode, false)).await.expect("finds");
    let direct = plain(ReasoningMode::Never).await;
    let reasoned = plain(ReasoningMode::Always).await;
    assert_eq!(direct.explanation, None);
    assert_ne!(ranking(&direct), ranking(&reasoned), "the fake's thoughts change scores");

    for mode in [ReasoningMode::Never, ReasoningMode::Auto, ReasoningMode::Always] {
        let answer = search(&engine, request(HARD_TEXT, mode, true)).await.expect("finds");
        let explanation = answer.explanation.clone().expect("was asked for");
        assert_eq!(explanation.direct, ranking(&direct), "{mode:?}");
        assert_eq!(explanation.reasoned, Some(ranking(&reasoned)), "{mode:?}");
        assert_eq!(explanation.thought, reasoned.thought);
        let (own, cost) = (ranking(&answer), explanation.cost);
        match answer.usage.route {
            Route::Reasoned => {
                assert_eq!(own, ranking(&reasoned));
                // The gate has been asked on the way, or for the explanation.
                let of_direct = direct.usage.query_tokens;
                let extra = if mode == ReasoningMode::Always { of_direct } else { 0 };
                assert_eq!((cost.reasoning_tokens, cost.query_tokens), (0, extra));
                let mut usage = reasoned_usage(&answer, &reasoned);
                usage.query_tokens += of_direct - extra;
                assert!(usage.gate_score.is_some());
                assert_eq!(answer.usage, usage);
            }
            _ => {
                assert_eq!((own, &answer.usage), (ranking(&direct), &direct.usage));
                assert_eq!(cost.reasoning_tokens, reasoned.usage.reasoning_tokens);
                assert_eq!(cost.stop_reason, reasoned.usage.stop_reason);
            }
        }
    }
}

/// The usage of the reasoned answer, with the reasons of `answer`, which may be the gate's.
fn reasoned_usage(answer: &SearchAnswer, reasoned: &SearchAnswer) -> twn_service::Usage {
    let twn_service::Usage {
        route_reason,
        gate_score,
        gate_threshold,
        base_threshold,
        threshold_source,
        ..
    } = answer.usage.clone();
    twn_service::Usage {
        route_reason,
        gate_score,
        gate_threshold,
        base_threshold,
        threshold_source,
        ..reasoned.usage.clone()
    }
}

#[tokio::test]
async fn thoughts_of_explanations_are_told_only_on_demand() {
    let data = TempDir::new().expect("tempdir");
    let engine = library(&data).await;
    let quiet = PolicyRequest { include_thought: false, ..policy(ReasoningMode::Never) };
    let request =
        SearchRequest { policy: quiet, ..request(DIRECT_TEXT, ReasoningMode::Never, true) };
    let explanation = search(&engine, request).await.expect("finds").explanation.expect("asked");
    assert!(explanation.thought.is_none() && explanation.reasoned.is_some());
}

#[tokio::test]
async fn supplied_vectors_have_nothing_to_explain() {
    let data = TempDir::new().expect("tempdir");
    let engine = library(&data).await;
    let query = Query::Vector(vec![1.0; 32]);
    let request = SearchRequest { query, ..request("", ReasoningMode::Never, true) };
    let error = search(&engine, request).await.expect_err("is refused");
    let ServiceError::InvalidArgument { field, .. } = &error else { panic!("{error}") };
    assert_eq!(field, "explain");
}
