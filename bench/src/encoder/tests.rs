//! The whole benchmark with contestants whose speeds are known.

use std::{cell::RefCell, path::PathBuf, rc::Rc, time::Duration};

use serde_json::{Value, json};
use twn_encoder::adapter::Interface;

use super::{
    contestant::{
        Adapters, Arithmetic, Contestant, Cost, Engine, Entrant, Greedy, Order, Other, Ours,
        Precision, Reasoned,
    },
    drive::{self, Field, Rounds, Stable},
    own::{self, Check, Effort},
    plan,
    ran::Ran,
};
use crate::floor::Limits;

type Log = Rc<RefCell<Vec<String>>>;

/// Takes a known time for each token, and writes down that it ran.
struct Fake {
    name: String,
    per_token: Duration,
    /// Embeddings and thoughts are off by this much.
    error: f32,
    log: Log,
}

impl Contestant for Fake {
    fn prefill(&mut self, batch: usize, tokens: usize) -> anyhow::Result<Duration> {
        if tokens > 16 {
            self.log.borrow_mut().push(self.name.clone());
        }
        Ok(self.per_token * (batch * tokens) as u32)
    }

    fn decode(&mut self, batch: usize, _: usize, steps: usize) -> anyhow::Result<Duration> {
        Ok(self.per_token * (2 * batch * steps) as u32)
    }

    fn describe(&mut self) -> anyhow::Result<Value> {
        Ok(json!({ "name": self.name }))
    }
}

impl Engine for Fake {
    fn cost(&self) -> Cost {
        Cost {
            multiply_adds_per_token: 1_000_000,
            head_multiply_adds: 0,
            weight_bytes_per_step: 1_000_000,
            cache_bytes_per_position: 0,
            arithmetic: Arithmetic::Int8,
        }
    }

    fn reasoned(
        &mut self,
        _: Interface,
        requests: usize,
        order: Order,
    ) -> anyhow::Result<Reasoned> {
        let time = match order {
            Order::Together => Duration::from_secs(2),
            Order::InTurn => Duration::from_secs(requests as u64),
        };
        let thought = 5 * requests as u64;
        Ok(Reasoned { time, ran: Ran { thought, ..Ran::default() } })
    }

    fn direct_latencies(
        &mut self,
        requests: usize,
        thoughts: usize,
    ) -> anyhow::Result<Vec<Duration>> {
        Ok(vec![Duration::from_millis(10 + 5 * thoughts as u64); requests])
    }

    fn embed(&mut self, texts: &[String]) -> anyhow::Result<Vec<Vec<f32>>> {
        Ok(texts.iter().map(|_| vec![1.0, self.error]).collect())
    }

    fn think_greedily(&mut self, prompts: &[String], _: usize) -> anyhow::Result<Vec<Greedy>> {
        let changed = (self.error * 10.0) as usize;
        let thought = |(number, prompt): (usize, &String)| Greedy {
            text: if number < changed { String::new() } else { prompt.clone() },
            tokens: vec![0],
        };
        Ok(prompts.iter().enumerate().map(thought).collect())
    }

    fn logits(&mut self, _: &str, thought: &[u32]) -> anyhow::Result<Vec<Vec<f32>>> {
        Ok(vec![vec![0.5, self.error]; thought.len() + 1])
    }
}

struct FakeStable {
    log: Log,
    with_ours: bool,
}

impl FakeStable {
    fn fake(&self, name: String, per_token_us: u64, error: f32) -> Fake {
        let per_token = Duration::from_micros(per_token_us);
        Fake { name, per_token, error, log: Rc::clone(&self.log) }
    }
}

impl Stable for FakeStable {
    fn start_other(&mut self, other: Other) -> anyhow::Result<Box<dyn Contestant>> {
        Ok(Box::new(self.fake(other.to_string(), 2_000, 0.0)))
    }

    fn load_ours(&mut self, ours: Ours) -> anyhow::Result<Option<Box<dyn Engine>>> {
        let per_token_us = match ours.adapters {
            Adapters::None => 1_000,
            Adapters::RankEight => 1_250,
        };
        let error = match ours.precision {
            Precision::Reference => 0.0,
            Precision::EightBit => 0.1,
            Precision::FourBit => 0.75,
        };
        let fake = self.fake(ours.to_string(), per_token_us, error);
        Ok(self.with_ours.then(|| Box::new(fake) as Box<dyn Engine>))
    }
}

fn stable(with_ours: bool) -> FakeStable {
    FakeStable { log: Log::default(), with_ours }
}

const ROUNDS: Rounds = Rounds { repeat: 3, rest: Duration::ZERO, patience: Duration::ZERO };
const LIMITS: Limits = Limits {
    threads: 2,
    instructions: "none",
    f32_operations_per_s: 1e9,
    int16_operations_per_s: 4e9,
    int8_operations_per_s: 4e9,
    read_bytes_per_s: 1e9,
};

fn race(with_ours: bool) -> Vec<crate::rows::Row> {
    let mut stable = stable(with_ours);
    let mut field = Field::new(&mut stable);
    let pairings = plan::pairings();
    field.assemble(&pairings).unwrap();
    let speeds = field.race(&pairings, ROUNDS).unwrap();
    let costs = super::costs(&pairings, &mut field).unwrap();
    drive::rows(&pairings, &speeds, &costs, &LIMITS)
}

