//! `twn doctor`

use clap::Args;
use serde_json::json;

use super::{Outcome, ServerArg, Session, serve::EngineArgs};
use crate::{
    config::Flag,
    doctor::{self, Status},
};

/// What to examine.
#[derive(Debug, Clone, Default, Args)]
pub struct DoctorArgs {
    /// The model and where data is kept.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// The server to look for.
    #[command(flatten)]
    pub server: ServerArg,
}

impl DoctorArgs {
    /// The settings that the flags change.
    pub fn flags(&self) -> Vec<Flag> {
        self.engine.flags().into_iter().chain(self.server.flags()).collect()
    }
}

/// Runs the command.
///
/// # Errors
/// Fails only when the result can't be printed.
pub async fn run(session: &Session) -> anyhow::Result<Outcome> {
    let checks = doctor::examine(session.config()).await;
    let is_good = checks.iter().all(|check| check.status != Status::Fail);
    let output = session.output;
    if output.is_json() {
        output.json(&json!({"ok": is_good, "checks": checks}))?;
    } else {
        for check in &checks {
            output.line(format_args!("{:<5} {:<8} {}", check.status, check.name, check.detail))?;
            if let Some(advice) = &check.advice {
                output.line(format_args!("{:<14} -> {advice}", ""))?;
            }
        }
    }
    Ok(if is_good { Outcome::Done } else { Outcome::Failed })
}
