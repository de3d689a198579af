//! Before the model is warm, and how a server introduces itself.

use std::{path::PathBuf, time::Duration};

use tokio_stream::StreamExt;
use tonic::{Code, codec::CompressionEncoding};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};
use tonic_types::StatusExt;
use twn_protos::v1::GetServerInfoRequest;
use twn_server::client::Client;

use crate::support::{
    CONTEXT_TOKENS, DIMENSION, TestServer, connect, message,
    raw::{RawConnection, framed},
};

const SERVICES: [&str; 7] = [
    "",
    "twn.v1.SearchService",
    "twn.v1.IngestService",
    "twn.v1.EmbedService",
    "twn.v1.CollectionService",
    "twn.v1.MaintenanceService",
    "twn.v1.InfoService",
];

async fn health(server: &TestServer, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(server.channel.clone()).check(request).await.unwrap();
    answer.into_inner().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn server_without_its_model_is_unavailable_and_says_why() {
    let nowhere = PathBuf::from("/nonexistent/model");
    let mut server = TestServer::listening(|options| options.encoder.model = nowhere).await;
    for service in SERVICES {
        assert_eq!(health(&server, service).await, ServingStatus::NotServing, "{service}");
    }
    let info = server.info().get_server_info(GetServerInfoRequest {}).await.map(drop);
    let search = server.search().search(message::search("docs", "words")).await.map(drop);
    let upsert = message::upsert("docs", [message::document("a", "b")]);
    let upsert = server.ingest().upsert(upsert).await.map(drop);
    let ingest = crate::support::stream::IngestClient::start(server.ingest(), "docs").await;
    for answer in [info, search, upsert, ingest.map(drop)] {
        let status = answer.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unavailable, "server is loading the model")
        );
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "MODEL_LOADING");
        let delay = details.retry_info().unwrap().retry_delay;
        assert_eq!(delay, Some(Duration::from_secs(1)));
    }

    let error = format!("{:#}", server.running.ready().await.unwrap_err());
    assert!(error.contains("/nonexistent/model"), "{error}");
    server.running.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn warm_server_serves_and_describes_itself() {
    let server = TestServer::start().await;
    for service in SERVICES {
        assert_eq!(health(&server, service).await, ServingStatus::Serving, "{service}");
    }

    let info = server.info().get_server_info(GetServerInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
    assert!(info.uptime.is_some());
    let encoder = info.encoder.unwrap();
    assert_eq!(encoder.dimension as usize, DIMENSION);
    assert_eq!(encoder.context_tokens as usize, CONTEXT_TOKENS);
    assert!(!encoder.trained && !encoder.note.is_empty() && !encoder.fingerprint.is_empty());
    assert_eq!(encoder.supported_parts, ["text"]);
    assert!(encoder.backbone_parameters > encoder.adapter_parameters);
    let limits = info.limits.unwrap();
    assert_eq!((limits.max_message_bytes, limits.max_text_bytes), (32 << 20, 1 << 20));
    assert_eq!((limits.max_filter_depth, limits.max_filter_clauses), (16, 256));
    assert_eq!((limits.ingest_credits, limits.max_search_limit), (64, 1_000));
    assert_eq!(limits.max_deadline.unwrap().seconds, 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_and_describes_the_services() {
    let server = TestServer::start().await;
    let ask = |request: v1::server_reflection_request::MessageRequest| {
        let channel = server.channel.clone();
        async move {
            let request =
                v1::ServerReflectionRequest { host: String::new(), message_request: Some(request) };
            let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel);
            let answers = client.server_reflection_info(tokio_stream::once(request)).await;
            let answer = answers.unwrap().into_inner().next().await.unwrap().unwrap();
            answer.message_response.unwrap()
        }
    };
    use v1::{
        server_reflection_request::MessageRequest as Ask,
        server_reflection_response::MessageResponse as Answer,
    };

    let Answer::ListServicesResponse(list) = ask(Ask::ListServices(String::new())).await else {
        panic!("no list of services");
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for service in SERVICES.into_iter().skip(1).chain(["grpc.health.v1.Health"]) {
        assert!(names.iter().any(|name| name == service), "{service} is not in {names:?}");
    }
    for symbol in ["twn.v1.SearchService", "twn.v1.Usage", "google.protobuf.Struct"] {
        let answer = ask(Ask::FileContainingSymbol(symbol.to_owned())).await;
        assert!(matches!(answer, Answer::FileDescriptorResponse(_)), "{symbol}: {answer:?}");
    }

    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel.clone());
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer = answers.into_inner().next().await.unwrap().unwrap();
    assert!(matches!(
        answer.message_response.unwrap(),
        v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(list)
            if list.service.len() >= 6
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn compression_is_used_in_both_directions_when_asked_for() {
    let server = TestServer::start().await;
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = server.info().send_compressed(encoding).accept_compressed(encoding);
        let answer = client.get_server_info(GetServerInfoRequest {}).await.unwrap();
        let used = answer.metadata().get("grpc-encoding").unwrap().to_str().unwrap();
        assert_eq!(used, encoding.to_string());
    }
    let plain = server.info().get_server_info(GetServerInfoRequest {}).await.unwrap();
    assert!(plain.metadata().get("grpc-encoding").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn request_ids_are_echoed_or_made_up() {
    let server = TestServer::start().await;
    let connection = RawConnection::open(server.address()).await;
    let path = "/twn.v1.InfoService/GetServerInfo";
    let answer = connection.call(path, &[("x-request-id", "mine")], framed(b"")).await.unwrap();
    assert_eq!(
        (answer.status.code(), &answer.headers["x-request-id"]),
        (Code::Ok, &http::HeaderValue::from_static("mine"))
    );
    assert!(answer.body.len() > 5);
    let one = connection.call(path, &[], framed(b"")).await.unwrap();
    let two = connection.call(path, &[], framed(b"")).await.unwrap();
    assert_ne!(one.headers["x-request-id"], two.headers["x-request-id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_outlives_the_server() {
    let data = tempfile::TempDir::new().unwrap();
    let folder = data.path().join("data");
    let first = TestServer::with(|options| options.engine.data.clone_from(&folder)).await;
    first.collection("docs").await;
    let document = message::document("a", "words");
    first.ingest().upsert(message::upsert("docs", [document])).await.unwrap();
    drop(first.channel);
    first.running.shut_down().await.unwrap();

    let second = TestServer::with(|options| options.engine.data.clone_from(&folder)).await;
    let channel = connect(second.address()).await;
    let mut client = twn_protos::v1::search_service_client::SearchServiceClient::new(channel);
    let found = client.search(message::search("docs", "words")).await.unwrap().into_inner();
    assert_eq!(found.hits[0].document.as_ref().unwrap().text, "words");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_the_machine_answers_as_the_port_does_and_goes_with_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("twn.sock");
    let server = TestServer::with(|options| options.socket = Some(path.clone())).await;
    let over_port = server.info().get_server_info(GetServerInfoRequest {}).await.unwrap();
    let client = Client::connect(&format!("unix://{}", path.display())).await.unwrap();
    assert_eq!(client.info().await.unwrap().encoder, over_port.into_inner().encoder);

    // Another server leaves it alone.
    let second = TestServer::refused(|options| options.socket = Some(path.clone())).await;
    assert!(second.contains("a server listens there already"), "{second}");
    assert!(client.info().await.is_ok());

    drop(client);
    server.running.shut_down().await.unwrap();
    let gone = async {
        while path.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("the path is removed");
}
