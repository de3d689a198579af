//! Ten thousand requests of noise: bytes on a socket, frames on a connection, messages
//! on every method. Afterwards the server works as before.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use prost_types::FileDescriptorSet;
use rand::{Rng, RngCore, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use twn_protos::DESCRIPTOR_SET;

use crate::support::{
    TestServer, connect, message,
    raw::{RawConnection, framed},
};

const NOISY_SOCKETS: usize = 2_000;
const NOISY_CONNECTIONS: usize = 2_000;
const NOISY_CALLS: usize = 6_000;
const WORKERS: usize = 16;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SEED: u64 = 2;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_random_requests_change_nothing() {
    let server = TestServer::start().await;
    server.collection("kept").await;
    let document = message::document("a", "words that are found again");
    server.ingest().upsert(message::upsert("kept", [document])).await.unwrap();

    let address = server.address();
    let noise = async {
        shared(NOISY_SOCKETS, move |rng| async move {
            let mut rng = rng;
            send(address, &random_bytes(&mut rng, 300)).await;
        })
        .await;
        shared(NOISY_CONNECTIONS, move |rng| async move {
            let mut rng = rng;
            let mut bytes = PREFACE.to_vec();
            for _ in 0..rng.random_range(1..8) {
                bytes.extend(random_frame(&mut rng));
            }
            send(address, &bytes).await;
        })
        .await;
        call_every_method(address).await;
    };
    tokio::time::timeout(PATIENCE, noise).await.expect("noise is dealt with in time");

    let channel = connect(address).await;
    let request = HealthCheckRequest { service: String::new() };
    let health = HealthClient::new(channel).check(request).await.unwrap().into_inner();
    assert_eq!(health.status(), ServingStatus::Serving);
    let found = server.search().search(message::search("kept", "words")).await.unwrap();
    assert_eq!(found.into_inner().hits[0].document.as_ref().unwrap().id, "a");
}

/// Runs `work` many times over a few tasks, each time with a generator of its own.
async fn shared<W, F>(times: usize, work: W)
where
    W: Fn(ChaCha8Rng) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let work = Arc::new(work);
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let work = Arc::clone(&work);
        workers.spawn(async move {
            for turn in (worker..times).step_by(WORKERS) {
                work(ChaCha8Rng::seed_from_u64(SEED + turn as u64)).await;
            }
        });
    }
    workers.join_all().await;
}

/// Writes bytes to a new connection and hangs up; the server may do so first.
async fn send(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.expect("server accepts connections");
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
}

async fn call_every_method(address: SocketAddr) {
    let methods = Arc::new(methods());
    assert!(methods.len() >= 15, "{methods:?}");
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let methods = Arc::clone(&methods);
        workers.spawn(async move {
            let mut connection = RawConnection::open(address).await;
            for turn in (worker..NOISY_CALLS).step_by(WORKERS) {
                let mut rng = ChaCha8Rng::seed_from_u64(SEED + turn as u64);
                let method = &methods[turn % methods.len()];
                let body = random_body(&mut rng);
                match connection.call(method, &[], body).await {
                    Ok(answer) => check(method, &answer.status),
                    Err(_) => connection = RawConnection::open(address).await,
                }
            }
        });
    }
    workers.join_all().await;
}

/// Noise is the caller's fault: nothing may come of it that would be ours.
fn check(method: &str, status: &tonic::Status) {
    let is_ours = matches!(status.code(), Code::Unknown | Code::DataLoss | Code::Internal);
    assert!(!is_ours, "{method}: {status:?}");
}

fn methods() -> Vec<String> {
    let descriptors = FileDescriptorSet::decode(DESCRIPTOR_SET).unwrap();
    let mut methods = Vec::new();
    for file in descriptors.file {
        for service in &file.service {
            for method in &service.method {
                methods.push(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    methods
}

fn random_bytes(rng: &mut impl RngCore, max: usize) -> Vec<u8> {
    let mut bytes = vec![0; rng.random_range(0..max)];
    rng.fill_bytes(&mut bytes);
    bytes
}

fn random_frame(rng: &mut impl RngCore) -> Vec<u8> {
    let payload = random_bytes(rng, 64);
    let length = u32::try_from(payload.len()).unwrap();
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.push(rng.random_range(0..12));
    frame.push(rng.random());
    frame.extend(rng.random_range(0_u32..6).to_be_bytes());
    frame.extend(payload);
    frame
}

/// One to three messages in gRPC's frames; now and then the framing is noise as well.
fn random_body(rng: &mut impl RngCore) -> Bytes {
    if rng.random_ratio(1, 10) {
        return random_bytes(rng, 200).into();
    }
    let mut body = Vec::new();
    for _ in 0..rng.random_range(1..4) {
        let mut message =
            if rng.random_ratio(1, 5) { random_bytes(rng, 200) } else { random_message(rng, 4) };
        if rng.random_ratio(1, 10) {
            message.truncate(message.len() / 2);
        }
        body.extend(framed(&message));
    }
    body.into()
}

/// Fields that parse, with values that mean nothing.
fn random_message(rng: &mut impl RngCore, depth_left: usize) -> Vec<u8> {
    let mut message = Vec::new();
    for _ in 0..rng.random_range(0..5) {
        let number: u64 = rng.random_range(1..12);
        let wire_type = [0_u64, 1, 2, 2, 2, 5].choose(rng).copied().unwrap();
        prost::encoding::encode_varint(number << 3 | wire_type, &mut message);
        match wire_type {
            0 => {
                let value = if rng.random() { rng.random_range(0..9) } else { rng.random() };
                prost::encoding::encode_varint(value, &mut message);
            }
            1 => message.extend(rng.random::<u64>().to_le_bytes()),
            5 => message.extend(rng.random::<u32>().to_le_bytes()),
            _ => {
                let value = match rng.random_range(0..4) {
                    0 => b"noise".to_vec(),
                    1 => random_bytes(rng, 40),
                    _ if depth_left > 0 => random_message(rng, depth_left - 1),
                    _ => Vec::new(),
                };
                prost::encoding::encode_varint(value.len() as u64, &mut message);
                message.extend(value);
            }
        }
    }
    message
}
