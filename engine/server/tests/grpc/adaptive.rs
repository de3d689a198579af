//! Answers that adapt and explain themselves: pressure, explanations and the cache, as
//! they appear on the wire.

use twn_protos::v1::{
    EmbedRequest, Embedding, Pressure, Ranking, ReasoningMode, ReasoningPolicy, Route, RouteReason,
    SearchRequest, SearchResponse, StopReason, TokenCost,
};
use twn_service::{CacheOptions, PressureOptions};

use crate::support::{TestServer, message};

const QUESTION: &str = "What is the capital of France?";
/// Longer than any call takes: whoever adapts has no time left.
const A_DAY_MS: u64 = 86_400_000;

fn policy(mode: ReasoningMode) -> ReasoningPolicy {
    ReasoningPolicy {
        mode: mode.into(),
        token_budget: Some(9),
        include_thought: true,
        ..Default::default()
    }
}

async fn embed(server: &TestServer, policy: ReasoningPolicy, explain: bool) -> Embedding {
    let request = EmbedRequest {
        inputs: vec![message::text(QUESTION)],
        reasoning: Some(policy),
        explain,
        ..Default::default()
    };
    server.embed().embed(request).await.unwrap().into_inner().embeddings.remove(0)
}

async fn hurried() -> TestServer {
    TestServer::with(|options| {
        options.engine.pressure =
            PressureOptions { deadline_margin_ms: A_DAY_MS, ..PressureOptions::default() };
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_time_to_think_the_answer_says_what_it_went_without() {
    let server = hurried().await;
    let eager = ReasoningPolicy { threshold: Some(0.0), ..policy(ReasoningMode::Auto) };
    let usage = embed(&server, eager, false).await.usage.unwrap();
    assert_eq!(
        (usage.route(), usage.route_reason()),
        (Route::Direct, RouteReason::GateBelowThreshold)
    );
    assert_eq!((usage.base_threshold, usage.gate_threshold), (Some(0.0), Some(1.0)));
    assert_eq!((usage.token_budget, usage.granted_budget), (Some(9), None));
    assert_eq!(usage.pressure(), Pressure::Deadline);

    let usage = embed(&server, policy(ReasoningMode::Always), false).await.usage.unwrap();
    assert_eq!((usage.route(), usage.stop_reason()), (Route::Reasoned, StopReason::Deadline));
    assert_eq!((usage.reasoning_tokens, usage.granted_budget), (0, Some(1)));
    assert_eq!((usage.thought.as_deref(), usage.pressure()), (Some(""), Pressure::Deadline));

    let fixed = ReasoningPolicy { fixed: true, ..eager };
    let usage = embed(&server, fixed, false).await.usage.unwrap();
    assert_eq!((usage.route(), usage.pressure()), (Route::Reasoned, Pressure::None));
    assert_eq!((usage.gate_threshold, usage.granted_budget), (Some(0.0), Some(9)));
    assert!(usage.reasoning_tokens > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_documents_are_the_same_under_any_pressure() {
    let server = hurried().await;
    server.collection("docs").await;
    let request = twn_protos::v1::UpsertRequest {
        reasoning: message::thinking(8),
        ..message::upsert("docs", [message::document("new", "Tokyo")])
    };
    let written = server.ingest().upsert(request).await.unwrap().into_inner();
    let usage = written.results[0].usage.clone().unwrap();
    assert_eq!((usage.route(), usage.pressure()), (Route::Reasoned, Pressure::None));
    assert_ne!(usage.stop_reason(), StopReason::Deadline);
    assert_eq!(usage.granted_budget, Some(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn explained_embeddings_show_what_thinking_changes() {
    let server = TestServer::start().await;
    let direct = embed(&server, policy(ReasoningMode::Never), true).await;
    let usage = direct.usage.clone().unwrap();
    assert_eq!((usage.route(), usage.reasoning_tokens, usage.thought), (Route::Direct, 0, None));
    let explanation = direct.explanation.unwrap();
    assert_eq!(explanation.direct, direct.values);
    assert_ne!(explanation.reasoned, direct.values);
    let cost = explanation.cost.unwrap();
    // This model's embedding is a mean, so no queries run after a thought.
    assert!((1..=9).contains(&cost.reasoning_tokens), "{cost:?}");
    assert!(cost.query_tokens == 0 && cost.reembed.is_some(), "{cost:?}");
    assert_eq!((cost.granted_budget, cost.pressure()), (Some(9), Pressure::None));
    assert_ne!(cost.stop_reason(), StopReason::Unspecified);
    assert!(cost.reasoning.is_some() && explanation.thought.is_some());

    let reasoned = embed(&server, policy(ReasoningMode::Always), true).await;
    let explanation = reasoned.explanation.unwrap();
    assert_eq!(explanation.reasoned, reasoned.values);
    let likeness = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let likeness = likeness(&explanation.direct, &direct.values);
    assert!(likeness > 0.999, "{likeness}");
    let cost = explanation.cost.unwrap();
    assert_eq!((cost.reasoning_tokens, cost.granted_budget), (0, None));
    let of_direct = direct.usage.as_ref().unwrap().query_tokens;
    assert!(of_direct > 0 && cost.query_tokens == of_direct, "{cost:?}");
    assert!(reasoned.usage.unwrap().gate_score.is_some());

    let plain = embed(&server, policy(ReasoningMode::Always), false).await;
    assert_eq!((plain.explanation, plain.usage.unwrap().gate_score), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn explained_searches_have_both_rankings() {
    let server = TestServer::start().await;
    server.collection("docs").await;
    let words = ["the wing of an aircraft", "a queue that grows", "the capital of France"];
    let documents =
        words.iter().enumerate().map(|(i, words)| message::document(&format!("d{i}"), words));
    server.ingest().upsert(message::upsert("docs", documents)).await.unwrap();
    let search = async |mode| -> SearchResponse {
        let request = SearchRequest {
            reasoning: Some(policy(mode)),
            explain: true,
            ..message::search("docs", QUESTION)
        };
        server.search().search(request).await.unwrap().into_inner()
    };
    for mode in [ReasoningMode::Never, ReasoningMode::Always] {
        let answer = search(mode).await;
        let explanation = answer.explanation.unwrap();
        let (direct, reasoned) = (explanation.direct.unwrap(), explanation.reasoned.unwrap());
        let own = if mode == ReasoningMode::Always { &reasoned } else { &direct };
        let ranking = |ranking: &Ranking| -> Vec<(String, f32)> {
            ranking.documents.iter().map(|found| (found.id.clone(), found.score)).collect()
        };
        let hits = answer.hits.iter().map(|hit| (hit.document.clone().unwrap().id, hit.score));
        assert_eq!(ranking(own), hits.collect::<Vec<_>>());
        assert_eq!((direct.documents.len(), reasoned.documents.len()), (3, 3));
        assert_ne!(ranking(&direct), ranking(&reasoned), "thoughts change scores");
        assert_eq!(own.plan, answer.plan);
        assert!(explanation.cost.unwrap().search.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_again_ran_nothing_now() {
    let server = TestServer::with(|options| options.engine.cache = CacheOptions::default()).await;
    let first = embed(&server, policy(ReasoningMode::Always), false).await;
    let again = embed(&server, policy(ReasoningMode::Always), false).await;
    assert_eq!(first.values, again.values);
    let (made, recalled) = (first.usage.unwrap(), again.usage.unwrap());
    assert_eq!((made.cached, &made.original), (false, &None));
    let original = TokenCost {
        prompt_tokens: made.prompt_tokens,
        cached_prompt_tokens: made.cached_prompt_tokens,
        vision_tokens: made.vision_tokens,
        reasoning_tokens: made.reasoning_tokens,
        query_tokens: made.query_tokens,
    };
    assert_eq!((recalled.cached, recalled.original), (true, Some(original)));
    let now = [recalled.prompt_tokens, recalled.cached_prompt_tokens, recalled.reasoning_tokens];
    assert_eq!((now, recalled.query_tokens), ([0; 3], 0));
    assert_eq!((recalled.route(), recalled.thought), (Route::Reasoned, made.thought));
    let times = again.timings.unwrap();
    assert!(times.total.is_some() && times.prefill.is_none() && times.reasoning.is_none());

    let explained = embed(&server, policy(ReasoningMode::Always), true).await;
    assert!(!explained.usage.unwrap().cached, "explanations show what happens now");
}
