//! Thinking when needed, and saying so: searches and embeddings by policy.

use tokio_stream::StreamExt;
use tonic::Code;
use twn_protos::v1::{
    EmbedKind, EmbedRequest, EmbedStreamRequest, ReasoningMode, ReasoningPolicy, Route,
    RouteReason, SearchRequest, SearchStreamRequest, StopReason, Usage, embed_stream_response,
    search_stream_response,
};

use crate::support::{DIMENSION, TestServer, message};

async fn library() -> TestServer {
    let server = TestServer::start().await;
    server.collection("docs").await;
    let words = ["the wing of an aircraft", "a queue that grows", "the capital of France"];
    let documents =
        words.iter().enumerate().map(|(i, words)| message::document(&format!("d{i}"), words));
    server.ingest().upsert(message::upsert("docs", documents)).await.unwrap();
    server
}

async fn usage(server: &TestServer, policy: ReasoningPolicy) -> Usage {
    let request = SearchRequest {
        reasoning: Some(policy),
        ..message::search("docs", "What is the capital of France?")
    };
    let answer = server.search().search(request).await.unwrap().into_inner();
    assert_eq!(answer.hits.len(), 3);
    let timings = answer.timings.unwrap();
    assert!(timings.total.is_some() && timings.prefill.is_some() && timings.search.is_some());
    let usage = answer.usage.unwrap();
    assert_eq!(timings.reasoning.is_some(), usage.route() == Route::Reasoned);
    assert!(usage.prompt_tokens > 0);
    assert!(!usage.encoder_fingerprint.is_empty() && !usage.truncated && !usage.cached);
    match usage.gate_score {
        Some(score) => assert!((0.0..=1.0).contains(&score) && usage.query_tokens > 0, "{score}"),
        // This model's embedding is a mean: its queries are for the gate.
        None => {
            assert_eq!((usage.route_reason(), usage.query_tokens), (RouteReason::PolicyAlways, 0))
        }
    }
    usage
}

