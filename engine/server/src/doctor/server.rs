//! The address to listen on, and the server that may be there already.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use tokio::net::TcpListener;

use super::Check;
use crate::{client::Client, config::Config};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What was found.
pub(super) struct Found {
    pub(super) is_running: bool,
    pub(super) checks: Vec<Check>,
}

/// Looks for a server, and whether a new one could listen.
pub(super) async fn look(config: &Config) -> Found {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, ask(&config.client.server)).await;
    let answer = answer.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within 5 s")));
    let server = &config.client.server;
    let (is_running, server) = match answer {
        Ok(description) => (true, Check::ok("server", format!("{server} runs {description}"))),
        Err(_) => (false, Check::ok("server", format!("none answers at {server}"))),
    };
    let port = port(config.server.listen, is_running).await;
    Found { is_running, checks: vec![port, server] }
}

async fn ask(server: &str) -> anyhow::Result<String> {
    let info = Client::connect(server).await?.info().await?;
    let encoder = info.encoder.unwrap_or_default();
    let state = if encoder.trained { "trained" } else { "untrained" };
    Ok(format!("twn {} with {} ({state})", info.version, encoder.model))
}

async fn port(listen: SocketAddr, is_running: bool) -> Check {
    const NAME: &str = "port";
    match TcpListener::bind(listen).await {
        Ok(_) => Check::ok(NAME, format!("{listen} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_running => {
            Check::ok(NAME, format!("{listen} is taken, and a server answers"))
        }
        Err(error) => {
            let advice = "listen elsewhere with `--listen`, or end what has the port";
            Check::warn(NAME, format!("{listen}: {error}"), advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[tokio::test]
    async fn a_port_that_somebody_else_has_is_named() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = other.local_addr().unwrap();
        assert_eq!(port(address, false).await.status, Status::Warn);
        assert_eq!(port(address, true).await.status, Status::Ok);
        drop(other);
        assert_eq!(port(address, false).await.status, Status::Ok);
    }
}
