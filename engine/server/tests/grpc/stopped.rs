//! A server that is told to stop finishes what it has accepted.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt;
use twn_protos::v1::{
    CreateCollectionRequest, GetRequest, IngestStart, collection_service_client,
    ingest_service_client::IngestServiceClient, search_service_client::SearchServiceClient,
};

use crate::support::{TestServer, connect, message, process::Process, stream::IngestClient};

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_during_an_ingest_loses_nothing_acknowledged() {
    let data = TempDir::new().unwrap();
    let process = Process::serve(data.path()).await;
    let channel = connect(process.address).await;

    let mut health = HealthClient::new(channel.clone())
        .watch(HealthCheckRequest { service: "twn.v1.IngestService".into() })
        .await
        .unwrap()
        .into_inner();
    let first = health.next().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);

    let config = Some(message::collection("docs"));
    collection_service_client::CollectionServiceClient::new(channel.clone())
        .create_collection(CreateCollectionRequest { config })
        .await
        .unwrap();
    let mut stream =
        IngestClient::start(IngestServiceClient::new(channel.clone()), "docs").await.unwrap();
    let mut sent = 0_u64;
    let mut is_told = false;
    let ended = loop {
        let document = message::document(&format!("d{sent}"), &format!("document {sent}"));
        if let Err(status) = stream.item(sent, document).await {
            break status;
        }
        sent += 1;
        if stream.acks.len() >= 40 && !is_told {
            process.terminate();
            is_told = true;
        }
    };
    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
    assert_eq!(ended.get_error_details().error_info().unwrap().reason, "SHUTTING_DOWN");
    assert!(stream.acks.len() >= 40);

    let last = health.next().await.unwrap().unwrap();
    assert_eq!(last.status(), ServingStatus::NotServing);
    let closed = health.next().await.unwrap().unwrap_err();
    assert_eq!(closed.code(), Code::Unavailable);
    drop((health, channel));
    assert_eq!(process.exit().await.code(), Some(0));

    let process = Process::serve(data.path()).await;
    let ids: Vec<_> = stream.acks.iter().map(|ack| ack.id.clone()).collect();
    let mut search = SearchServiceClient::new(connect(process.address).await);
    let request = GetRequest { collection: "docs".into(), ids: ids.clone(), mask: None };
    let found = search.get(request).await.unwrap().into_inner();
    assert_eq!(found.missing_ids, Vec::<String>::new());
    for (id, document) in ids.iter().zip(found.documents) {
        assert_eq!(document.text, format!("document {}", &id[1..]));
    }
    process.terminate();
    assert_eq!(process.exit().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_outlast_the_drain_are_closed() {
    let drain = Duration::from_millis(300);
    let server = TestServer::with(|options| options.drain = drain).await;
    server.collection("docs").await;
    // Sixty-four thoughts of documents that the server has accepted take longer.
    let start = IngestStart {
        collection: "docs".into(),
        reasoning: message::thinking(400),
        ..Default::default()
    };
    let mut stream = IngestClient::start_with(server.ingest(), start).await.unwrap();
    for i in 0..64_u64 {
        let words = format!("What is it about number {i} that takes so long?");
        stream.item(i, message::document(&format!("d{i}"), &words)).await.unwrap();
    }
    let TestServer { running, channel, _data } = server;
    let stopping = Instant::now();
    let (stopped, ended) = tokio::join!(running.shut_down(), stream.drain());
    stopped.unwrap();
    assert!(stopping.elapsed() < Duration::from_secs(10), "{:?}", stopping.elapsed());
    let ended = ended.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
    drop(channel);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_connections_do_not_hold_up_the_stop() {
    let server = TestServer::start().await;
    server.collection("docs").await;
    let idle = connect(server.address()).await;
    let stopping = Instant::now();
    server.running.shut_down().await.unwrap();
    assert!(stopping.elapsed() < Duration::from_secs(5), "{:?}", stopping.elapsed());
    drop(idle);
}
