//! How the index is searched, over the wire: copies of one byte, targets, filter plans.

use tonic::Code;
use twn_protos::v1 as pb;

use crate::support::{DIMENSION, TestServer, message};

const ROWS: usize = 4000;

/// Sealed at once, with a graph that a walk is less work on than a scan.
async fn sealed(server: &TestServer, quantization: pb::Quantization) -> pb::Collection {
    let config = pb::CollectionConfig {
        hnsw: Some(pb::HnswConfig { m: 8, ef_construction: 60, ef_search: 24 }),
        quantization: quantization.into(),
        ..message::collection("docs")
    };
    let request = pb::CreateCollectionRequest { config: Some(config) };
    server.collections().create_collection(request).await.unwrap();
    for first in (0..ROWS).step_by(200) {
        let documents = (first..first + 200).map(|row| {
            let ten = pb::DocumentInput {
                payload: message::payload(&[(
                    "ten",
                    prost_types::value::Kind::NumberValue((row % 10) as f64),
                )]),
                ..message::document(&format!("d{row:04}"), "words")
            };
            pb::DocumentInput { vector: scattered(row), ..ten }
        });
        server.ingest().upsert(message::upsert("docs", documents)).await.unwrap();
    }
    let request = pb::SealCollectionRequest { name: "docs".to_owned() };
    let sealed = server.collections().seal_collection(request).await.unwrap();
    sealed.into_inner().collection.unwrap()
}

/// A vector that lies, as embeddings do, in fewer directions than it has values.
fn scattered(row: usize) -> Vec<f32> {
    let drawn = |place: usize| {
        let mixed = ((row * 8 + place) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 29)) >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    };
    let value = |i: usize| (0..6).map(|j| drawn(j) * ((i * (j + 1)) as f32 * 0.37).sin()).sum();
    (0..DIMENSION).map(value).collect()
}

async fn search(
    server: &TestServer,
    change: impl FnOnce(&mut pb::SearchRequest),
) -> pb::SearchResponse {
    let mut request = message::search_vector("docs", scattered(12_345));
    change(&mut request);
    server.search().search(request).await.unwrap().into_inner()
}

fn scores(answer: &pb::SearchResponse) -> Vec<f32> {
    answer.hits.iter().map(|hit| hit.score).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn quantised_collections_say_so_and_answer_with_scores_of_the_vectors() {
    let server = TestServer::start().await;
    let plain = TestServer::start().await;
    let collection = sealed(&server, pb::Quantization::Sq8).await;
    let unquantised = sealed(&plain, pb::Quantization::Unspecified).await;
    assert_eq!(collection.config.unwrap().quantization(), pb::Quantization::Sq8);
    assert_eq!(unquantised.config.unwrap().quantization(), pb::Quantization::None);
    let more_bytes = collection.disk_bytes - unquantised.disk_bytes;
    assert!(more_bytes as usize >= ROWS * DIMENSION / 2, "{more_bytes} more bytes of copies");

    let found = search(&server, |_| {}).await;
    assert_eq!(found.plan.unwrap().strategy(), pb::Strategy::Graph);
    let exact = search(&server, |request| request.exact = true).await;
    for hit in &found.hits {
        let id = |hit: &pb::Hit| hit.document.clone().unwrap().id;
        let same = exact.hits.iter().find(|other| id(other) == id(hit));
        assert!(same.is_none_or(|same| same.score == hit.score), "{hit:?}");
    }
    let right = scores(&found).iter().filter(|score| scores(&exact).contains(score)).count();
    assert!(right >= 8, "{right} of ten");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recall_target_takes_the_place_of_a_width() {
    let server = TestServer::start().await;
    sealed(&server, pb::Quantization::None).await;
    let exact = search(&server, |request| request.exact = true).await;
    let whole = search(&server, |request| request.recall_target = 1.0).await;
    let half = search(&server, |request| request.recall_target = 0.5).await;
    assert_eq!(half.hits.len(), 10);
    let work = |answer: &pb::SearchResponse| answer.plan.unwrap().distance_computations;
    assert!(work(&half) < work(&whole), "{:?} {:?}", half.plan, whole.plan);
    assert!(work(&half) < work(&exact));
    let found = scores(&whole).iter().filter(|score| scores(&exact).contains(score)).count();
    assert!(found >= 9, "{found} of ten");

    let mut both = message::search_vector("docs", scattered(1));
    (both.recall_target, both.ef_search) = (0.9, 30);
    let refused = server.search().search(both).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_says_how_a_filter_was_brought_to_bear() {
    let server = TestServer::start().await;
    sealed(&server, pb::Quantization::None).await;
    let below = |bound: f64| {
        let range = pb::Range { field: "ten".into(), lt: Some(bound), ..Default::default() };
        message::filter(pb::filter::Kind::Range(range))
    };
    for (bound, way) in
        [(9.0, pb::Filtering::Gated), (4.0, pb::Filtering::Probe), (1.0, pb::Filtering::Scan)]
    {
        let found = search(&server, |request| request.filter = below(bound)).await;
        let plan = found.plan.unwrap();
        assert_eq!(plan.filtering(), way, "{plan:?}");
        assert_eq!(plan.filter_matches, Some((ROWS as f64 * bound / 10.0) as u64));
        assert_eq!(found.hits.len(), 10);
    }
    let free = search(&server, |_| {}).await.plan.unwrap();
    assert_eq!(free.filtering(), pb::Filtering::Unspecified);
}
