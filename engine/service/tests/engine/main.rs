//! The engine's promises, over a deterministic embedder: routes and usage, priorities,
//! deadlines and cancellation, writes and their order, and what survives a restart.

mod adaptive;
mod cached;
mod explained;
mod media;
mod mixed;
mod real;
mod support;

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tempfile::TempDir;
use twn_encoder::{FakeFailure, FakeOptions};
use twn_service::{
    Call, Content, CreateCollection, DocumentInput, FieldValue, Filter, Limits, Media, Part,
    PolicyRequest, Query, ReasoningMode, Route, RouteReason, SearchRequest, ServiceError,
    StopReason, WriteOptions, WriteStatus,
};

use support::{
    DIRECT_TEXT, HARD_TEXT, call, document, embed_request, engine, engine_with, policy, search,
    search_request, upsert, write_options,
};

#[tokio::test]
async fn routes_follow_policy_and_gate_and_are_accounted_for() {
    let data = TempDir::new().expect("tempdir");
    let engine = engine(data.path());
    let cases = [
        (DIRECT_TEXT, ReasoningMode::Auto, Route::Direct, RouteReason::GateBelowThreshold),
        (HARD_TEXT, ReasoningMode::Auto, Route::Reasoned, RouteReason::GateAboveThreshold),
        (HARD_TEXT, ReasoningMode::Never, Route::Direct, RouteReason::PolicyNever),
        (DIRECT_TEXT, ReasoningMode::Always, Route::Reasoned, RouteReason::PolicyAlways),
    ];
    for (text, mode, route, reason) in cases {
        let (call, _guard) = call();
        let (encoded, _) =
            engine.embed(embed_request(text, policy(mode)), &call).await.expect(text);
        let usage = &encoded.usage;
        assert_eq!((usage.route, usage.route_reason), (route, reason), "{text} {mode:?}");
        assert!(usage.prompt_tokens > 0);
        assert_eq!(usage.gate_threshold.is_some(), mode == ReasoningMode::Auto);
        let thought_words = encoded.thought.map_or(0, |t| t.split_whitespace().count());
        match route {
            Route::Reasoned => {
                assert_eq!(usage.stop_reason, Some(StopReason::Closed));
                assert!(usage.reasoning_tokens > 0 && thought_words > 0);
            }
            _ => assert_eq!((usage.reasoning_tokens, thought_words), (0, 0)),
        }
    }
}

#[tokio::test]
async fn budget_ends_a_thought() {
    let data = TempDir::new().expect("tempdir");
    let engine = engine(data.path());
    let (call, _guard) = call();
    let wish = PolicyRequest { token_budget: Some(2), ..policy(ReasoningMode::Always) };
    let (encoded, _) = engine.embed(embed_request(HARD_TEXT, wish), &call).await.expect("embed");
    assert_eq!(encoded.usage.reasoning_tokens, 2);
    assert_eq!(encoded.usage.stop_reason, Some(StopReason::Budget));
}

#[tokio::test]
async fn direct_requests_overtake_thoughts() {
    let data = TempDir::new().expect("tempdir");
    let fake = FakeOptions {
        thought_tokens: 40,
        step_delay: Duration::from_millis(20),
        ..FakeOptions::default()
    };
    let engine = engine_with(data.path(), fake, Limits::default());
    let thinking = {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move {
            let (call, _guard) = call();
            let request = embed_request(HARD_TEXT, policy(ReasoningMode::Always));
            engine.embed(request, &call).await
        })
    };
    tokio::time::sleep(Duration::from_millis(60)).await;
    let (call, _guard) = call();
    let request = embed_request(DIRECT_TEXT, policy(ReasoningMode::Never));
    engine.embed(request, &call).await.expect("direct");
    assert!(!thinking.is_finished(), "the direct request waited for the thought");
    thinking.await.expect("task").expect("thought");
}

#[tokio::test]
async fn deadline_ends_a_thought_and_frees_the_model() {
    let data = TempDir::new().expect("tempdir");
    let fake = FakeOptions {
        thought_tokens: 400,
        step_delay: Duration::from_millis(10),
        ..FakeOptions::default()
    };
    let engine = engine_with(data.path(), fake, Limits::default());
    let (short, _guard) = Call::within(Duration::from_millis(100));
    let wish = PolicyRequest { fixed: true, ..policy(ReasoningMode::Always) };
    let request = embed_request(HARD_TEXT, wish);
    let error = engine.embed(request, &short).await.expect_err("too slow");
    assert!(matches!(error, ServiceError::DeadlineExceeded { .. }), "{error}");

    let (call, _guard) = call();
    let request = embed_request(DIRECT_TEXT, policy(ReasoningMode::Never));
    let (encoded, _) = engine.embed(request, &call).await.expect("model is free");
    assert!(encoded.timings.queue < Duration::from_secs(1));
}

