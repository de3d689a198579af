//! A peer's process: one JSON object a line in, one out.
//!
//! The peer is started by its own command, is asked one thing at a time, and is ended by its
//! own process id when it is dropped. A peer that says nothing within its time limit is
//! ended too, since what it would say later would answer the wrong question.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io::{BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

/// An answer longer than this is not an answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// What is kept of the end of the peer's standard error.
const COMPLAINT_BYTES_MAX: usize = 4 << 10;
/// How long a peer may take to end once its input has ended.
const GRACE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);

/// How a peer is started.
#[derive(Debug, Clone)]
pub(crate) struct PeerCommand {
    /// What people call it.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// Variables beside those of this process.
    pub(crate) variables: &'static [(&'static str, &'static str)],
    /// Files that must be there before it can start.
    pub(crate) needs: Vec<PathBuf>,
    /// The command that makes what is missing.
    pub(crate) setup: String,
    /// How long one answer may take, starting up included.
    pub(crate) answer_within: Duration,
}

/// Why a peer did not answer.
#[derive(Debug, Error)]
pub(crate) enum PeerError {
    /// Its files are not there.
    #[error("peer `{name}` is not set up, {missing} is missing: run `{setup}` first")]
    NotSetUp { name: String, missing: PathBuf, setup: String },
    /// The system does not run its program.
    #[error("peer `{name}` cannot be started with {program}: {source}")]
    Start { name: String, program: PathBuf, source: std::io::Error },
    /// It is gone.
    #[error("peer `{name}` has ended ({status}); its last words: {complaint}")]
    Ended { name: String, status: String, complaint: String },
    /// It was ended, since it took too long.
    #[error("peer `{name}` gave no answer within {} s to {request}", limit.as_secs_f64())]
    Late { name: String, limit: Duration, request: String },
    /// It said that it cannot.
    #[error("peer `{name}` refused {request}: {reason}")]
    Refused { name: String, request: String, reason: String },
    /// What it said is not what was asked for.
    #[error("peer `{name}` answered {request} with `{answer}`: {source}")]
    Garbled { name: String, request: String, answer: String, source: serde_json::Error },
}

/// A running peer.
#[derive(Debug)]
pub(crate) struct Peer {
    command: PeerCommand,
    child: Child,
    /// Absent once the peer is told to end.
    input: Option<ChildStdin>,
    /// Complete lines; closed when the peer's output is.
    answers: Receiver<String>,
    complaint: Arc<Mutex<VecDeque<u8>>>,
    /// Reads the complaint; a grandchild that keeps the pipe open may keep it from ending.
    listener: Option<JoinHandle<()>>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Peer {
    /// Starts a peer. It may still be loading when this returns.
    ///
    /// # Errors
    /// Fails when a file that it needs is missing or its program cannot be run.
    pub(crate) fn start(command: PeerCommand) -> Result<Self, PeerError> {
        if let Some(missing) = command.needs.iter().find(|path| !path.exists()) {
            return Err(PeerError::NotSetUp {
                name: command.name.clone(),
                missing: missing.clone(),
                setup: command.setup.clone(),
            });
        }
        let started = Command::new(&command.program)
            .args(&command.arguments)
            .envs(command.variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = started.map_err(|source| PeerError::Start {
            name: command.name.clone(),
            program: command.program.clone(),
            source,
        })?;
        let (sender, answers) = sync_channel(1);
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || {
                read_lines(output, |line| sender.send(line).is_ok());
            });
        }
        let complaint = Arc::default();
        let listener = child.stderr.take().map(|errors| {
            let kept = Arc::clone(&complaint);
            std::thread::spawn(move || keep_end(errors, &kept))
        });
        let input = child.stdin.take();
        Ok(Self { command, child, input, answers, complaint, listener })
    }

    /// The process, for as long as it runs.
    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Asks one thing and waits for the answer.
    ///
    /// # Errors
    /// Fails when the peer refuses, has ended, takes too long, or answers something else. It
    /// is not to be asked again after any of these but a refusal.
    pub(crate) fn call<T: DeserializeOwned>(
        &mut self,
        request: &impl Serialize,
    ) -> Result<T, PeerError> {
        let name = self.command.name.clone();
        let text = serde_json::to_string(request).map_err(|source| PeerError::Garbled {
            name: name.clone(),
            request: "an unprintable request".to_owned(),
            answer: String::new(),
            source,
        })?;
        let sent = match &mut self.input {
            Some(input) => writeln!(input, "{text}").and_then(|()| input.flush()).is_ok(),
            None => false,
        };
        if !sent {
            return Err(self.end());
        }
        let limit = self.command.answer_within;
        let answer = match self.answers.recv_timeout(limit) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Disconnected) => return Err(self.end()),
            Err(RecvTimeoutError::Timeout) => {
                self.end();
                return Err(PeerError::Late { name, limit, request: text });
            }
        };
        if let Ok(Refusal { error }) = serde_json::from_str(&answer) {
            return Err(PeerError::Refused { name, request: text, reason: error });
        }
        serde_json::from_str(&answer).map_err(|source| PeerError::Garbled {
            name,
            request: text,
            answer: answer.chars().take(200).collect(),
            source,
        })
    }

    /// Ends the process and says with what words it went.
    fn end(&mut self) -> PeerError {
        let status = self.stop();
        let until = Instant::now() + GRACE;
        while self.listener.as_ref().is_some_and(|thread| !thread.is_finished())
            && Instant::now() < until
        {
            std::thread::sleep(POLL);
        }
        let mut kept = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        PeerError::Ended {
            name: self.command.name.clone(),
            status: status.map_or_else(|error| error.to_string(), |status| status.to_string()),
            complaint: String::from_utf8_lossy(kept.make_contiguous()).trim().to_owned(),
        }
    }

    /// Closes the input, waits for a moment, then kills; the process is gone afterwards.
    fn stop(&mut self) -> std::io::Result<ExitStatus> {
        self.input = None;
        let until = Instant::now() + GRACE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(POLL);
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A process that cannot be waited for is gone already.
        let _ = self.stop();
    }
}