#[test]
fn ratios_and_floors_follow_from_the_times() {
    let rows = race(true);
    let row = |what: &str| rows.iter().find(|row| row.what == what).unwrap();

    let prefill = row("prefill 8x128: ours 4-bit vs llama.cpp q4_0");
    assert_eq!((prefill.ours, prefill.peer), (Some(1_000.0), Some(500.0)));
    assert_eq!((prefill.ratio, prefill.met, prefill.samples), (Some(2.0), Some(true), 3));
    // 4e9 operations a second over 2e6 a token are 2,000 tokens a second.
    assert_eq!(prefill.floor_fraction, Some(0.5));

    let decode = row("decode batch 1: ours 8-bit vs PyTorch f32");
    assert_eq!((decode.ours, decode.ratio, decode.met), (Some(500.0), Some(2.0), Some(false)));
    assert_eq!(decode.floor_fraction, Some(0.5));

    let adapters = row("prefill 1x128: ours 4-bit with adapters vs ours 4-bit");
    assert_eq!((adapters.ratio, adapters.met), (Some(0.8), Some(false)));
}

#[test]
fn without_the_encoder_the_peers_run_alone() {
    for row in race(false) {
        assert_eq!((row.ours, row.ratio, row.met), (None, None, None));
        let peer_is_ours = row.what.contains("adapters");
        assert_eq!(row.peer.is_none(), peer_is_ours, "{}", row.what);
        assert!(row.note.unwrap().contains("without the encoder"));
    }
}

#[test]
fn everyone_takes_turns_and_the_order_reverses() {
    let mut stable = stable(true);
    let log = Rc::clone(&stable.log);
    let mut field = Field::new(&mut stable);
    let pairings: Vec<_> = (plan::pairings().into_iter())
        .filter(|pairing| pairing.what() == "prefill 1x512: ours 4-bit vs llama.cpp q4_0")
        .collect();
    let speeds = field.race(&pairings, Rounds { repeat: 2, ..ROUNDS }).unwrap();
    let (ours, peer) = ("ours 4-bit", "llama.cpp q4_0");
    assert_eq!(*log.borrow(), [ours, peer, peer, ours, ours, peer]);
    let peer = Entrant::Other(Other::LlamaCppQ4);
    assert_eq!(speeds[&(pairings[0].workload, peer)].len(), 2);
}

fn own_rows(with_ours: bool, texts: usize) -> Vec<crate::rows::Row> {
    let mut stable = stable(with_ours);
    let mut field = Field::new(&mut stable);
    let texts = vec!["a text".to_owned(); texts];
    let effort = Effort { repeat: 2, direct_requests: 10, texts };
    own::measure(&Check::all(), &mut field, &effort, &LIMITS).unwrap()
}

#[test]
fn we_are_compared_with_ourselves() {
    let rows = own_rows(true, 3);
    let row = |what: &str| rows.iter().find(|row| row.what == what).unwrap();

    let at_once = row("8 reasoned requests at once vs in turn (cache): ours 4-bit");
    assert_eq!((at_once.ours, at_once.peer, at_once.ratio), (Some(4.0), Some(1.0), Some(4.0)));
    // A token takes 0.5 ms of int16 arithmetic, and alone 1 ms of reading weights.
    let note = "thoughts of 5.0 tokens; the limits alone: 400.0 and 200.0, 2.00";
    assert_eq!((at_once.note.as_deref(), at_once.floor_fraction), (Some(note), Some(0.01)));
    let tail = row("p99 of direct requests beside 4 thoughts vs alone: ours 8-bit");
    assert_eq!((tail.ours, tail.peer, tail.met), (Some(30.0), Some(10.0), Some(true)));
    assert_eq!(tail.samples, 20);

    let cosine = row("mean cosine of embeddings: ours 8-bit vs f32");
    let want = 1.0 / 1.01f64.sqrt();
    assert!((cosine.ratio.unwrap() - want).abs() < 1e-6, "{:?}", cosine.ratio);
    assert_eq!((cosine.met, cosine.samples), (Some(false), 3));
    assert_eq!(row("least cosine of embeddings: ours 4-bit vs f32").ratio, Some(0.8));

    let same = row("same greedy thoughts of 64 tokens: ours 8-bit vs f32");
    assert_eq!((same.ours, same.peer, same.met), (Some(9.0), Some(10.0), Some(true)));
    // Both of a thought's rows for each of ten prompts.
    let note = same.note.as_deref();
    assert_eq!(note, Some("leads differ by 0.100 (rms), 0.100 at most"));
    let same = row("same greedy thoughts of 64 tokens: ours 4-bit vs f32");
    assert_eq!((same.ours, same.met), (Some(3.0), Some(false)));
    assert!(same.note.as_ref().unwrap().contains("0 of 10 within that"), "{:?}", same.note);
}

#[test]
fn what_cannot_be_compared_says_why() {
    let of = |rows: Vec<crate::rows::Row>| {
        rows.into_iter().filter_map(|row| row.note).collect::<Vec<_>>()
    };
    let without = of(own_rows(false, 3));
    assert_eq!(without.len(), Check::all().len());
    let without_texts = of(own_rows(true, 0));
    assert_eq!(without_texts.iter().filter(|note| note.contains("--texts")).count(), 8);
}

#[test]
fn a_failing_peer_is_named() {
    struct Broken;
    impl Stable for Broken {
        fn start_other(&mut self, _: Other) -> anyhow::Result<Box<dyn Contestant>> {
            let peers = PathBuf::from("/nowhere");
            super::Machine { peers, threads: 2, isa: None, model: None }.start_other(Other::Torch)
        }
        fn load_ours(&mut self, _: Ours) -> anyhow::Result<Option<Box<dyn Engine>>> {
            Ok(None)
        }
    }
    let error = Field::new(&mut Broken).assemble(&plan::pairings()).unwrap_err().to_string();
    assert!(error.contains("PyTorch f32") && error.contains("setup.sh"), "{error}");
}
