//! A peer's process: one JSON object a line in, one out.

use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// A running peer; ended when it is dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts `python SCRIPT NAME`.
    pub(crate) fn start(python: &Path, script: &Path, name: &str) -> anyhow::Result<Self> {
        let mut child = Command::new(python)
            .arg(script)
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start peer `{name}` with {}", python.display()))?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("the peer has no output")?;
        Ok(Self { name: name.to_owned(), child, input, output: BufReader::new(output) })
    }

    /// Asks one thing and waits for the answer.
    pub(crate) fn ask(&mut self, request: &Value) -> anyhow::Result<Value> {
        let input = self.input.as_mut().context("the peer was told to end")?;
        writeln!(input, "{request}")?;
        input.flush()?;
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("peer `{}` has ended", self.name);
        }
        let answer: Value = serde_json::from_str(&line)?;
        if let Some(error) = answer.get("error") {
            bail!("peer `{}` cannot: {error}", self.name);
        }
        Ok(answer)
    }

    /// Builds an index; returns the seconds it took.
    pub(crate) fn build(
        &mut self,
        base: &Path,
        m: usize,
        ef_construction: usize,
        threads: usize,
    ) -> anyhow::Result<f64> {
        let answer = self.ask(&json!({
            "do": "build", "base": base, "m": m,
            "ef_construction": ef_construction, "threads": threads,
        }))?;
        answer["seconds"].as_f64().context("the peer did not say how long it took")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends with its input.
        self.input = None;
        let _ended = self.child.wait();
    }
}
