//! What stands between this machine and a running server.
//!
//! Owns the checks. To see whether a folder can be written it writes a file and takes it
//! away again, and collections are opened as a server opens them; nothing else is touched.
//! Invariant: whatever is not well comes with what to do.

mod data;
mod machine;
mod model;
mod no_model;
mod server;

use std::{fmt, path::Path};

use serde::Serialize;

use crate::config::Config;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Works, but not well or not everything.
    Warn,
    /// Has to be mended before a server can run.
    Fail,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        })
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it came out.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, detail: detail.into(), advice: None }
    }

    fn warn(name: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Self { name, status: Status::Warn, detail: detail.into(), advice }
    }

    fn fail(name: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { status: Status::Fail, ..Self::warn(name, detail, advice) }
    }
}

/// Checks everything.
pub async fn examine(config: &Config) -> Vec<Check> {
    let server = server::look(config).await;
    let is_running = server.is_running;
    let mut checks = machine::examine(&config.data.path).await;
    checks.extend(model::examine(&config.model).await);
    checks.extend(data::examine(config, is_running).await);
    checks.extend(server.checks);
    checks
}

/// Tries whether a folder can be written, or made where it is missing.
fn try_writing(folder: &Path) -> std::io::Result<()> {
    let folder = std::path::absolute(folder)?;
    let existing = folder.ancestors().find(|path| path.is_dir()).unwrap_or(&folder);
    tempfile::Builder::new().prefix(".doctor-").tempfile_in(existing).map(drop)
}
