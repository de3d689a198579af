//! A running server: from options to a listening socket, through loading and warm-up
//! to serving, and back down without losing anything acknowledged.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{service::Routes, transport::Server};
use twn_encoder::{Encoder, LoadOptions};
use twn_service::{
    Call, Content, EmbedKind, EmbedRequest, Engine, EngineOptions, PolicyRequest, ReasoningMode,
};

use crate::{
    linger::Linger,
    listen::{Listeners, accept},
    local_socket::LocalSocket,
    rpc::{Access, Host},
    services::{self, Health},
};

/// Default of [`ServeOptions::max_message_bytes`].
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 32 << 20;
/// Default of [`ServeOptions::drain`].
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(20);

/// Open connections; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 1_024;
/// Calls that run at once over all connections; more are refused.
const MAX_CALLS: usize = 1_024;
/// Calls that one connection may have open at once; its client queues the others.
const MAX_CONNECTION_CALLS: u32 = 256;
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long calls get to see that the server closes, after draining took too long.
const CLOSING: Duration = Duration::from_secs(2);
const WARM_UP_TIMEOUT: Duration = Duration::from_secs(600);

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Path of a Unix socket to listen on as well.
    pub socket: Option<PathBuf>,
    /// The model and how it runs.
    pub encoder: LoadOptions,
    /// Data folder, threads, policy and limits.
    pub engine: EngineOptions,
    /// Bytes of the largest message in either direction.
    pub max_message_bytes: usize,
    /// How long calls may take to finish once the server is told to stop.
    pub drain: Duration,
    /// What the threads of the runtime do before they go to sleep, if anything.
    pub linger: Option<Arc<Linger>>,
}

/// A server that listens. Dropping it without [`RunningServer::shut_down`] leaves its
/// tasks to the runtime.
pub struct RunningServer {
    address: SocketAddr,
    host: Arc<Host>,
    health: Health,
    drain: Duration,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
    /// `None` once its outcome has been taken.
    loading: Option<JoinHandle<anyhow::Result<()>>>,
}

/// Binds the port and starts to load the model in the background. Until it is up,
/// calls are answered with UNAVAILABLE and health with NOT_SERVING.
///
/// # Errors
/// Fails when a limit is zero or the address or the socket cannot be listened on.
pub async fn start(options: ServeOptions) -> anyhow::Result<RunningServer> {
    let limits = options.engine.limits.clone();
    limits.validate().map_err(|problem| anyhow!(problem))?;
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    let address = listener.local_addr().context("cannot tell the listening address")?;
    let socket = match &options.socket {
        Some(path) => Some(
            LocalSocket::bind(path)
                .await
                .with_context(|| format!("cannot listen on {}", path.display()))?,
        ),
        None => None,
    };
    let listeners = Listeners { port: listener, socket };

    let host = Arc::new(Host::new(limits, options.max_message_bytes));
    let health = Health::not_serving().await;
    let routes = services::routes(&host, &health)?;
    let serving = tokio::spawn(serve(listeners, routes, Arc::clone(&host), options.linger.clone()));
    let drain = options.drain;
    let loading = tokio::spawn(load(options, Arc::clone(&host), health.clone()));
    Ok(RunningServer { address, host, health, drain, serving, loading: Some(loading) })
}

impl RunningServer {
    /// Returns the address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the model is warm and health says SERVING.
    ///
    /// # Errors
    /// Fails with what kept the model or the data folder from being opened; the server
    /// has then stopped listening.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let Some(loading) = &mut self.loading else { return Ok(()) };
        let loaded = loading.await;
        self.loading = None;
        let loaded = loaded.map_err(|error| anyhow!("loading failed: {error}")).flatten();
        if loaded.is_err() {
            self.host.draining.cancel();
        }
        loaded
    }

    /// Stops the server: health says NOT_SERVING, no connection is accepted, accepted
    /// work is finished within the drain time, the collections are closed.
    ///
    /// # Errors
    /// Fails when the listening task had failed. Nothing acknowledged is lost even then.
    pub async fn shut_down(mut self) -> anyhow::Result<()> {
        self.health.stop().await;
        self.host.draining.cancel();
        let served = match tokio::time::timeout(self.drain, &mut self.serving).await {
            Ok(served) => served,
            Err(_) => {
                tracing::warn!(drain = ?self.drain, "calls did not finish in time, closing them");
                self.host.closing.cancel();
                match tokio::time::timeout(CLOSING, &mut self.serving).await {
                    Ok(served) => served,
                    Err(_) => {
                        self.serving.abort();
                        Ok(Ok(()))
                    }
                }
            }
        };
        // Loading cannot be interrupted, and it may have opened the collections.
        if let Some(loading) = self.loading.take()
            && let Ok(Err(error)) = loading.await
        {
            tracing::warn!(%error, "loading while shutting down");
        }
        if let Some(engine) = self.host.opened() {
            engine.shut_down().await;
        }
        served.context("the listening task panicked")?.context("listening failed")
    }
}

/// Serves until draining begins, then waits for open connections.
async fn serve(
    listeners: Listeners,
    routes: Routes,
    host: Arc<Host>,
    linger: Option<Arc<Linger>>,
) -> Result<(), tonic::transport::Error> {
    let draining = host.draining.clone();
    let services = Access::new(
        routes.prepare(),
        MAX_CALLS,
        host.max_deadline(),
        draining.clone(),
        linger.clone(),
    );
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .max_concurrent_streams(MAX_CONNECTION_CALLS)
        .concurrency_limit_per_connection(MAX_CONNECTION_CALLS as usize)
        .serve_with_incoming_shutdown(
            services,
            accept(listeners, MAX_CONNECTIONS, linger),
            draining.cancelled_owned(),
        )
        .await
}

/// Loads the encoder, opens the collections, warms up, and opens the doors.
async fn load(options: ServeOptions, host: Arc<Host>, health: Health) -> anyhow::Result<()> {
    let ServeOptions { encoder: load, engine, .. } = options;
    let engine = tokio::task::spawn_blocking(move || -> anyhow::Result<Arc<Engine>> {
        let encoder = Encoder::load(&load).context("cannot load the encoder")?;
        Engine::start(encoder, engine).context("cannot open the data folder")
    })
    .await
    .context("loading panicked")??;

    if let Err(error) = warm_up(&engine).await {
        engine.shut_down().await;
        return Err(error).context("the encoder failed its first input");
    }
    // Open before asking: a shutdown that begins now finds the engine and closes it.
    host.open(Arc::clone(&engine));
    health.serve(&host.draining).await;
    Ok(())
}

/// Runs one short input through every stage: direct embedding, thought, embedding again.
async fn warm_up(engine: &Engine) -> anyhow::Result<()> {
    let (call, _guard) = Call::within(WARM_UP_TIMEOUT);
    let request = EmbedRequest {
        content: Content::text("warm-up"),
        instruction: None,
        kind: EmbedKind::Query,
        policy: PolicyRequest {
            mode: Some(ReasoningMode::Always),
            token_budget: Some(1),
            ..PolicyRequest::default()
        },
        explain: false,
        field: "warm-up".to_owned(),
    };
    let (encoded, timings) = engine.embed(request, &call).await?;
    let encoder = engine.encoder();
    tracing::info!(
        model = encoder.model,
        fingerprint = encoder.fingerprint,
        note = encoder.note,
        dimension = encoded.embedding.len(),
        ms = timings.total.as_secs_f64() * 1_000.0,
        "encoder is warm"
    );
    Ok(())
}
