//! Who runs: our engine in its configurations, and the peers.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use twn_encoder::{Activations, adapter::Interface};

use super::ran::Ran;
use crate::peer::{Peer, PeerCommand, PeerError};

/// Something whose speed is measured.
///
/// A contestant does what it is asked at once and times it itself: a prefill from an empty
/// cache to the last token's logits, a decode without the prompt that precedes it.
pub(crate) trait Contestant {
    /// Times `batch` prompts of `tokens` tokens each.
    fn prefill(&mut self, batch: usize, tokens: usize) -> anyhow::Result<Duration>;

    /// Times `steps` steps of one token for each of `batch` sequences, which have `prompt`
    /// tokens before the first step.
    fn decode(&mut self, batch: usize, prompt: usize, steps: usize) -> anyhow::Result<Duration>;

    /// Says what it is: version, model, settings, threads.
    fn describe(&mut self) -> anyhow::Result<Value>;

    /// The process that does the work, where it is not this one.
    fn process_id(&self) -> Option<u32> {
        None
    }
}

/// Our engine: a contestant that also thinks and embeds.
pub(crate) trait Engine: Contestant {
    /// What the model costs at best, for the machine's limits.
    fn cost(&self) -> Cost;

    /// Times `requests` reasoned requests of the same inputs, all at once or in turn, by adapters
    /// that meet so.
    fn reasoned(
        &mut self,
        interface: Interface,
        requests: usize,
        order: Order,
    ) -> anyhow::Result<Reasoned>;

    /// Latencies of `requests` direct requests, one after another, while `thoughts`
    /// thoughts decode all the time.
    fn direct_latencies(
        &mut self,
        requests: usize,
        thoughts: usize,
    ) -> anyhow::Result<Vec<Duration>>;

    /// Embeds texts directly, `[texts, dimension]`.
    fn embed(&mut self, texts: &[String]) -> anyhow::Result<Vec<Vec<f32>>>;

    /// Thinks greedily about each prompt, `tokens` tokens at most.
    fn think_greedily(&mut self, prompts: &[String], tokens: usize) -> anyhow::Result<Vec<Greedy>>;

    /// Logits along a given thought: a row for each of its tokens and for the next.
    fn logits(&mut self, prompt: &str, thought: &[u32]) -> anyhow::Result<Vec<Vec<f32>>>;
}

/// A thought without chance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Greedy {
    pub(crate) text: String,
    /// What was decoded, the end of the turn excluded.
    pub(crate) tokens: Vec<u32>,
}

/// Requests that were answered after thoughts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reasoned {
    /// Until the last was answered.
    pub(crate) time: Duration,
    /// All together.
    pub(crate) ran: Ran,
}

/// How several requests are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Together,
    InTurn,
}

/// The least work that any implementation of a model has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Of the linear layers, without the output head and attention.
    pub(crate) multiply_adds_per_token: u64,
    /// Of the output head.
    pub(crate) head_multiply_adds: u64,
    /// Weights read in one decoding step, the output head included.
    pub(crate) weight_bytes_per_step: u64,
    /// Keys and values read for each position before the token, all layers together.
    pub(crate) cache_bytes_per_position: u64,
    pub(crate) arithmetic: Arithmetic,
}

/// What the linear layers multiply with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    F32,
    Int16,
    Int8,
}

/// How our weights are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Precision {
    /// f32, the portable module: what the fast ones are compared with.
    Reference,
    EightBit,
    FourBit,
}

/// Which adapters are active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Adapters {
    None,
    /// Reasoning and embedding adapters of rank 8 on every linear layer, none of them zero.
    RankEight,
}

/// One of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ours {
    pub(crate) precision: Precision,
    /// How products with quantised weights round their inputs; without effect on f32.
    pub(crate) activations: Activations,
    pub(crate) adapters: Adapters,
}

/// One of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Other {
    LlamaCppQ4,
    LlamaCppQ8,
    Torch,
}

/// Anyone who runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Entrant {
    Ours(Ours),
    Other(Other),
}

impl Ours {
    /// As it is served, without adapters.
    pub(crate) fn plain(precision: Precision) -> Self {
        Self { precision, activations: Activations::default(), adapters: Adapters::None }
    }

