//! Everything a client can get wrong in one call, with its code, message and details.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use prost_types::value::Kind as ValueKind;
use tonic::{Code, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};
use twn_protos::v1::{self as pb, filter::Kind};

use crate::support::{
    TestServer,
    message::{self, equals, filter},
    raw::{RawConnection, framed},
};

/// A wrong call and what has to come of it.
struct Case<'a> {
    name: &'a str,
    status: Status,
    code: Code,
    message: &'a str,
    /// The field in `BadRequest`; empty when the fault is not in one.
    field: &'a str,
    reason: &'a str,
}

impl Case<'_> {
    #[track_caller]
    fn check(self) {
        let Self { name, status, code, message, field, reason } = self;
        assert_eq!((status.code(), status.message()), (code, message), "{name}");
        let details: ErrorDetails = status.get_error_details();
        let info = details.error_info().unwrap_or_else(|| panic!("{name}: no ErrorInfo"));
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "twn"), "{name}");
        assert!(!details.request_info().unwrap().request_id.is_empty(), "{name}");
        let violations = details.bad_request().map(|bad| &bad.field_violations[..]);
        let fields: Vec<_> = violations.unwrap_or_default().iter().map(|v| &v.field[..]).collect();
        let want = if field.is_empty() { vec![] } else { vec![field] };
        assert_eq!(fields, want, "{name}");
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> Status {
    answer.unwrap_err()
}

/// A field that cannot be used: `field: problem`.
#[track_caller]
fn invalid<T: std::fmt::Debug>(answer: Result<Response<T>, Status>, message: &str) {
    let field = message.split(": ").next().unwrap();
    let (code, reason) = (Code::InvalidArgument, "INVALID_FIELD");
    Case { name: message, status: refused(answer), code, message, field, reason }.check();
}

