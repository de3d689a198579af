//! The ingest stream: credits, acknowledgements, refusals, and every way to end it.

use std::time::Duration;

use tonic::Code;
use tonic_types::StatusExt;
use twn_protos::v1::{
    CountRequest, Durability, IngestItem, IngestStart, ReasoningMode, Route, RouteReason,
    WriteStatus, ingest_request::Kind,
};

use crate::support::{TestServer, message, stream::IngestClient};

async fn count(server: &TestServer, collection: &str) -> u64 {
    let request = CountRequest { collection: collection.into(), filter: None };
    server.search().count(request).await.unwrap().into_inner().count
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_writes_more_items_than_it_has_credits() {
    let server = TestServer::start().await;
    let start = IngestStart {
        collection: "docs".into(),
        create_collection: true,
        reasoning: message::policy(ReasoningMode::Never),
        durability: Durability::Searchable.into(),
        ..Default::default()
    };
    let mut stream = IngestClient::start_with(server.ingest(), start.clone()).await.unwrap();
    assert_eq!(stream.credits, 64, "the first window is the whole of the credits");
    for i in 0..200_u64 {
        let document = message::document(&format!("d{i}"), &format!("document number {i}"));
        stream.item(1_000 + i, document).await.unwrap();
    }
    let finished = stream.finish().await.unwrap();

    let mut seqs: Vec<_> = finished.acks.iter().map(|ack| ack.seq).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1_000..1_200).collect::<Vec<_>>());
    assert!(finished.errors.is_empty());
    for ack in &finished.acks {
        assert_eq!(ack.id, format!("d{}", ack.seq - 1_000));
        assert_eq!(ack.status(), WriteStatus::Inserted);
        let usage = ack.usage.as_ref().unwrap();
        assert_eq!((usage.route(), usage.reasoning_tokens), (Route::Direct, 0));
        assert_eq!(usage.route_reason(), RouteReason::PolicyNever);
        assert!(usage.prompt_tokens > 0 && usage.gate_score.is_some());
        let timings = ack.timings.as_ref().unwrap();
        assert!(timings.total.is_some() && timings.prefill.is_some() && timings.write.is_some());
    }
    let summary = finished.summary;
    assert_eq!((summary.inserted, summary.updated, summary.unchanged), (200, 0, 0));
    assert_eq!((summary.failed, summary.reasoned, summary.reasoning_tokens), (0, 0, 0));
    let prompt_tokens: u64 =
        finished.acks.iter().map(|ack| u64::from(ack.usage.as_ref().unwrap().prompt_tokens)).sum();
    assert_eq!(summary.prompt_tokens, prompt_tokens);
    assert_eq!(count(&server, "docs").await, 200);

    let mut again = IngestClient::start_with(server.ingest(), start).await.unwrap();
    for i in 0..20_u64 {
        let words = if i < 15 { format!("document number {i}") } else { "changed".to_owned() };
        again.item(i, message::document(&format!("d{i}"), &words)).await.unwrap();
    }
    let finished = again.finish().await.unwrap();
    assert_eq!((finished.summary.unchanged, finished.summary.updated), (15, 5));
    let same = finished.acks.iter().find(|ack| ack.id == "d3").unwrap();
    assert_eq!(same.status(), WriteStatus::Unchanged);
    let usage = same.usage.as_ref().unwrap();
    assert_eq!((usage.route(), usage.prompt_tokens), (Route::None, 0));
    assert_eq!(usage.route_reason(), RouteReason::Unchanged);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_items_do_not_end_the_stream() {
    let server = TestServer::start().await;
    server.collection("docs").await;
    let mut stream = IngestClient::start(server.ingest(), "docs").await.unwrap();
    stream.item(1, message::document("good", "words")).await.unwrap();
    stream.item(2, message::document("", "words")).await.unwrap();
    let mut short = message::with_vector("short", "words", 1);
    short.vector.pop();
    stream.item(3, short).await.unwrap();
    stream.credits -= 1;
    stream.send(Some(Kind::Item(IngestItem { seq: 4, document: None }))).await;
    stream.item(5, message::document("also good", "words")).await.unwrap();
    let finished = stream.finish().await.unwrap();

    assert_eq!((finished.summary.inserted, finished.summary.failed), (2, 3));
    let mut errors = finished.errors;
    errors.sort_by_key(|error| error.seq);
    let told: Vec<_> = errors
        .iter()
        .map(|error| {
            assert_eq!(Code::from(error.code), Code::InvalidArgument);
            assert_eq!((error.reason.as_str(), error.retriable), ("INVALID_FIELD", false));
            (error.seq, error.id.as_str(), error.message.as_str())
        })
        .collect();
    assert_eq!(
        told,
        [
            (2, "", "document.id: is empty"),
            (3, "short", "document.vector: has 63 dimensions, collection `docs` expects 64"),
            (4, "", "item.document: is required"),
        ]
    );
    assert_eq!(count(&server, "docs").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn last_of_several_writes_to_one_id_wins() {
    let server = TestServer::start().await;
    server.collection("docs").await;
    let mut stream = IngestClient::start(server.ingest(), "docs").await.unwrap();
    for i in 0..50_u64 {
        stream.item(i, message::document("same", &format!("version {i}"))).await.unwrap();
    }
    let finished = stream.finish().await.unwrap();
    assert_eq!((finished.summary.inserted, finished.summary.updated), (1, 49));
    let request = twn_protos::v1::GetRequest {
        collection: "docs".into(),
        ids: vec!["same".into()],
        mask: None,
    };
    let found = server.search().get(request).await.unwrap().into_inner();
    assert_eq!(found.documents[0].text, "version 49");
}

#[tokio::test(flavor = "multi_thread")]
async fn sequence_number_in_flight_is_refused() {
    let server = TestServer::start().await;
    server.collection("docs").await;
    let start = IngestStart {
        collection: "docs".into(),
        reasoning: message::thinking(400),
        ..Default::default()
    };
    let mut stream = IngestClient::start_with(server.ingest(), start).await.unwrap();
    stream.item(7, message::document("a", "What is it that takes so long?")).await.unwrap();
    stream.item(7, message::with_vector("b", "quick", 1)).await.unwrap();
    let finished = stream.finish().await.unwrap();
    assert_eq!(finished.acks.len(), 1);
    assert_eq!(finished.errors[0].message, "item.seq: 7 is in flight already");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_close_counts_as_finish() {
    let server = TestServer::start().await;
    server.collection("docs").await;
    let mut stream = IngestClient::start(server.ingest(), "docs").await.unwrap();
    for i in 0..10_u64 {
        stream.item(i, message::document(&format!("d{i}"), "words")).await.unwrap();
    }
    let finished = stream.half_close().await.unwrap();
    assert_eq!((finished.acks.len(), finished.summary.inserted), (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn vanished_client_leaves_whole_documents_and_a_working_server() {
    let server = TestServer::start().await;
    server.collection("docs").await;
    let start = IngestStart {
        collection: "docs".into(),
        reasoning: message::thinking(400),
        ..Default::default()
    };
    let mut stream = IngestClient::start_with(server.ingest(), start).await.unwrap();
    for i in 0..60_u64 {
        stream
            .item(i, message::document(&format!("d{i}"), "Why does this take so long?"))
            .await
            .unwrap();
    }
    drop(stream);

    // Sixty thoughts would keep the model busy for long; cancelled ones do not.
    let request = message::search("docs", "words");
    let search = tokio::time::timeout(Duration::from_secs(5), async {
        server.search().search(request).await.unwrap()
    });
    search.await.expect("the model is free soon");
    assert!(count(&server, "docs").await < 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn overspending_ends_the_stream() {
    let server = TestServer::with(|options| options.engine.limits.ingest_credits = 4).await;
    server.collection("docs").await;
    let start = IngestStart {
        collection: "docs".into(),
        reasoning: message::thinking(400),
        ..Default::default()
    };
    let mut stream = IngestClient::start_with(server.ingest(), start).await.unwrap();
    assert_eq!(stream.credits, 4);
    for i in 0..40_u64 {
        stream.send_item(i, message::document(&format!("d{i}"), "What takes so long?")).await;
    }
    let status = stream.finish().await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "CREDITS_OVERSPENT");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_break_the_order_are_ended() {
    let server = TestServer::start().await;
    server.collection("docs").await;
    let start =
        || Some(Kind::Start(IngestStart { collection: "docs".into(), ..Default::default() }));
    let item = || {
        let document = Some(message::with_vector("a", "words", 1));
        Some(Kind::Item(IngestItem { seq: 1, document }))
    };
    let unknown = IngestStart { collection: "nowhere".into(), ..Default::default() };
    let odd = IngestStart { collection: "docs".into(), durability: 9, ..Default::default() };
    for (name, messages, code, message) in [
        ("item first", vec![item()], Code::InvalidArgument, "start: must be the first message"),
        ("nothing", vec![], Code::InvalidArgument, "start: must be the first message"),
        ("empty first", vec![None], Code::InvalidArgument, "start: must be the first message"),
        ("start twice", vec![start(), start()], Code::InvalidArgument, "start: was sent twice"),
        (
            "empty message",
            vec![start(), None],
            Code::InvalidArgument,
            "kind: is none of start, item and finish",
        ),
        (
            "unknown collection",
            vec![Some(Kind::Start(unknown))],
            Code::NotFound,
            "collection `nowhere` does not exist",
        ),
        (
            "unknown durability",
            vec![Some(Kind::Start(odd))],
            Code::InvalidArgument,
            "durability: 9 is not a value of this enumeration",
        ),
    ] {
        let stream = IngestClient::open(server.ingest()).await.unwrap();
        for kind in messages {
            stream.send(kind).await;
        }
        let status = stream.half_close().await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, message), "{name}");
        assert!(status.get_error_details().request_info().is_some(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deadline_ends_the_stream() {
    let server = TestServer::start().await;
    server.collection("docs").await;
    let (requests, receiver) = tokio::sync::mpsc::channel(4);
    let start = IngestStart { collection: "docs".into(), ..Default::default() };
    requests.send(twn_protos::v1::IngestRequest { kind: Some(Kind::Start(start)) }).await.unwrap();
    let mut request = tonic::Request::new(tokio_stream::wrappers::ReceiverStream::new(receiver));
    request.set_timeout(Duration::from_millis(200));
    let mut answers = server.ingest().ingest(request).await.unwrap().into_inner();
    let ended = loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("stream ends with a status"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended:?}");
}
