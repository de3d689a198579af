//! The gRPC client that the commands share.
//!
//! Owns the connection, patience with a server that is starting or busy, and plain words
//! for what a server refuses. Knows nothing of tables or files.

mod patience;
mod refusal;

use std::time::Duration;

use anyhow::{Context, bail};
use tonic::{
    codec::CompressionEncoding,
    transport::{Channel, Endpoint},
};
use twn_protos::v1::{
    self as pb, collection_service_client::CollectionServiceClient,
    embed_service_client::EmbedServiceClient, info_service_client::InfoServiceClient,
    ingest_service_client::IngestServiceClient,
    maintenance_service_client::MaintenanceServiceClient,
    search_service_client::SearchServiceClient,
};

pub use patience::patiently;
pub use refusal::{Refusal, code_name};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Servers publish their own limit; a client only needs one that is not below it.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// A connection to a server.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
    server: String,
}

impl Client {
    /// Connects to `server`, for example `http://127.0.0.1:50871`, or `unix:///run/twn.sock` for
    /// a socket of this machine. The connection comes back by itself when the server restarts.
    ///
    /// # Errors
    /// Fails with what to do when nothing listens there.
    pub async fn connect(server: &str) -> anyhow::Result<Self> {
        let has_scheme = server.contains("://") || server.starts_with("unix:");
        let server = if has_scheme { server.into() } else { format!("http://{server}") };
        if server.starts_with("https:") {
            bail!(
                "`{server}` asks for TLS, which this version does not speak; use http:// through a tunnel or proxy"
            );
        }
        let endpoint = Endpoint::from_shared(server.clone())
            .with_context(|| format!("`{server}` is no address of a server"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE)
            .tcp_nodelay(true);
        let channel = endpoint.connect().await.with_context(|| {
            format!(
                "no server answers at {server}: start one with `twn serve`, or name another \
                 with `--server`"
            )
        })?;
        Ok(Self { channel, server })
    }

    /// The server's address.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Finds and reads documents.
    pub fn search(&self) -> SearchServiceClient<Channel> {
        SearchServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .accept_compressed(CompressionEncoding::Zstd)
    }

    /// Writes documents.
    pub fn ingest(&self) -> IngestServiceClient<Channel> {
        IngestServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Embeds without storing.
    pub fn embed(&self) -> EmbedServiceClient<Channel> {
        EmbedServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Manages collections.
    pub fn collections(&self) -> CollectionServiceClient<Channel> {
        CollectionServiceClient::new(self.channel.clone())
    }

    /// Looks after collections.
    pub fn maintenance(&self) -> MaintenanceServiceClient<Channel> {
        MaintenanceServiceClient::new(self.channel.clone())
    }

    /// Describes the server; waits, within bounds, until it has loaded its model.
    ///
    /// # Errors
    /// Fails with the server's refusal.
    pub async fn info(&self) -> Result<pb::GetServerInfoResponse, Refusal> {
        let client = InfoServiceClient::new(self.channel.clone());
        patiently(async || client.clone().get_server_info(pb::GetServerInfoRequest {}).await).await
    }
}

/// Content of one text part.
pub fn text(text: impl Into<String>) -> pb::Content {
    let kind = Some(pb::part::Kind::Text(text.into()));
    pb::Content { parts: vec![pb::Part { kind }] }
}
