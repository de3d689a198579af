//! `twn serve`

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc, thread, time::Duration};

use anyhow::Context;
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{ModelArgs, Outcome, Session, model};
use crate::{
    client::Client,
    config::{Config, Flag},
    linger::Linger,
    output,
    serve::{self, RunningServer, ServeOptions},
};

/// Exit code of a process that a second signal ended.
pub(crate) const SIGNALLED: i32 = 130;

/// How to run a server.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:50871]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Path of a Unix socket to listen on as well, for clients of this machine
    /// (`--server unix:///PATH`)
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The model and where data is kept.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Pull the model first if it is not there
    #[arg(long)]
    pub pull: bool,
}

/// The model and where data is kept.
#[derive(Debug, Clone, Default, Args)]
pub struct EngineArgs {
    /// Folder that holds the collections
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Which model runs, and how.
    #[command(flatten)]
    pub model: ModelArgs,
}

impl EngineArgs {
    /// The settings that the flags change.
    pub fn flags(&self) -> Vec<Flag> {
        let data = self
            .data
            .as_ref()
            .map(|path| Flag::new("data.path", "--data", path.to_string_lossy().into_owned()));
        data.into_iter().chain(self.model.flags()).collect()
    }
}

impl ServeArgs {
    /// The settings that the flags change.
    pub fn flags(&self) -> Vec<Flag> {
        let listen = self.listen.map(|at| Flag::new("server.listen", "--listen", at.to_string()));
        let socket = self.socket.as_ref().map(|path| {
            Flag::new("server.socket", "--socket", path.to_string_lossy().into_owned())
        });
        self.engine.flags().into_iter().chain(listen).chain(socket).collect()
    }
}

/// Has threads stay awake for the next request, where that is wanted and there is a core
/// left for others.
pub fn linger(config: &Config) -> Option<Arc<Linger>> {
    let window = Duration::from_micros(config.server.linger_us);
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    if window.is_zero() || cores == 1 {
        return None;
    }
    // Without it requests take a little longer.
    Linger::new(window).ok().map(Arc::new)
}

/// Runs a server until a signal stops it. `linger` is what the threads of the runtime do
/// before they go to sleep.
///
/// # Errors
/// Fails when the model is not there or can't be loaded, and when the address or the data
/// folder can't be used.
pub async fn run(
    args: ServeArgs,
    session: &Session,
    linger: Option<Arc<Linger>>,
) -> anyhow::Result<Outcome> {
    let mut signals = Signals::install()?;
    let model = model::locate(session, args.pull).await?;
    let options = session.config().serve_options(&model);
    let mut server = serve::start(ServeOptions { linger, ..options }).await?;
    let address = server.address();
    session
        .output
        .either(&json!({"event": "listening", "address": address.to_string()}), || {
            format!("listening on {address}, loading {}", model.display())
        })?;

    let ready = tokio::select! {
        ready = announce(&mut server, session) => Some(ready),
        () = signals.next() => None,
    };
    match ready {
        Some(Ok(())) => signals.next().await,
        Some(Err(error)) => {
            // The server's own failure matters more than that of taking it down.
            let _ = server.shut_down().await;
            return Err(error);
        }
        None => {}
    }
    session.output.note("stopping; again to stop at once");
    tokio::spawn(async move {
        signals.next().await;
        std::process::exit(SIGNALLED);
    });
    server.shut_down().await.context("the server did not stop cleanly")?;
    Ok(Outcome::Done)
}

/// Waits until the server is up and says what it runs.
async fn announce(server: &mut RunningServer, session: &Session) -> anyhow::Result<()> {
    server.ready().await?;
    let client = Client::connect(&reachable(server.address())).await?;
    let info = client.info().await?;
    let encoder = info.encoder.clone().unwrap_or_default();

    let mut event = json!({"event": "serving", "address": server.address().to_string()});
    if let (Some(event), Some(info)) =
        (event.as_object_mut(), output::server_info(&info).as_object())
    {
        event.extend(info.clone());
    }
    session.output.either(&event, || {
        format!(
            "serving {} on {}, {} dimensions, {}\n{}",
            encoder.model, encoder.device, encoder.dimension, encoder.fingerprint, encoder.note
        )
    })
}

/// The URL at which this machine reaches a server that listens on `address`.
pub(crate) fn reachable(address: SocketAddr) -> String {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}")
}

/// The signals that stop a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> anyhow::Result<Self> {
        let install = |kind| signal(kind).context("cannot listen for signals");
        let terminate = install(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: install(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcard_addresses_are_reached_over_loopback() {
        for (address, url) in [
            ("0.0.0.0:7", "http://127.0.0.1:7"),
            ("[::]:7", "http://[::1]:7"),
            ("10.0.0.1:7", "http://10.0.0.1:7"),
        ] {
            assert_eq!(reachable(address.parse().unwrap()), url);
        }
    }
}