/// Hands on complete lines until the output ends, a line is too long, or none are wanted.
fn read_lines(output: impl Read, mut hand_on: impl FnMut(String) -> bool) {
    let mut output = BufReader::new(output);
    loop {
        let mut line = String::new();
        let read = output.by_ref().take(ANSWER_BYTES_MAX).read_line(&mut line);
        if !matches!(read, Ok(1..)) || !line.ends_with('\n') || !hand_on(line) {
            return;
        }
    }
}

/// Reads to the end and keeps the last of it.
fn keep_end(mut errors: impl Read, kept: &Mutex<VecDeque<u8>>) {
    let mut chunk = [0; 1 << 10];
    while let Ok(count @ 1..) = errors.read(&mut chunk) {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(&chunk[..count]);
        let surplus = kept.len().saturating_sub(COMPLAINT_BYTES_MAX);
        kept.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ECHO: &str = r#"
        while read -r line; do
            case $line in
                *refuse*) echo '{"error": "not today"}' ;;
                *garble*) echo 'what?' ;;
                *hang*) exec sleep 60 ;;
                *die*) echo 'it hurts' >&2; exit 3 ;;
                *long*) head -c 2000000 /dev/zero | tr '\0' x; echo ;;
                *) echo "$line" ;;
            esac
        done
    "#;

    fn start(script: &str, answer_within: Duration) -> Peer {
        Peer::start(PeerCommand {
            name: "fake".into(),
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            variables: &[],
            needs: Vec::new(),
            setup: "setup.sh".into(),
            answer_within,
        })
        .unwrap()
    }

    fn refused(op: &str, limit: Duration) -> (Peer, PeerError) {
        let mut peer = start(ECHO, limit);
        let error = peer.call::<Value>(&json!({ "op": op })).unwrap_err();
        (peer, error)
    }

    #[test]
    fn answers_come_in_order() {
        let mut peer = start(ECHO, Duration::from_secs(30));
        for number in 0..3 {
            let request = json!({ "op": "echo", "number": number });
            assert_eq!(peer.call::<Value>(&request).unwrap(), request);
        }
    }

    #[test]
    fn a_refusal_keeps_the_peer() {
        let (mut peer, error) = refused("refuse", Duration::from_secs(30));
        assert!(matches!(&error, PeerError::Refused { reason, .. } if reason == "not today"));
        assert_eq!(peer.call::<Value>(&json!("on")).unwrap(), "on");
    }

    #[test]
    fn nonsense_and_endless_lines_are_errors() {
        let (_, error) = refused("garble", Duration::from_secs(30));
        assert!(matches!(error, PeerError::Garbled { .. }), "{error}");
        let (_, error) = refused("long", Duration::from_secs(30));
        assert!(matches!(error, PeerError::Ended { .. }), "{error}");
    }

    #[test]
    fn a_peer_that_dies_leaves_its_last_words() {
        let (mut peer, error) = refused("die", Duration::from_secs(30));
        let message = error.to_string();
        assert!(message.contains("it hurts") && message.contains("exit status: 3"), "{message}");
        let again = peer.call::<Value>(&json!("on")).unwrap_err();
        assert!(matches!(again, PeerError::Ended { .. }), "{again}");
    }

    #[test]
    fn a_peer_that_hangs_is_ended() {
        let (mut peer, error) = refused("hang", Duration::from_millis(100));
        assert!(matches!(error, PeerError::Late { .. }), "{error}");
        assert!(peer.child.try_wait().unwrap().is_some(), "still running");
    }

    #[test]
    fn dropping_ends_the_process() {
        let mut peer = start("exec sleep 60", Duration::from_secs(30));
        let id = peer.process_id();
        assert!(peer.child.try_wait().unwrap().is_none());
        drop(peer);
        let alive = std::path::Path::new("/proc").join(id.to_string()).exists();
        assert!(!alive, "process {id} lives on");
    }

    #[test]
    fn what_is_not_set_up_says_how_to() {
        let error = Peer::start(PeerCommand {
            name: "fake".into(),
            program: "sh".into(),
            arguments: Vec::new(),
            variables: &[],
            needs: vec!["/nowhere/model.gguf".into()],
            setup: "bench/peers/setup.sh".into(),
            answer_within: Duration::from_secs(1),
        })
        .unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("/nowhere/model.gguf") && message.contains("bench/peers/setup.sh")
        );
    }
}
