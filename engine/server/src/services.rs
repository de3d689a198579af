//! The services of one server: ours, health and reflection.

use std::sync::Arc;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tonic::{codec::CompressionEncoding, server::NamedService, service::Routes};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use twn_protos::{
    DESCRIPTOR_SET,
    v1::{
        collection_service_server::CollectionServiceServer as CollectionServer,
        embed_service_server::EmbedServiceServer as EmbedServer,
        info_service_server::InfoServiceServer as InfoServer,
        ingest_service_server::IngestServiceServer as IngestServer,
        maintenance_service_server::MaintenanceServiceServer as MaintenanceServer,
        search_service_server::SearchServiceServer as SearchServer,
    },
};

use crate::rpc::{CollectionRpc, EmbedRpc, Host, InfoRpc, IngestRpc, MaintenanceRpc, SearchRpc};

/// The services whose health is reported; the empty name is the whole server.
const NAMES: [&str; 7] = [
    "",
    <SearchServer<SearchRpc> as NamedService>::NAME,
    <IngestServer<IngestRpc> as NamedService>::NAME,
    <EmbedServer<EmbedRpc> as NamedService>::NAME,
    <CollectionServer<CollectionRpc> as NamedService>::NAME,
    <MaintenanceServer<MaintenanceRpc> as NamedService>::NAME,
    <InfoServer<InfoRpc> as NamedService>::NAME,
];

/// What health checks are told.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    reporter: HealthReporter,
}

impl Health {
    /// Starts with every service NOT_SERVING, unlike the reporter's own default.
    pub(crate) async fn not_serving() -> Self {
        let health = Self { reporter: HealthReporter::new() };
        health.report(ServingStatus::NotServing).await;
        health
    }

    /// Reports SERVING, unless the server is already told to stop.
    pub(crate) async fn serve(&self, draining: &CancellationToken) {
        self.report(ServingStatus::Serving).await;
        // A stop that came in between must have the last word.
        if draining.is_cancelled() {
            self.stop().await;
        }
    }

    /// Reports NOT_SERVING.
    pub(crate) async fn stop(&self) {
        self.report(ServingStatus::NotServing).await;
    }

    async fn report(&self, status: ServingStatus) {
        for name in NAMES {
            self.reporter.set_service_status(name, status).await;
        }
    }
}

/// Routes calls to the services.
pub(crate) fn routes(host: &Arc<Host>, health: &Health) -> anyhow::Result<Routes> {
    // The macro stands for a trait that tonic's generated servers do not share.
    macro_rules! limited {
        ($server:ident, $rpc:ident) => {
            $server::new($rpc(Arc::clone(host)))
                .max_decoding_message_size(host.max_message_bytes())
                .max_encoding_message_size(host.max_message_bytes())
                .accept_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Zstd)
                .send_compressed(CompressionEncoding::Gzip)
                .send_compressed(CompressionEncoding::Zstd)
        };
    }
    let descriptors = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let reflection = descriptors().build_v1().context("descriptors for reflection")?;
    let reflection_alpha = descriptors().build_v1alpha().context("descriptors for reflection")?;
    let health = HealthService::from_health_reporter(health.reporter.clone());

    Ok(Routes::new(limited!(SearchServer, SearchRpc))
        .add_service(limited!(IngestServer, IngestRpc))
        .add_service(limited!(EmbedServer, EmbedRpc))
        .add_service(limited!(CollectionServer, CollectionRpc))
        .add_service(limited!(MaintenanceServer, MaintenanceRpc))
        .add_service(limited!(InfoServer, InfoRpc))
        .add_service(HealthServer::new(health))
        .add_service(reflection)
        .add_service(reflection_alpha))
}
