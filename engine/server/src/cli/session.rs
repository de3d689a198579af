//! What a command works with: its configuration, its output, and its server.

use std::io::{self, IsTerminal};

use anyhow::Context;
use clap::Args;
use tracing_subscriber::EnvFilter;

use super::Globals;
use crate::{
    client::Client,
    config::{Config, Flag, Layers, Loaded, LogFormat, LogSection},
    output::Output,
};

/// What a command works with.
#[derive(Debug)]
pub struct Session {
    /// Where it prints.
    pub output: Output,
    /// Its configuration, with origins.
    pub loaded: Loaded,
}

/// Which server to talk to.
#[derive(Debug, Clone, Default, Args)]
pub struct ServerArg {
    /// Address of the server [default: http://127.0.0.1:50871]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
}

impl ServerArg {
    /// The settings that the flag changes.
    pub fn flags(&self) -> Vec<Flag> {
        let server = self.server.as_deref().map(|url| Flag::new("client.server", "--server", url));
        server.into_iter().collect()
    }
}

impl Session {
    /// Loads the configuration and starts the log. A server logs as configured; other
    /// commands only warn, unless the configuration says otherwise.
    ///
    /// # Errors
    /// Fails when the configuration can't be used.
    pub fn open(globals: &Globals, flags: Vec<Flag>, is_server: bool) -> anyhow::Result<Self> {
        let loaded = Layers::of_process(globals.config.clone(), flags).load()?;
        let mut log = loaded.config.log.clone();
        if !is_server && loaded.origin("log.filter") == "default" {
            log.filter = "warn".to_owned();
        }
        start_log(&log)?;
        Ok(Self { output: Output::new(globals.json), loaded })
    }

    /// The configuration's values.
    pub fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// Connects to the configured server.
    ///
    /// # Errors
    /// Fails with what to do when nothing answers there.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        Client::connect(&self.config().client.server).await
    }
}

/// Starts the log on standard error.
///
/// # Errors
/// Refuses a filter that can't be read.
pub fn start_log(log: &LogSection) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter).context("`log.filter` can't be read")?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    // Only a second start in one process can fail, and then there is a log already.
    let _ = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}