#[tokio::test]
async fn dropping_the_guard_cancels() {
    let data = TempDir::new().expect("tempdir");
    let fake = FakeOptions {
        thought_tokens: 400,
        step_delay: Duration::from_millis(10),
        ..FakeOptions::default()
    };
    let engine = engine_with(data.path(), fake, Limits::default());
    let (call, guard) = call();
    let request = embed_request(HARD_TEXT, policy(ReasoningMode::Always));
    let embedding = tokio::spawn(async move { engine.embed(request, &call).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(guard);
    let error = embedding.await.expect("task").expect_err("cancelled");
    assert!(matches!(error, ServiceError::Cancelled), "{error}");
}

#[tokio::test]
async fn full_queue_refuses_searches_with_a_retry_time() {
    let data = TempDir::new().expect("tempdir");
    let fake = FakeOptions { direct_delay: Duration::from_millis(300), ..FakeOptions::default() };
    let limits = Limits { max_queue_items: 2, ..Limits::default() };
    let engine = engine_with(data.path(), fake, limits);
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let engine = Arc::clone(&engine);
        tasks.push(tokio::spawn(async move {
            let (call, _guard) = call();
            engine.embed(embed_request(DIRECT_TEXT, policy(ReasoningMode::Never)), &call).await
        }));
    }
    let mut refused = 0;
    for task in tasks {
        match task.await.expect("task") {
            Ok(_) => {}
            Err(ServiceError::Overloaded { retry_after, .. }) => {
                assert!(retry_after > Duration::ZERO);
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(refused, 6);
}

#[tokio::test]
async fn encoder_failure_is_ours_and_is_survived() {
    let data = TempDir::new().expect("tempdir");
    let fake = FakeOptions { failure: FakeFailure::Reasoned, ..FakeOptions::default() };
    let engine = engine_with(data.path(), fake, Limits::default());
    let (call, _guard) = call();
    let request = embed_request(HARD_TEXT, policy(ReasoningMode::Always));
    let error = engine.embed(request, &call).await.expect_err("fails");
    assert!(matches!(error, ServiceError::Internal { .. }), "{error}");
    let request = embed_request(DIRECT_TEXT, policy(ReasoningMode::Never));
    engine.embed(request, &call).await.expect("goes on");
}

#[tokio::test]
async fn written_documents_are_found_with_their_provenance() {
    let data = TempDir::new().expect("tempdir");
    let engine = engine(data.path());
    let mut pump = document("pump", "pumps move water uphill");
    pump.payload = json!({"kind": "machine", "year": 1999}).as_object().expect("object").clone();
    let written = upsert(&engine, vec![pump, document("tea", "tea is a hot drink")]).await;
    assert!(written.iter().all(|w| w.status == WriteStatus::Inserted));

    let answer = search(&engine, search_request(DIRECT_TEXT)).await.expect("search");
    assert_eq!(answer.hits[0].document.id, "pump");
    assert_eq!(answer.hits[0].document.text, "pumps move water uphill");
    assert!(answer.hits[0].document.provenance.contains("policy_never"));
    assert_eq!(answer.usage.route, Route::Direct);

    let filter = Filter::Match { field: "kind".into(), value: FieldValue::Text("animal".into()) };
    let filtered = SearchRequest { filter: Some(filter), ..search_request(DIRECT_TEXT) };
    assert!(search(&engine, filtered).await.expect("search").hits.is_empty());
}

#[tokio::test]
async fn unchanged_documents_cost_nothing_and_changed_ones_are_updated() {
    let data = TempDir::new().expect("tempdir");
    let engine = engine(data.path());
    upsert(&engine, vec![document("a", "first text")]).await;

    let again = upsert(&engine, vec![document("a", "first text")]).await;
    assert_eq!(again[0].status, WriteStatus::Unchanged);
    assert_eq!(again[0].usage.route, Route::None);
    assert_eq!(again[0].usage.prompt_tokens, 0);

    let mut tagged = document("a", "first text");
    tagged.payload = json!({"tag": 1}).as_object().expect("object").clone();
    assert_eq!(upsert(&engine, vec![tagged]).await[0].status, WriteStatus::Updated);
    assert_eq!(
        upsert(&engine, vec![document("a", "second text")]).await[0].status,
        WriteStatus::Updated
    );
}

#[tokio::test]
async fn upsert_is_all_or_nothing() {
    let data = TempDir::new().expect("tempdir");
    let engine = engine(data.path());
    let (call, _guard) = call();
    let documents = vec![document("good", "a text"), document("bad", "   ")];
    let options = write_options(ReasoningMode::Never);
    let error = engine.upsert(documents, options, &call).await.expect_err("empty text");
    let ServiceError::InvalidArgument { field, .. } = &error else { panic!("{error}") };
    assert_eq!(field, "documents[1].content");
    assert_eq!(engine.count("docs", None, &call).await.expect("count"), 0);
}

#[tokio::test]
async fn stream_keeps_the_order_of_one_id() {
    let data = TempDir::new().expect("tempdir");
    let fake = FakeOptions { step_delay: Duration::from_millis(10), ..FakeOptions::default() };
    let engine = engine_with(data.path(), fake, Limits::default());
    let session = engine.open_ingest(write_options(ReasoningMode::Auto)).await.expect("session");
    let (call, _guard) = call();
    // The first version thinks and is slow; the second is direct and would overtake it.
    let slow = session.submit(document("a", HARD_TEXT), 1, call.clone());
    let fast = session.submit(document("a", DIRECT_TEXT), 2, call.clone());
    let other = session.submit(document("b", DIRECT_TEXT), 3, call.clone());
    let (fast, slow, other) = tokio::join!(fast, slow, other);
    assert_eq!(slow.expect("first").status, WriteStatus::Inserted);
    assert_eq!(fast.expect("second").status, WriteStatus::Updated);
    assert_eq!(other.expect("other").status, WriteStatus::Inserted);
    let found = engine.get("docs", vec!["a".into()], &call).await.expect("get");
    assert_eq!(found.documents[0].text, DIRECT_TEXT);
}

#[tokio::test]
async fn failed_item_does_not_block_the_next_of_its_id() {
    let data = TempDir::new().expect("tempdir");
    let engine = engine(data.path());
    let session = engine.open_ingest(write_options(ReasoningMode::Never)).await.expect("session");
    let (call, _guard) = call();
    let bad = session.submit(document("a", " "), 1, call.clone());
    let good = session.submit(document("a", DIRECT_TEXT), 2, call.clone());
    let (bad, good) = tokio::join!(bad, good);
    assert!(bad.is_err());
    assert_eq!(good.expect("second").status, WriteStatus::Inserted);
}

#[tokio::test]
async fn supplied_vectors_need_the_right_shape_and_no_encoder() {
    let data = TempDir::new().expect("tempdir");
    let engine = engine(data.path());
    let create = CreateCollection {
        name: "vectors".into(),
        dimension: Some(4),
        ..CreateCollection::default()
    };
    engine.create_collection(create).await.expect("create");
    let (call, _guard) = call();
    let write = |vector: Vec<f32>| {
        let document =
            DocumentInput { id: "v".into(), vector: Some(vector), ..DocumentInput::default() };
        let options =
            WriteOptions { collection: "vectors".into(), ..write_options(ReasoningMode::Never) };
        engine.upsert(vec![document], options, &call)
    };
    let written = write(vec![0.0, 3.0, 0.0, 4.0]).await.expect("write");
    assert_eq!(written[0].usage.route_reason, RouteReason::VectorSupplied);
    for bad in [vec![1.0; 3], vec![f32::NAN; 4], vec![0.0; 4], vec![f32::INFINITY; 4]] {
        let error = write(bad).await.expect_err("bad vector");
        let ServiceError::InvalidArgument { field, .. } = &error else { panic!("{error}") };
        assert_eq!(field, "documents[0].vector");
    }

    let by_vector = SearchRequest {
        collection: "vectors".into(),
        query: Query::Vector(vec![0.0, 0.6, 0.0, 0.8]),
        ..search_request("")
    };
    let answer = search(&engine, by_vector).await.expect("search");
    assert!((answer.hits[0].score - 1.0).abs() < 1e-6);
    let by_text = SearchRequest { collection: "vectors".into(), ..search_request(DIRECT_TEXT) };
    let error = search(&engine, by_text).await.expect_err("no encoder for it");
    assert!(matches!(error, ServiceError::FailedPrecondition { .. }), "{error}");
}

#[tokio::test]
async fn media_parts_are_named_as_unsupported() {
    let data = TempDir::new().expect("tempdir");
    let engine = engine(data.path());
    upsert(&engine, vec![document("a", "text")]).await;
    let image = Media::image(b"GIF89a".to_vec());
    let content = Content { parts: vec![Part::Text("see".into()), Part::Media(image)] };
    let request = SearchRequest { query: Query::Content(content), ..search_request("") };
    let error = search(&engine, request).await.expect_err("image");
    assert!(matches!(error, ServiceError::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("part 1 is an image (GIF)"), "{error}");
}

#[tokio::test]
async fn restart_keeps_documents_and_refuses_another_encoder() {
    let data = TempDir::new().expect("tempdir");
    let first = engine(data.path());
    upsert(&first, vec![document("a", "kept text")]).await;
    first.shut_down().await;
    drop(first);

    let second = engine(data.path());
    let (call, _guard) = call();
    let found = second.get("docs", vec!["a".into(), "b".into()], &call).await.expect("get");
    assert_eq!(found.documents[0].text, "kept text");
    assert_eq!(found.missing, ["b"]);
    second.shut_down().await;
    drop(second);

    let fake = FakeOptions { seed: 1, ..FakeOptions::default() };
    let other = engine_with(data.path(), fake, Limits::default());
    let error = search(&other, search_request("kept")).await.expect_err("other encoder");
    assert!(matches!(error, ServiceError::FailedPrecondition { .. }), "{error}");
}

#[tokio::test]
async fn collections_come_and_go() {
    let data = TempDir::new().expect("tempdir");
    let limits = Limits { max_collections: 2, ..Limits::default() };
    let engine = engine_with(data.path(), FakeOptions::default(), limits);
    let create = |name: &str| {
        engine.create_collection(CreateCollection { name: name.into(), ..Default::default() })
    };
    create("a").await.expect("first");
    let error = create("a").await.expect_err("twice");
    assert!(matches!(error, ServiceError::CollectionExists { .. }), "{error}");
    create("b").await.expect("second");
    let error = create("c").await.expect_err("too many");
    assert!(matches!(error, ServiceError::FailedPrecondition { .. }), "{error}");

    engine.delete_collection("a".into()).await.expect("delete");
    assert!(matches!(engine.collection("a"), Err(ServiceError::CollectionNotFound { .. })));
    let names: Vec<_> = engine.list_collections("", 10).into_iter().map(|c| c.name).collect();
    assert_eq!(names, ["b"]);
    create("c").await.expect("room again");
    assert!(create("../x").await.is_err());
}

#[tokio::test]
async fn damaged_collection_is_named_and_leaves_the_others_alone() {
    let data = TempDir::new().expect("tempdir");
    let first = engine(data.path());
    upsert(&first, vec![document("a", "one")]).await;
    let create = CreateCollection { name: "other".into(), ..CreateCollection::default() };
    first.create_collection(create).await.expect("create");
    first.shut_down().await;
    drop(first);
    let folder = data.path().join("collections");
    fs_err::write(folder.join("docs/CURRENT"), "nonsense").expect("damage");
    fs_err::create_dir(folder.join("unfinished")).expect("folder without a manifest");

    let second = engine(data.path());
    assert!(matches!(second.collection("docs"), Err(ServiceError::DataLoss { .. })));
    assert_eq!(second.collection("other").expect("sound").name, "other");
    let create = CreateCollection { name: "unfinished".into(), ..CreateCollection::default() };
    second.create_collection(create).await.expect("its name is free");
}

#[tokio::test]
async fn deletes_are_counted_and_final() {
    let data = TempDir::new().expect("tempdir");
    let engine = engine(data.path());
    upsert(&engine, vec![document("a", "one"), document("b", "two")]).await;
    let (call, _guard) = call();
    let deleted = engine.delete("docs", vec!["a".into(), "x".into()], &call).await;
    assert_eq!(deleted.expect("delete"), 1);
    assert_eq!(engine.count("docs", None, &call).await.expect("count"), 1);
    let listed = engine.list("docs", None, 10, None, &call).await.expect("list");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id, "b");
}
