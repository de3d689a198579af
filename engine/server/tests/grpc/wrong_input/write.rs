//! Collections, documents and ids that cannot be.

use prost_types::value::Kind as ValueKind;
use tonic::Code;
use twn_protos::v1 as pb;

use super::{Case, invalid, refused, server};
use crate::support::{CONTEXT_TOKENS, TestServer, message};

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
    let squeezed = pb::CollectionConfig { quantization: 9, ..message::collection("squeezed") };
    invalid(
        create(Some(squeezed)).await,
        "config.quantization: 9 is not a value of this enumeration",
    );
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
    assert!(usage.prompt_tokens as usize <= CONTEXT_TOKENS);
}
