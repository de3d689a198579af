//! What the commands print: text and tables for people, JSON for programs.
//!
//! Results go to standard output, everything else to standard error. Invariant: with
//! `--json`, standard output holds JSON alone, one value a line.

mod json;
mod progress;
mod table;

use std::{
    fmt::Display,
    io::{self, ErrorKind, IsTerminal, Write},
};

use serde::Serialize;

pub use json::{
    collection, document, embedding, hit, plan, search_explanation, server_info,
    summary_of_timings, timings, usage,
};
pub use progress::{Progress, pull_progress};
pub use table::{ellipsis, figures, milliseconds, table, verdict};

/// Whoever read standard output has had enough, which is no failure.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub struct OutputClosed;

/// Where a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    is_json: bool,
}

impl Output {
    /// Prints for programs or for people.
    pub fn new(is_json: bool) -> Self {
        Self { is_json }
    }

    /// Tells whether results are for programs.
    pub fn is_json(self) -> bool {
        self.is_json
    }

    /// Tells whether progress may be drawn: a person is looking.
    pub fn is_watched(self) -> bool {
        !self.is_json && io::stderr().is_terminal()
    }

    /// Prints text for people to standard output.
    ///
    /// # Errors
    /// Fails with [`OutputClosed`], or when writing does.
    pub fn line(self, text: impl Display) -> anyhow::Result<()> {
        write_line(&text.to_string())
    }

    /// Prints a value for programs to standard output, as one line.
    ///
    /// # Errors
    /// Fails with [`OutputClosed`], or when writing does.
    pub fn json(self, value: &impl Serialize) -> anyhow::Result<()> {
        write_line(&serde_json::to_string(value)?)
    }

    /// Prints a value for programs, or else what `text` makes for people.
    ///
    /// # Errors
    /// Fails with [`OutputClosed`], or when writing does.
    pub fn either<T: Display>(
        self,
        value: &impl Serialize,
        text: impl FnOnce() -> T,
    ) -> anyhow::Result<()> {
        if self.is_json { self.json(value) } else { self.line(text()) }
    }

    /// Tells people something that is not part of the result.
    pub fn note(self, text: impl Display) {
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

fn write_line(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => OutputClosed.into(),
        _ => anyhow::Error::new(error).context("cannot write to standard output"),
    })
}
