//! A home folder of its own for each test, the command in it, and a server.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// A folder in which the command finds nothing but what a test puts there.
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
    pub(crate) url: String,
    pub(crate) serving: Value,
}

pub(crate) fn tiny_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../encoder/tests/fixtures/tiny-llama")
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("temporary folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().expect("a folder")).expect("folder");
        fs_err::write(&path, text).expect("file");
        path.to_str().expect("UTF-8").to_owned()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twn"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("TWN") || name.starts_with("XDG") {
                command.env_remove(name.as_ref());
            }
        }
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("TWN_HOME", self.path("twn-home"))
            .env("TWN__LOG__FILTER", "warn");
        command
    }

    /// Runs a command to its end, with `input` on its standard input.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start");
        let mut stdin = child.stdin.take().expect("stdin");
        // A command that reads nothing may be gone already.
        let _ = stdin.write_all(input);
        drop(stdin);
        Ran::of(child.wait_with_output().expect("output"))
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, b"")
    }

    /// Starts a server with the tiny model and waits until it serves.
    pub(crate) fn serve(&self, listen: &str) -> Server {
        self.serve_model(&tiny_model(), listen)
    }

    /// Starts a server with a model and waits until it serves.
    pub(crate) fn serve_model(&self, model: &Path, listen: &str) -> Server {
        let data = self.path("data");
        let (model, data) = (model.to_str().expect("UTF-8"), data.to_str().expect("UTF-8"));
        let arguments = [
            "serve",
            "--json",
            "--listen",
            listen,
            "--model",
            model,
            "--data",
            data,
            "--context-tokens",
            "512",
        ];
        let mut child = self.command(&arguments).stdout(Stdio::piped()).spawn().expect("start");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout"));
        let listening = next_json(&mut lines);
        assert_eq!(listening["event"], "listening", "{listening}");
        let serving = next_json(&mut lines);
        assert_eq!(serving["event"], "serving", "{serving}");
        let url = format!("http://{}", listening["address"].as_str().expect("address"));
        Server { child, lines, url, serving }
    }
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn failed(self, code: i32, reason: &str) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        assert!(
            self.stderr.contains(reason) || self.stdout.contains(reason),
            "{reason}: {self:#?}"
        );
        self
    }

    /// The one value on standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The values on standard output, one a line.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }
}

impl Server {
    /// Runs a client's command, with JSON output.
    pub(crate) fn client(&self, home: &Home, arguments: &[&str]) -> Ran {
        home.run(&[arguments, &["--json", "--server", &self.url]].concat())
    }

    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().expect("pid")), signal).expect("signal");
    }

    /// Ends it as a crash would.
    pub(crate) fn crash(mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().expect("end");
    }

    /// Asks it to stop and returns its exit code.
    pub(crate) fn stop(mut self) -> i32 {
        self.signal(Signal::SIGTERM);
        let code = self.child.wait().expect("end").code().unwrap_or(-1);
        let mut rest = String::new();
        self.lines.read_line(&mut rest).expect("stdout");
        assert_eq!(rest, "", "nothing but events on standard output");
        code
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Of a test that failed half-way; otherwise it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn next_json(lines: &mut impl BufRead) -> Value {
    let mut line = String::new();
    lines.read_line(&mut line).expect("stdout");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: `{line}`"))
}
