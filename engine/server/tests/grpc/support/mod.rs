//! Servers to test against, and short ways to say what the tests send.

pub(crate) mod message;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod stream;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use twn_encoder::LoadOptions;
use twn_protos::v1::{
    CreateCollectionRequest, collection_service_client::CollectionServiceClient,
    embed_service_client::EmbedServiceClient, info_service_client::InfoServiceClient,
    ingest_service_client::IngestServiceClient, search_service_client::SearchServiceClient,
};
use twn_server::serve::{
    DEFAULT_DRAIN, DEFAULT_MAX_MESSAGE_BYTES, RunningServer, ServeOptions, start,
};
use twn_service::{
    BatchOptions, CacheOptions, EngineOptions, Limits, PolicyDefaults, PressureOptions,
};

/// Dimension of the tiny model's embeddings.
pub(crate) const DIMENSION: usize = 64;
/// Context of the tiny model.
pub(crate) const CONTEXT_TOKENS: usize = 512;

/// Returns the folder of a random Llama of 0.1 M parameters.
pub(crate) fn tiny_model() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../encoder/tests/fixtures/tiny-llama")
}

/// A server in this process.
pub(crate) struct TestServer {
    pub(crate) running: RunningServer,
    pub(crate) channel: Channel,
    /// Removed with the server.
    pub(crate) _data: TempDir,
}

impl TestServer {
    /// Starts a server and waits until it serves.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// Starts a server with changed options and waits until it serves.
    pub(crate) async fn with(change: impl FnOnce(&mut ServeOptions)) -> Self {
        let mut server = Self::listening(change).await;
        server.running.ready().await.expect("server becomes ready");
        server
    }

    /// Starts a server without waiting for its model.
    pub(crate) async fn listening(change: impl FnOnce(&mut ServeOptions)) -> Self {
        let data = TempDir::new().unwrap();
        let mut options = options(data.path().join("data"));
        change(&mut options);
        let running = start(options).await.expect("server listens");
        let channel = connect(running.address()).await;
        Self { running, channel, _data: data }
    }

    /// Tells why a server with changed options does not start.
    pub(crate) async fn refused(change: impl FnOnce(&mut ServeOptions)) -> String {
        let data = TempDir::new().unwrap();
        let mut options = options(data.path().join("data"));
        change(&mut options);
        format!("{:#}", start(options).await.err().expect("server is refused"))
    }

    /// Creates a collection of the encoder's vectors.
    pub(crate) async fn collection(&self, name: &str) {
        let config = Some(message::collection(name));
        let request = CreateCollectionRequest { config };
        self.collections().create_collection(request).await.expect("collection is created");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address()
    }

    pub(crate) fn search(&self) -> SearchServiceClient<Channel> {
        SearchServiceClient::new(self.channel.clone())
    }

    pub(crate) fn ingest(&self) -> IngestServiceClient<Channel> {
        IngestServiceClient::new(self.channel.clone())
    }

    pub(crate) fn embed(&self) -> EmbedServiceClient<Channel> {
        EmbedServiceClient::new(self.channel.clone())
    }

    pub(crate) fn collections(&self) -> CollectionServiceClient<Channel> {
        CollectionServiceClient::new(self.channel.clone())
    }

    pub(crate) fn info(&self) -> InfoServiceClient<Channel> {
        InfoServiceClient::new(self.channel.clone())
    }
}

/// Connects to a server on loopback.
pub(crate) async fn connect(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let endpoint = endpoint.connect_timeout(Duration::from_secs(10));
    endpoint.connect().await.expect("server accepts connections")
}

fn options(data: PathBuf) -> ServeOptions {
    ServeOptions {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        socket: None,
        encoder: LoadOptions { context_tokens: CONTEXT_TOKENS, ..LoadOptions::new(tiny_model()) },
        engine: EngineOptions {
            data,
            search_threads: 2,
            policy: PolicyDefaults::default(),
            batch: BatchOptions::default(),
            pressure: PressureOptions::default(),
            // What is recalled is not made: only tests about that switch it on.
            cache: CacheOptions { bytes: 0 },
            limits: Limits::default(),
        },
        max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
        drain: DEFAULT_DRAIN,
        linger: None,
    }
}
