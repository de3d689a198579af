//! `twn completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Outcome};
use crate::output::Output;

/// Whose script to print.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Runs the command.
///
/// # Errors
/// Fails when standard output can't be written.
pub fn run(args: &CompletionsArgs, output: Output) -> anyhow::Result<Outcome> {
    // Into memory first: the generator panics where writing fails.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "twn", &mut script);
    output.line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Outcome::Done)
}
