//! Documents are written, read, filtered, listed, counted and deleted.

use prost_types::FieldMask;
use twn_protos::v1::{
    self as pb, CountRequest, DeleteRequest, Document, DocumentMask, GetRequest, ListRequest,
    Route, RouteReason, WriteStatus, filter::Kind,
};

use crate::support::{
    TestServer,
    message::{self, equals, filter, string},
};

/// Six documents with payloads, half of them sealed, half in the tail.
async fn library() -> TestServer {
    let server = TestServer::start().await;
    server.collection("docs").await;
    for (half, ids) in [["a", "b", "c"], ["d", "e", "f"]].into_iter().enumerate() {
        let documents = ids.into_iter().enumerate().map(|(i, id)| {
            let year = f64::from(u32::try_from(2000 + 10 * half + i).unwrap());
            let payload = message::payload(&[
                ("lang", string(if i == 0 { "en" } else { "de" })),
                ("year", prost_types::value::Kind::NumberValue(year)),
            ]);
            pb::DocumentInput { payload, ..message::with_vector(id, "some words", half * 3 + i) }
        });
        server.ingest().upsert(message::upsert("docs", documents)).await.unwrap();
        if half == 0 {
            let request = pb::SealCollectionRequest { name: "docs".into() };
            server.collections().seal_collection(request).await.unwrap();
        }
    }
    server
}