async fn server() -> TestServer {
    let server = TestServer::start().await;
    server.collection("docs").await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_name_the_field_that_is_wrong() {
    let server = server().await;
    let search = async |change: fn(&mut pb::SearchRequest)| {
        let mut request = message::search("docs", "words");
        change(&mut request);
        server.search().search(request).await
    };
    let query = |content| Some(pb::search_request::Query::Content(content));

    invalid(search(|r| r.query = None).await, "query: is required");
    let empty = search(|r| r.query = None).await;
    assert_eq!(refused(empty).code(), Code::InvalidArgument);
    let no_parts =
        pb::SearchRequest { query: query(pb::Content::default()), ..message::search("docs", "") };
    invalid(
        server.search().search(no_parts).await,
        "content: has no parts, at least one is needed",
    );
    invalid(
        server.search().search(message::search("docs", " \n\t ")).await,
        "content: content is empty: give at least one part with text that is not only whitespace",
    );
    invalid(
        server.search().search(message::search("docs", &"x".repeat(10 << 20))).await,
        "content: has 10485760 bytes of text, at most 1048576 are allowed",
    );
    invalid(search(|r| r.limit = 1_001).await, "limit: 1001 is outside 1 to 1000");
    invalid(search(|r| r.ef_search = 4_097).await, "ef_search: 4097 is outside 1 to 4096");

    let wordy = pb::SearchRequest {
        query: query(pb::Content { parts: vec![message::text("x").parts.remove(0); 17] }),
        ..message::search("docs", "")
    };
    invalid(
        server.search().search(wordy).await,
        "content.parts: has 17 parts, at most 16 are allowed",
    );
    let kindless = pb::SearchRequest {
        query: query(pb::Content { parts: vec![pb::Part { kind: None }] }),
        ..message::search("docs", "")
    };
    invalid(
        server.search().search(kindless).await,
        "content.parts[0]: is none of text, image, video and page",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_have_the_right_length_and_a_direction() {
    let server = server().await;
    let search =
        async |values| server.search().search(message::search_vector("docs", values)).await;
    invalid(search(vec![1.0; 63]).await, "vector: has 63 dimensions, collection `docs` expects 64");
    invalid(search(vec![]).await, "vector: has 0 dimensions, collection `docs` expects 64");
    let mut values = message::vector(1);
    values[3] = f32::NAN;
    invalid(search(values.clone()).await, "vector: bad vector: value 3 is NaN");
    values[3] = f32::INFINITY;
    invalid(search(values.clone()).await, "vector: bad vector: value 3 is inf");
    invalid(search(vec![0.0; 64]).await, "vector: bad vector: its length is zero");

    values[3] = f32::NAN;
    let document = pb::DocumentInput { vector: values, ..message::document("a", "words") };
    invalid(
        server.ingest().upsert(message::upsert("docs", [document])).await,
        "documents[0].vector: bad vector: value 3 is NaN",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_within_their_bounds() {
    let server = server().await;
    let search = async |policy| {
        let reasoning = Some(policy);
        let request = pb::SearchRequest { reasoning, ..message::search("docs", "words") };
        server.search().search(request).await
    };
    let plain = pb::ReasoningPolicy::default;
    invalid(
        search(pb::ReasoningPolicy { mode: 4, ..plain() }).await,
        "reasoning.mode: 4 is not a value of this enumeration",
    );
    invalid(
        search(pb::ReasoningPolicy { threshold: Some(1.5), ..plain() }).await,
        "reasoning.threshold: 1.5 is outside 0 to 1",
    );
    invalid(
        search(pb::ReasoningPolicy { threshold: Some(f32::NAN), ..plain() }).await,
        "reasoning.threshold: NaN is outside 0 to 1",
    );
    invalid(
        search(pb::ReasoningPolicy { token_budget: Some(0), ..plain() }).await,
        "reasoning.token_budget: 0 is outside 1 to 512",
    );
    invalid(
        search(pb::ReasoningPolicy { token_budget: Some(513), ..plain() }).await,
        "reasoning.token_budget: 513 is outside 1 to 512",
    );
    invalid(
        search(pb::ReasoningPolicy { temperature: Some(-1.0), ..plain() }).await,
        "reasoning.temperature: -1 is outside 0 to 2",
    );
    invalid(
        search(pb::ReasoningPolicy { temperature: Some(f32::INFINITY), ..plain() }).await,
        "reasoning.temperature: inf is outside 0 to 2",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_say_something_and_not_too_much() {
    let server = server().await;
    let search = async |filter| {
        let request = pb::SearchRequest { filter, ..message::search("docs", "words") };
        server.search().search(request).await
    };
    let range = |range| filter(Kind::Range(range));
    let year = || pb::Range { field: "year".into(), ..Default::default() };
    let exists = |field: &str| pb::Filter {
        kind: Some(Kind::Exists(pb::Exists { field: field.to_owned() })),
    };
    let bad = "filter: bad filter: ";

    invalid(search(Some(pb::Filter::default())).await, "filter: is required");
    invalid(
        search(filter(Kind::And(pb::And::default()))).await,
        &format!("{bad}`and` and `or` need at least one clause"),
    );
    invalid(
        search(filter(Kind::In(pb::In { field: "lang".into(), values: vec![] }))).await,
        &format!("{bad}`in` on `lang` lists no value"),
    );
    invalid(search(range(year())).await, &format!("{bad}`range` on `year` has no bound"));
    invalid(
        search(range(pb::Range { lt: Some(f64::NAN), ..year() })).await,
        "filter.range: NaN cannot be a bound",
    );
    invalid(
        search(equals("", ValueKind::BoolValue(true))).await,
        &format!("{bad}a field has no name"),
    );
    invalid(
        search(equals("lang", ValueKind::NullValue(0))).await,
        "filter.match.value: must be a string, a number or a bool",
    );
    invalid(
        search(filter(Kind::And(pb::And { filters: vec![exists("a"); 300] }))).await,
        &format!("{bad}it has more than 256 clauses"),
    );
    let deep =
        (0..20).fold(exists("a"), |inner, _| pb::Filter { kind: Some(Kind::Not(Box::new(inner))) });
    invalid(search(Some(deep.clone())).await, &format!("{bad}it nests deeper than 16 levels"));

    let count = pb::CountRequest { collection: "docs".into(), filter: Some(deep.clone()) };
    let refused_count = refused(server.search().count(count).await);
    assert_eq!(refused_count.code(), Code::InvalidArgument);
    let list =
        pb::ListRequest { collection: "docs".into(), filter: Some(deep), ..Default::default() };
    assert_eq!(refused(server.search().list(list).await).code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_are_known_and_well_named() {
    let server = server().await;
    let unknown = |status| Case {
        name: "unknown collection",
        status,
        code: Code::NotFound,
        message: "collection `nowhere` does not exist",
        field: "",
        reason: "COLLECTION_NOT_FOUND",
    };
    let name = || "nowhere".to_owned();
    let ids = || vec!["a".to_owned()];
    unknown(refused(server.search().search(message::search("nowhere", "x")).await)).check();
    let request = pb::GetRequest { collection: name(), ids: ids(), mask: None };
    unknown(refused(server.search().get(request).await)).check();
    let request = pb::ListRequest { collection: name(), ..Default::default() };
    unknown(refused(server.search().list(request).await)).check();
    let request = pb::CountRequest { collection: name(), filter: None };
    unknown(refused(server.search().count(request).await)).check();
    let request = message::upsert("nowhere", [message::document("a", "x")]);
    unknown(refused(server.ingest().upsert(request).await)).check();
    let request = pb::DeleteRequest { collection: name(), ids: ids() };
    unknown(refused(server.ingest().delete(request).await)).check();
    let request = pb::DeleteCollectionRequest { name: name() };
    unknown(refused(server.collections().delete_collection(request).await)).check();

    let create = async |config| {
        server.collections().create_collection(pb::CreateCollectionRequest { config }).await
    };
    invalid(create(None).await, "config: is required");
    for bad in ["", "Docs", "../up", "a b", "-a", &"x".repeat(65)] {
        invalid(
            create(Some(message::collection(bad))).await,
            "name: must be 1 to 64 of a-z, 0-9, `-` and `_`, starting with a letter or a digit",
        );
    }
    Case {
        name: "existing collection",
        status: refused(create(Some(message::collection("docs"))).await),
        code: Code::AlreadyExists,
        message: "collection `docs` already exists",
        field: "",
        reason: "COLLECTION_EXISTS",
    }
    .check();
    let wide = pb::CollectionConfig { dimension: 4_097, ..message::collection("wide") };
    invalid(create(Some(wide)).await, "config.dimension: 4097 is outside 2 to 4096");
    let hnsw = Some(pb::HnswConfig { m: 256, ..Default::default() });
    let dense = pb::CollectionConfig { hnsw, ..message::collection("dense") };
    invalid(create(Some(dense)).await, "config: bad option `hnsw.m`: 256 is outside 2..=255");
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_of_supplied_vectors_take_no_text() {
    let server = TestServer::start().await;
    let config = pb::CollectionConfig { dimension: 8, ..message::collection("own") };
    let request = pb::CreateCollectionRequest { config: Some(config) };
    server.collections().create_collection(request).await.unwrap();
    for status in [
        refused(server.search().search(message::search("own", "words")).await),
        refused(
            server.ingest().upsert(message::upsert("own", [message::document("a", "x")])).await,
        ),
    ] {
        Case {
            name: "text into a collection of vectors",
            status,
            code: Code::FailedPrecondition,
            message: "collection `own`: takes supplied vectors of 8 dimensions only",
            field: "",
            reason: "COLLECTION_STATE",
        }
        .check();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_the_model_cannot_read_are_named() {
    use pb::part::Kind as Part;
    let server = server().await;
    let image = pb::Image { data: b"\x89PNG\r\n\x1a\n".into(), uri: String::new() };
    let frames = pb::Frames { images: vec![image.clone(), image.clone()], fps: 1.0 };
    let film = pb::Video { source: Some(pb::video::Source::Frames(frames)), uri: String::new() };
    let page = pb::Page { data: b"%PDF-1.7".into(), number: 0, uri: String::new() };
    for (kind, named) in [
        (Part::Image(image), "an image (PNG)"),
        (Part::Video(film), "a video (PNG)"),
        (Part::Page(page), "a page (PDF)"),
    ] {
        let mut content = message::text("words");
        content.parts.push(pb::Part { kind: Some(kind) });
        let document = pb::DocumentInput { content: Some(content), ..message::document("a", "") };
        let answer = server.ingest().upsert(message::upsert("docs", [document])).await;
        let message = format!(
            "documents[0].content: part 1 is {named}, which this encoder does not support; \
             supported parts: text"
        );
        Case {
            name: named,
            status: refused(answer),
            code: Code::Unimplemented,
            message: &message,
            field: "",
            reason: "UNSUPPORTED",
        }
        .check();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_and_reads_have_bounds() {
    let server = server().await;
    let upsert = async |document| server.ingest().upsert(message::upsert("docs", [document])).await;
    let plain = || message::document("a", "words");

    let none: [pb::DocumentInput; 0] = [];
    invalid(
        server.ingest().upsert(message::upsert("docs", none)).await,
        "documents: 0 is outside 1 to 256",
    );
    let many = (0..257).map(|i| message::with_vector(&format!("d{i}"), "x", i));
    invalid(
        server.ingest().upsert(message::upsert("docs", many)).await,
        "documents: 257 is outside 1 to 256",
    );
    invalid(
        upsert(message::document(&"x".repeat(513), "x")).await,
        "documents[0].id: has 513 bytes, at most 512 are allowed",
    );
    invalid(
        upsert(pb::DocumentInput { content: None, ..plain() }).await,
        "documents[0].content: has no parts, at least one is needed",
    );
    let number = |number| pb::DocumentInput {
        payload: message::payload(&[("n", ValueKind::NumberValue(number))]),
        ..plain()
    };
    invalid(
        upsert(number(f64::NAN)).await,
        "documents[0].payload: has the number NaN, which JSON cannot hold",
    );
    let large = pb::DocumentInput {
        payload: message::payload(&[("n", message::string(&"x".repeat(300_000)))]),
        ..plain()
    };
    invalid(
        upsert(large).await,
        "documents[0].payload: has 300008 bytes as JSON, at most 262144 are allowed",
    );
    let deep = (0..16).fold(ValueKind::BoolValue(true), |inner, _| {
        ValueKind::StructValue(message::payload(&[("k", inner)]).unwrap())
    });
    let deep = pb::DocumentInput { payload: message::payload(&[("k", deep)]), ..plain() };
    invalid(upsert(deep).await, "documents[0].payload: nests deeper than 16 levels");

    let get = async |ids: Vec<String>| {
        let request = pb::GetRequest { collection: "docs".into(), ids, mask: None };
        server.search().get(request).await
    };
    invalid(get(vec![]).await, "ids: 0 is outside 1 to 1000");
    invalid(get(vec!["a".into(); 1_001]).await, "ids: 1001 is outside 1 to 1000");
    invalid(get(vec!["a".into(), String::new()]).await, "ids[1]: is empty");
    let request = pb::DeleteRequest { collection: "docs".into(), ids: vec![] };
    invalid(server.ingest().delete(request).await, "ids: 0 is outside 1 to 1000");

    let list = async |page_size, page_token: &str| {
        let page_token = page_token.to_owned();
        let collection = "docs".to_owned();
        let request = pb::ListRequest { collection, page_size, page_token, ..Default::default() };
        server.search().list(request).await
    };
    invalid(list(1_001, "").await, "page_size: 1001 is outside 1 to 1000");
    invalid(list(1, "0123").await, "page_token: was not given out for this listing and filter");

    let embed = async |inputs: usize, kind| {
        let inputs = vec![message::text("x"); inputs];
        let request = pb::EmbedRequest { inputs, kind, ..Default::default() };
        server.embed().embed(request).await
    };
    invalid(embed(0, 0).await, "inputs: 0 is outside 1 to 64");
    invalid(embed(65, 0).await, "inputs: 65 is outside 1 to 64");
    invalid(embed(1, 8).await, "kind: 8 is not a value of this enumeration");
    let long = pb::EmbedRequest {
        inputs: vec![message::text("x")],
        instruction: "very ".repeat(2_000),
        ..Default::default()
    };
    let long = refused(server.embed().embed(long).await);
    assert_eq!(long.code(), Code::InvalidArgument);
    assert!(long.message().starts_with("instruction: "), "{}", long.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn document_beyond_the_context_is_cut_and_says_so() {
    let server = server().await;
    let document = message::document("long", &"many words ".repeat(2_000));
    let written = server.ingest().upsert(message::upsert("docs", [document])).await.unwrap();
    let usage = written.into_inner().results.remove(0).usage.unwrap();
    assert!(usage.truncated);
    assert!(usage.prompt_tokens as usize <= crate::support::CONTEXT_TOKENS);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_names_do_not_break_the_answer() {
    let server = server().await;
    let status = refused(server.search().search(message::search(&"x".repeat(5 << 20), "a")).await);
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().len() < 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_messages_are_refused_unread() {
    let server = TestServer::with(|options| options.max_message_bytes = 1 << 20).await;
    let request = message::search("docs", &"x".repeat(2 << 20));
    let status = refused(server.search().search(request).await);
    assert_eq!(status.code(), Code::OutOfRange);
    assert!(status.message().contains("the limit is: 1048576 bytes"), "{}", status.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_are_refused() {
    let server = server().await;
    let connection = RawConnection::open(server.address()).await;
    let search = "/twn.v1.SearchService/Search";
    let call = async |path, body| connection.call(path, &[], body).await.unwrap().status;

    // Field 1, a string, of two bytes that are not UTF-8.
    let not_utf8 = call(search, framed(b"\x0a\x02\xff\xfe")).await;
    assert_eq!(not_utf8.code(), Code::Internal, "gRPC's own code for what does not decode");
    assert!(not_utf8.message().contains("invalid string value"), "{}", not_utf8.message());

    let truncated = call(search, framed(b"\x0a\x7fabc")).await;
    assert_eq!(truncated.code(), Code::Internal, "{truncated:?}");

    let compressed = call(search, Bytes::from_static(b"\x01\x00\x00\x00\x02ab")).await;
    assert_eq!(compressed.code(), Code::Internal, "{compressed:?}");

    let unknown = call("/twn.v1.SearchService/Find", framed(b"")).await;
    assert_eq!(unknown.code(), Code::Unimplemented);
    let unknown = call("/twn.v1.NoService/Find", framed(b"")).await;
    assert_eq!(unknown.code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_are_answered_as_such_and_free_the_model() {
    let server = server().await;
    let connection = RawConnection::open(server.address()).await;
    let request = pb::SearchRequest {
        reasoning: message::thinking(400),
        ..message::search("docs", "What takes longer than anybody can wait?")
    };
    let body = framed(&request.encode_to_vec());
    let path = "/twn.v1.SearchService/Search";
    let call = async |timeout: &str| {
        let headers = [("grpc-timeout", timeout), ("x-request-id", "late-1")];
        connection.call(path, &headers, body.clone()).await.unwrap()
    };

    for timeout in ["15m", "15000u", "1n", "0S"] {
        let answer = call(timeout).await;
        assert_eq!(answer.status.code(), Code::DeadlineExceeded, "{timeout}: {answer:?}");
        assert!(answer.status.message().starts_with("deadline exceeded while "), "{answer:?}");
        let details = answer.status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "DEADLINE_EXCEEDED");
        assert_eq!(details.request_info().unwrap().request_id, "late-1");
        assert_eq!(answer.headers["x-request-id"], "late-1");
    }
    for malformed in ["15", "m", "15s", "123456789S"] {
        let answer = call(malformed).await;
        assert_eq!(answer.status.code(), Code::InvalidArgument, "{malformed}");
        assert!(answer.status.message().starts_with("grpc-timeout: must be"), "{answer:?}");
    }

    // The server's own longest time holds for callers that name none.
    let server = TestServer::with(|options| options.engine.limits.max_deadline_s = 1).await;
    server.collection("docs").await;
    let patient = pb::ListRequest { collection: "docs".into(), ..Default::default() };
    server.search().list(patient).await.unwrap();
    let info = server.info().get_server_info(pb::GetServerInfoRequest {}).await.unwrap();
    let longest = info.into_inner().limits.unwrap().max_deadline.unwrap();
    assert_eq!(Duration::try_from(longest).unwrap(), Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn overload_is_refused_with_a_time_to_wait() {
    let server = TestServer::with(|options| options.engine.limits.max_queue_items = 1).await;
    server.collection("docs").await;
    let searches = (0..16).map(|_| {
        let mut client = server.search();
        let request = pb::SearchRequest {
            reasoning: message::thinking(400),
            ..message::search("docs", "What takes so long?")
        };
        tokio::spawn(async move { client.search(request).await })
    });
    let searches: Vec<_> = searches.collect();
    let mut refusals = 0;
    for search in searches {
        let Err(status) = search.await.unwrap() else { continue };
        refusals += 1;
        let message = "server is busy, the encoder's queue is full: retry in 500 ms";
        let (code, reason) = (Code::ResourceExhausted, "OVERLOADED");
        let retry = status.get_error_details().retry_info().unwrap().retry_delay;
        assert_eq!(retry, Some(Duration::from_millis(500)));
        Case { name: "overload", status, code, message, field: "", reason }.check();
    }
    assert!((1..16).contains(&refusals), "{refusals} of 16 were refused");
}
