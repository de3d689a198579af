//! Collections come and go.

use twn_protos::v1::{
    CollectionConfig, CreateCollectionRequest, DeleteCollectionRequest, GetCollectionRequest,
    HnswConfig, ListCollectionsRequest, SealCollectionRequest,
};

use crate::support::{DIMENSION, TestServer, message};

#[tokio::test(flavor = "multi_thread")]
async fn collection_is_created_described_sealed_and_deleted() {
    let server = TestServer::start().await;
    let mut client = server.collections();
    let hnsw = Some(HnswConfig { m: 8, ef_construction: 50, ef_search: 0 });
    let config = CollectionConfig { hnsw, seal_rows: 500, ..message::collection("docs") };
    let created = client.create_collection(CreateCollectionRequest { config: Some(config) });
    let created = created.await.unwrap().into_inner().collection.unwrap();

    let config = created.config.clone().unwrap();
    assert_eq!((config.name.as_str(), config.dimension as usize), ("docs", DIMENSION));
    assert_eq!(config.hnsw, Some(HnswConfig { m: 8, ef_construction: 50, ef_search: 64 }));
    assert_eq!((config.seal_rows, created.documents), (500, 0));
    assert!(!created.encoder_fingerprint.is_empty());
    assert!(created.create_time.unwrap().seconds > 1_600_000_000);

    let documents = (0..40).map(|i| message::with_vector(&format!("d{i}"), "words", i));
    server.ingest().upsert(message::upsert("docs", documents)).await.unwrap();
    let name = || "docs".to_owned();
    let found = client.get_collection(GetCollectionRequest { name: name() }).await.unwrap();
    let found = found.into_inner().collection.unwrap();
    assert_eq!((found.documents, found.tail_documents, found.segments), (40, 40, 0));

    let sealed = client.seal_collection(SealCollectionRequest { name: name() }).await.unwrap();
    let sealed = sealed.into_inner().collection.unwrap();
    assert_eq!((sealed.documents, sealed.tail_documents, sealed.segments), (40, 0, 1));
    assert!(sealed.disk_bytes > 0 && sealed.last_sequence >= 40);

    client.delete_collection(DeleteCollectionRequest { name: name() }).await.unwrap();
    let gone = client.get_collection(GetCollectionRequest { name: name() }).await.unwrap_err();
    assert_eq!(gone.code(), tonic::Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_are_listed_in_pages_by_name() {
    let server = TestServer::start().await;
    let mut client = server.collections();
    for name in ["c", "a", "e", "b", "d"] {
        server.collection(name).await;
    }

    let mut pages: Vec<Vec<String>> = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListCollectionsRequest { page_size: 2, page_token };
        let page = client.list_collections(request).await.unwrap().into_inner();
        pages.push(page.collections.into_iter().map(|c| c.config.unwrap().name).collect());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);
}
