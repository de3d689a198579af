//! The real binary as a process of its own, to be stopped and killed.

use std::{
    net::SocketAddr,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use super::{CONTEXT_TOKENS, tiny_model};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running `twn serve`.
pub(crate) struct Process {
    child: Child,
    events: Lines<BufReader<ChildStdout>>,
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Starts `twn serve` over a data folder and waits until it serves.
    pub(crate) async fn serve(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_twn"))
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .arg("--model")
            .arg(tiny_model())
            .args(["--context-tokens", &CONTEXT_TOKENS.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("twn starts");
        let events = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut process = Self { child, events, address };
        let listening = process.event("listening").await;
        process.address = listening["address"].as_str().unwrap().parse().unwrap();
        process.event("serving").await;
        process
    }

    /// Reads events up to the one named.
    async fn event(&mut self, name: &str) -> serde_json::Value {
        loop {
            let line = tokio::time::timeout(PATIENCE, self.events.next_line());
            let line = line.await.expect("an event in time").unwrap();
            let line = line.unwrap_or_else(|| panic!("twn ended before `{name}`"));
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            if event["event"] == name {
                return event;
            }
        }
    }

    /// Asks the process to stop.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Ends the process where it stands.
    pub(crate) async fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().await.unwrap();
    }

    pub(crate) async fn exit(mut self) -> ExitStatus {
        let exit = tokio::time::timeout(PATIENCE, self.child.wait());
        exit.await.expect("twn ends in time").unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("process is running");
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    }
}