fn ids(documents: &[Document]) -> Vec<&str> {
    documents.iter().map(|document| document.id.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_read_back_as_the_mask_asks() {
    let server = library().await;
    let request = |mask| GetRequest {
        collection: "docs".into(),
        ids: ["f", "nowhere", "a"].map(str::to_owned).into(),
        mask,
    };
    let plain = server.search().get(request(None)).await.unwrap().into_inner();
    assert_eq!(ids(&plain.documents), ["f", "a"]);
    assert_eq!(plain.missing_ids, ["nowhere"]);
    assert_eq!(plain.documents[0].text, "some words");
    assert_eq!(plain.documents[0].payload.as_ref().unwrap().fields.len(), 2);
    assert!(plain.documents[0].vector.is_empty() && plain.documents[0].usage.is_none());
    assert!(plain.documents[0].sequence > plain.documents[1].sequence);

    let mask = DocumentMask {
        payload: Some(FieldMask { paths: vec!["lang".into()] }),
        omit_text: true,
        include_vector: true,
        include_usage: true,
    };
    let full = server.search().get(request(Some(mask))).await.unwrap().into_inner();
    let document = &full.documents[1];
    assert!(document.text.is_empty());
    let fields = &document.payload.as_ref().unwrap().fields;
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["lang"]);
    let norm: f32 = document.vector.iter().map(|value| value * value).sum();
    assert!((norm - 1.0).abs() < 1e-4, "stored vectors have unit length, not {norm}");
    let usage = document.usage.as_ref().unwrap();
    assert_eq!(usage.route(), Route::None);
    assert_eq!(usage.route_reason(), RouteReason::VectorSupplied);

    let none = DocumentMask { payload: Some(FieldMask::default()), ..Default::default() };
    let bare = server.search().get(request(Some(none))).await.unwrap().into_inner();
    assert!(bare.documents[0].payload.as_ref().unwrap().fields.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_cover_every_document_once_in_order_of_ids() {
    let server = library().await;
    for (filter, want) in [
        (None, vec!["a", "b", "c", "d", "e", "f"]),
        (equals("lang", string("de")), vec!["b", "c", "e", "f"]),
    ] {
        for page_size in [1, 2, 3, 6, 7] {
            let mut listed = Vec::new();
            let mut page_token = String::new();
            loop {
                let request = ListRequest {
                    collection: "docs".into(),
                    page_size,
                    page_token,
                    filter: filter.clone(),
                    mask: None,
                };
                let page = server.search().list(request).await.unwrap().into_inner();
                assert!(page.documents.len() <= page_size as usize);
                assert!(!page.documents.is_empty(), "a token leads to documents");
                listed.extend(page.documents.into_iter().map(|document| document.id));
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            assert_eq!(listed, want, "pages of {page_size}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_documents_end_a_page_early() {
    let server = TestServer::with(|options| options.max_message_bytes = 1 << 20).await;
    server.collection("docs").await;
    let words = "word ".repeat(60_000);
    for i in 0..6 {
        let document = message::with_vector(&format!("d{i}"), &words, i);
        server.ingest().upsert(message::upsert("docs", [document])).await.unwrap();
    }

    let request =
        |page_token| ListRequest { collection: "docs".into(), page_token, ..Default::default() };
    let first = server.search().list(request(String::new())).await.unwrap().into_inner();
    assert_eq!(ids(&first.documents), ["d0", "d1", "d2"]);
    let second = server.search().list(request(first.next_page_token)).await.unwrap().into_inner();
    assert_eq!(ids(&second.documents), ["d3", "d4", "d5"]);
    assert!(second.next_page_token.is_empty());

    // What cannot be cut into pages is refused, with the way out.
    let ids = (0..6).map(|i| format!("d{i}")).collect();
    let request = GetRequest { collection: "docs".into(), ids, mask: None };
    let refused = server.search().get(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(refused.message().starts_with("mask: the answer has"), "{}", refused.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_admit_the_same_documents_everywhere() {
    let server = library().await;
    let range = |gte: Option<f64>, lt: Option<f64>| {
        filter(Kind::Range(pb::Range { field: "year".into(), gte, lt, ..Default::default() }))
    };
    let not = |inner: Option<pb::Filter>| filter(Kind::Not(Box::new(inner.unwrap())));
    let and = |filters: [Option<pb::Filter>; 2]| {
        filter(Kind::And(pb::And { filters: filters.into_iter().flatten().collect() }))
    };
    let or = |filters: [Option<pb::Filter>; 2]| {
        filter(Kind::Or(pb::Or { filters: filters.into_iter().flatten().collect() }))
    };
    let any = |years: &[f64]| {
        let values = years.iter().map(|&y| prost_types::value::Kind::NumberValue(y));
        let values = values.map(message::value).collect();
        filter(Kind::In(pb::In { field: "year".into(), values }))
    };
    let exists = |field: &str| filter(Kind::Exists(pb::Exists { field: field.into() }));
    let english = || equals("lang", string("en"));

    for (filter, want) in [
        (None, "abcdef"),
        (english(), "ad"),
        (not(english()), "bcef"),
        (range(Some(2001.0), Some(2011.0)), "bcd"),
        (any(&[2000.0, 2012.0, 1.0]), "af"),
        (and([english(), range(Some(2005.0), None)]), "d"),
        (or([english(), range(Some(2012.0), None)]), "adf"),
        (exists("year"), "abcdef"),
        (exists("absent"), ""),
    ] {
        let request = CountRequest { collection: "docs".into(), filter: filter.clone() };
        let count = server.search().count(request).await.unwrap().into_inner().count;
        assert_eq!(count as usize, want.len(), "{filter:?}");

        for exact in [false, true] {
            let request = pb::SearchRequest {
                filter: filter.clone(),
                exact,
                ..message::search_vector("docs", message::vector(1))
            };
            let found = server.search().search(request).await.unwrap().into_inner();
            let mut hits: Vec<_> = found.hits.iter().flat_map(|hit| &hit.document).collect();
            hits.sort_by(|a, b| a.id.cmp(&b.id));
            let hits: String = hits.iter().map(|document| document.id.as_str()).collect();
            assert_eq!(hits, want, "{filter:?}");
            let matches = found.plan.unwrap().filter_matches;
            assert_eq!(matches, filter.is_some().then_some(want.len() as u64), "{filter:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nearest_vector_is_the_first_hit() {
    let server = library().await;
    let request =
        pb::SearchRequest { limit: 2, ..message::search_vector("docs", message::vector(4)) };
    let found = server.search().search(request).await.unwrap().into_inner();
    assert_eq!(found.hits.len(), 2);
    assert_eq!(found.hits[0].document.as_ref().unwrap().id, "e");
    assert!((found.hits[0].score - 1.0).abs() < 1e-4);
    assert!(found.hits[0].score >= found.hits[1].score);
    assert_eq!(found.usage.unwrap().route_reason(), RouteReason::VectorSupplied);
    let plan = found.plan.unwrap();
    assert_eq!(plan.segments, 1);
    assert!(plan.distance_computations >= 2);
    assert!(found.timings.unwrap().total.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_documents_are_gone() {
    let server = library().await;
    let ids = ["a", "e", "nowhere"].map(str::to_owned).into();
    let request = DeleteRequest { collection: "docs".into(), ids };
    let deleted = server.ingest().delete(request).await.unwrap().into_inner();
    assert_eq!(deleted.deleted, 2);
    assert!(deleted.timings.unwrap().write.is_some());
    let request = CountRequest { collection: "docs".into(), filter: None };
    assert_eq!(server.search().count(request).await.unwrap().into_inner().count, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn upsert_tells_inserted_updated_and_unchanged() {
    let server = TestServer::start().await;
    server.collection("docs").await;
    let write = async |words: [&str; 2]| {
        let documents = [message::document("x", words[0]), message::document("y", words[1])];
        let answer = server.ingest().upsert(message::upsert("docs", documents)).await.unwrap();
        answer.into_inner().results
    };
    let first = write(["one", "two"]).await;
    assert_eq!([first[0].status(), first[1].status()], [WriteStatus::Inserted; 2]);
    assert!(first[0].usage.as_ref().unwrap().prompt_tokens > 0);

    let second = write(["one", "three"]).await;
    assert_eq!(second[0].status(), WriteStatus::Unchanged);
    assert_eq!(second[0].usage.as_ref().unwrap().route_reason(), RouteReason::Unchanged);
    assert_eq!(second[1].status(), WriteStatus::Updated);
}

#[tokio::test(flavor = "multi_thread")]
async fn upsert_writes_all_or_nothing() {
    let server = TestServer::start().await;
    server.collection("docs").await;
    let documents = [message::document("good", "words"), message::document("", "words")];
    let refused = server.ingest().upsert(message::upsert("docs", documents)).await.unwrap_err();
    assert_eq!(refused.message(), "documents[1].id: is empty");
    let request = CountRequest { collection: "docs".into(), filter: None };
    assert_eq!(server.search().count(request).await.unwrap().into_inner().count, 0);
}