    /// What its linear layers multiply with in a prompt.
    pub(crate) fn arithmetic(self) -> Arithmetic {
        match (self.precision, self.activations) {
            (Precision::Reference, _) => Arithmetic::F32,
            (_, Activations::Int16) => Arithmetic::Int16,
            (_, Activations::Auto | Activations::Int8) => Arithmetic::Int8,
        }
    }
}

impl fmt::Display for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.precision {
            Precision::Reference => "ours f32",
            Precision::EightBit => "ours 8-bit",
            Precision::FourBit => "ours 4-bit",
        })?;
        match self.activations {
            Activations::Auto => {}
            other => write!(f, " ({other})")?,
        }
        match self.adapters {
            Adapters::None => Ok(()),
            Adapters::RankEight => f.write_str(" with adapters"),
        }
    }
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LlamaCppQ4 => "llama.cpp q4_0",
            Self::LlamaCppQ8 => "llama.cpp q8_0",
            Self::Torch => "PyTorch f32",
        })
    }
}

impl fmt::Display for Entrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(ours) => ours.fmt(f),
            Self::Other(other) => other.fmt(f),
        }
    }
}

/// A contestant in a process of its own.
pub(crate) struct PeerContestant {
    peer: Peer,
}

#[derive(Deserialize)]
struct Timed {
    seconds: f64,
}

impl PeerContestant {
    /// Starts the peer.
    ///
    /// # Errors
    /// Fails when it is not set up.
    pub(crate) fn start(command: PeerCommand) -> Result<Self, PeerError> {
        Ok(Self { peer: Peer::start(command)? })
    }

    fn time(&mut self, request: &impl Serialize) -> anyhow::Result<Duration> {
        let Timed { seconds } = self.peer.call(request)?;
        match Duration::try_from_secs_f64(seconds) {
            Ok(time) if !time.is_zero() => Ok(time),
            _ => anyhow::bail!("a peer claims that its work took {seconds} s"),
        }
    }
}

impl Contestant for PeerContestant {
    fn prefill(&mut self, batch: usize, tokens: usize) -> anyhow::Result<Duration> {
        self.time(&json!({ "op": "prefill", "batch": batch, "tokens": tokens }))
    }

    fn decode(&mut self, batch: usize, prompt: usize, steps: usize) -> anyhow::Result<Duration> {
        self.time(&json!({ "op": "decode", "batch": batch, "prompt": prompt, "steps": steps }))
    }

    fn describe(&mut self) -> anyhow::Result<Value> {
        Ok(self.peer.call(&json!({ "op": "describe" }))?)
    }

    fn process_id(&self) -> Option<u32> {
        Some(self.peer.process_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(script: &str) -> PeerContestant {
        PeerContestant::start(PeerCommand {
            name: "fake".into(),
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            variables: &[],
            needs: Vec::new(),
            setup: String::new(),
            answer_within: Duration::from_secs(30),
        })
        .unwrap()
    }

    /// A peer that answers every request with `answer`.
    fn saying(answer: &str) -> PeerContestant {
        running(&format!("while read -r line; do echo '{answer}'; done"))
    }

    #[test]
    fn a_peers_seconds_become_a_duration() {
        let mut peer = saying(r#"{"seconds": 0.25}"#);
        assert_eq!(peer.prefill(8, 128).unwrap(), Duration::from_millis(250));
        assert_eq!(peer.decode(1, 128, 64).unwrap(), Duration::from_millis(250));
        assert_eq!(peer.describe().unwrap(), json!({ "seconds": 0.25 }));
    }

    #[test]
    fn impossible_times_are_errors() {
        for seconds in ["0", "-1", "1e300"] {
            let mut peer = saying(&format!(r#"{{"seconds": {seconds}}}"#));
            let message = peer.prefill(1, 1).unwrap_err().to_string();
            assert!(message.contains("claims that its work took"), "{message}");
        }
    }

    #[test]
    fn requests_carry_their_sizes() {
        let mut peer = running(
            r#"read -r line; case $line in
            '{"op":"decode","batch":8,"prompt":128,"steps":32}') echo '{"seconds": 1}' ;;
            *) echo '{"error": "strange"}' ;; esac"#,
        );
        assert_eq!(peer.decode(8, 128, 32).unwrap(), Duration::from_secs(1));
    }
}