fn mode(mode: ReasoningMode) -> ReasoningPolicy {
    ReasoningPolicy { mode: mode.into(), token_budget: Some(12), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_decides_the_route_and_usage_tells_it() {
    let server = library().await;

    let never = usage(&server, mode(ReasoningMode::Never)).await;
    assert_eq!(never.route(), Route::Direct);
    assert_eq!(never.route_reason(), RouteReason::PolicyNever);
    assert_eq!((never.reasoning_tokens, never.gate_threshold), (0, None));
    assert_eq!((never.stop_reason(), never.thought), (StopReason::Unspecified, None));

    let always = usage(&server, mode(ReasoningMode::Always)).await;
    assert_eq!(always.route(), Route::Reasoned);
    assert_eq!(always.route_reason(), RouteReason::PolicyAlways);
    assert!((1..=12).contains(&always.reasoning_tokens), "{}", always.reasoning_tokens);
    assert_ne!(always.stop_reason(), StopReason::Unspecified);
    assert_eq!((always.gate_threshold, &always.thought), (None, &None));
    assert_eq!((always.gate_score, never.gate_score.is_some()), (None, true));

    let auto =
        |threshold| ReasoningPolicy { threshold: Some(threshold), ..mode(ReasoningMode::Auto) };
    let below = usage(&server, auto(1.0)).await;
    assert_eq!(below.route(), Route::Direct);
    assert_eq!(below.route_reason(), RouteReason::GateBelowThreshold);
    assert_eq!(below.gate_threshold, Some(1.0));
    let above = usage(&server, auto(0.0)).await;
    assert_eq!(above.route(), Route::Reasoned);
    assert_eq!(above.route_reason(), RouteReason::GateAboveThreshold);
    assert_eq!(above.gate_threshold, Some(0.0));
    assert!(above.reasoning_tokens > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn thought_is_returned_when_asked_for() {
    let server = library().await;
    let policy = ReasoningPolicy {
        include_thought: true,
        token_budget: Some(40),
        temperature: Some(1.0),
        seed: Some(7),
        ..mode(ReasoningMode::Always)
    };
    let first = usage(&server, policy).await;
    assert!(first.thought.is_some());
    assert_eq!(usage(&server, policy).await.thought, first.thought, "the seed decides");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_reasoned_about_too_and_keep_their_provenance() {
    let server = library().await;
    let request = twn_protos::v1::UpsertRequest {
        reasoning: message::thinking(8),
        ..message::upsert("docs", [message::document("new", "Tokyo")])
    };
    let written = server.ingest().upsert(request).await.unwrap().into_inner();
    let usage = written.results[0].usage.clone().unwrap();
    assert_eq!(usage.route(), Route::Reasoned);
    assert!(usage.thought.is_some());

    let mask = twn_protos::v1::DocumentMask { include_usage: true, ..Default::default() };
    let request = twn_protos::v1::GetRequest {
        collection: "docs".into(),
        ids: vec!["new".into()],
        mask: Some(mask),
    };
    let stored = server.search().get(request).await.unwrap().into_inner();
    assert_eq!(stored.documents[0].usage, Some(usage));
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_are_embedded_in_order() {
    let server = TestServer::start().await;
    let inputs: Vec<_> = (0..10).map(|i| message::text(&format!("input number {i}"))).collect();
    let request = |inputs, kind: EmbedKind| EmbedRequest {
        inputs,
        instruction: String::new(),
        reasoning: message::policy(ReasoningMode::Never),
        kind: kind.into(),
        explain: false,
    };
    let all = server.embed().embed(request(inputs.clone(), EmbedKind::Query)).await.unwrap();
    let all = all.into_inner().embeddings;
    assert_eq!(all.len(), 10);
    for (input, embedding) in inputs.iter().zip(&all) {
        assert_eq!(embedding.values.len(), DIMENSION);
        let norm: f32 = embedding.values.iter().map(|value| value * value).sum();
        assert!((norm - 1.0).abs() < 1e-3, "{norm}");
        let alone = server.embed().embed(request(vec![input.clone()], EmbedKind::Query)).await;
        let alone = alone.unwrap().into_inner().embeddings.remove(0);
        let likeness: f32 = alone.values.iter().zip(&embedding.values).map(|(a, b)| a * b).sum();
        assert!(likeness > 0.999, "alone and in company: {likeness}");
        assert_eq!(embedding.usage.as_ref().unwrap().route(), Route::Direct);
    }
    let document = server.embed().embed(request(inputs, EmbedKind::Document)).await.unwrap();
    assert_ne!(document.into_inner().embeddings[0].values, all[0].values);
}

#[tokio::test(flavor = "multi_thread")]
async fn embed_stream_answers_every_tag_and_survives_failures() {
    let server = TestServer::start().await;
    let requests = (0..100_u64).map(|tag| EmbedStreamRequest {
        tag,
        input: (tag % 10 != 3).then(|| message::text(&format!("input {tag}"))),
        instruction: String::new(),
        reasoning: message::policy(ReasoningMode::Never),
        kind: EmbedKind::Unspecified.into(),
        explain: false,
    });
    let requests: Vec<_> = requests.collect();
    let answers = server.embed().embed_stream(tokio_stream::iter(requests)).await.unwrap();
    let answers: Vec<_> = answers.into_inner().map(Result::unwrap).collect().await;
    let mut tags = Vec::new();
    for answer in answers {
        tags.push(answer.tag);
        match answer.result.unwrap() {
            embed_stream_response::Result::Embedding(embedding) => {
                assert_eq!(embedding.values.len(), DIMENSION);
            }
            embed_stream_response::Result::Error(error) => {
                assert_eq!(answer.tag % 10, 3);
                assert_eq!(Code::from(error.code), Code::InvalidArgument);
                assert_eq!(error.message, "input: is required");
                assert_eq!(error.reason, "INVALID_FIELD");
            }
        }
    }
    tags.sort_unstable();
    assert_eq!(tags, (0..100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn search_stream_answers_every_tag_and_survives_failures() {
    let server = library().await;
    let requests = (0..60_u64).map(|tag| SearchStreamRequest {
        tag,
        request: Some(message::search(if tag == 30 { "nowhere" } else { "docs" }, "France")),
    });
    let requests: Vec<_> = requests.collect();
    let answers = server.search().search_stream(tokio_stream::iter(requests)).await.unwrap();
    let answers: Vec<_> = answers.into_inner().map(Result::unwrap).collect().await;
    assert_eq!(answers.len(), 60);
    for answer in answers {
        match answer.result.unwrap() {
            search_stream_response::Result::Response(response) => {
                assert_eq!(response.hits.len(), 3);
                assert!(response.usage.is_some() && response.plan.is_some());
            }
            search_stream_response::Result::Error(error) => {
                assert_eq!(answer.tag, 30);
                assert_eq!(Code::from(error.code), Code::NotFound);
                assert_eq!(error.message, "collection `nowhere` does not exist");
                assert_eq!(error.reason, "COLLECTION_NOT_FOUND");
            }
        }
    }
}
