//! A program that is given so much time and no more.

use std::{
    io::{self, Read},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::{error::MediaError, format::Format};

/// Of what a program complains, so many bytes are kept.
const COMPLAINT_BYTES: usize = 2 << 10;

/// When a program is killed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    /// The moment.
    pub(super) at: Instant,
    /// The time that was allowed, for the error.
    pub(super) max: Duration,
}

/// Why a program did not do what was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// It could not be started.
    Absent { program: String, error: io::Error },
    /// It ran into the deadline and was killed.
    Late(Duration),
    /// It ended with an error and said this.
    Failed(String),
    /// Its output could not be read.
    Io(io::Error),
}

impl Failure {
    /// Words it for the caller.
    pub(super) fn into_error(self, what: &'static str, format: Format) -> MediaError {
        match self {
            Self::Absent { program, error } => {
                let problem = match error.kind() {
                    io::ErrorKind::NotFound => "it is not installed".to_owned(),
                    _ => error.to_string(),
                };
                MediaError::Tool { program, problem }
            }
            Self::Late(max) => MediaError::Time { what, max },
            Self::Failed(problem) => MediaError::Damaged { format, problem },
            Self::Io(error) => MediaError::Io(error),
        }
    }
}

/// Runs a program while `read` takes what it writes. The program is killed at the
/// deadline, which also ends the reading, and when `read` returns before its output ends.
pub(super) fn run(
    mut command: Command,
    deadline: Deadline,
    read: impl FnOnce(ChildStdout) -> io::Result<()>,
) -> Result<(), Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|error| Failure::Absent { program, error })?;
    let stdout = child.stdout.take().expect("is piped");
    let stderr = child.stderr.take().expect("is piped");
    let complaint = thread::spawn(move || complaint(stderr));
    let (finished, watch) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || watch_over(child, &watch, deadline));
    let read = read(stdout);
    drop(finished);
    let ended = watchdog.join().expect("does not panic");
    let complaint = complaint.join().expect("does not panic");
    match ended.map_err(Failure::Io)? {
        None => Err(Failure::Late(deadline.max)),
        Some(false) => Err(Failure::Failed(complaint)),
        Some(true) => read.map_err(Failure::Io),
    }
}

/// Waits until the reading is over, then for the program's end; kills it when it is late.
/// `None` when it was killed, else whether it succeeded.
fn watch_over(
    mut child: Child,
    reading: &mpsc::Receiver<()>,
    deadline: Deadline,
) -> io::Result<Option<bool>> {
    const POLL: Duration = Duration::from_millis(2);
    let left = deadline.at.saturating_duration_since(Instant::now());
    let _ = reading.recv_timeout(left);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if Instant::now() >= deadline.at {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// Takes all that the program complains of and keeps the beginning, on one line.
fn complaint(mut from: impl Read) -> String {
    let mut kept = Vec::new();
    let _ = from.by_ref().take(COMPLAINT_BYTES as u64).read_to_end(&mut kept);
    let _ = io::copy(&mut from, &mut io::sink());
    let text = String::from_utf8_lossy(&kept);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { "the decoder gave no reason".to_owned() } else { lines.join("; ") }
}
