//! The alternating loop: everyone does the same work in turn, again and again.
//!
//! A machine that is slower for a while is then slower for all of them. Every other round
//! goes backwards, so that nobody always runs behind the same one. Nobody runs beside
//! anybody, and a moment passes between turns, since idle pools spin before they sleep.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::Value;

use super::{
    contestant::{Contestant, Cost, Engine, Entrant, Other, Ours},
    plan::Pairing,
    workload::Workload,
};
use crate::{
    contention::{Patience, Watch},
    floor::Limits,
    rows::Row,
};

/// Wakes threads and caches before a timed run.
const WAKE_UP: Workload = Workload::Prefill { batch: 1, tokens: 16 };

/// Where contestants come from.
pub(crate) trait Stable {
    /// Starts a peer.
    fn start_other(&mut self, other: Other) -> anyhow::Result<Box<dyn Contestant>>;

    /// Loads one of ours; none when this program is built without the encoder.
    fn load_ours(&mut self, ours: Ours) -> anyhow::Result<Option<Box<dyn Engine>>>;
}

/// How the loop runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rounds {
    /// Timed runs of each workload by each contestant.
    pub(crate) repeat: usize,
    /// Between turns.
    pub(crate) rest: Duration,
    /// For quiet moments, all turns together.
    pub(crate) patience: Duration,
}

/// A contestant that is ready to run.
enum Runner {
    Ours(Box<dyn Engine>),
    Other(Box<dyn Contestant>),
    /// Ours, in a program without it.
    Absent,
}

/// Everyone who runs, loaded when first needed and kept.
pub(crate) struct Field<'a> {
    stable: &'a mut dyn Stable,
    runners: BTreeMap<Entrant, Runner>,
}

/// Tokens a second of every run.
pub(crate) type Speeds = BTreeMap<(Workload, Entrant), Vec<f64>>;

impl Runner {
    fn contestant(&mut self) -> Option<&mut dyn Contestant> {
        match self {
            Self::Ours(engine) => Some(engine.as_mut()),
            Self::Other(contestant) => Some(contestant.as_mut()),
            Self::Absent => None,
        }
    }
}

impl<'a> Field<'a> {
    /// Nobody is loaded yet.
    pub(crate) fn new(stable: &'a mut dyn Stable) -> Self {
        Self { stable, runners: BTreeMap::new() }
    }

    fn runner(&mut self, entrant: Entrant) -> anyhow::Result<&mut Runner> {
        let vacant = match self.runners.entry(entrant) {
            Entry::Occupied(entry) => return Ok(entry.into_mut()),
            Entry::Vacant(entry) => entry,
        };
        let runner = match entrant {
            Entrant::Other(other) => Runner::Other(self.stable.start_other(other)?),
            Entrant::Ours(ours) => match self.stable.load_ours(ours)? {
                Some(engine) => Runner::Ours(engine),
                None => Runner::Absent,
            },
        };
        Ok(vacant.insert(runner))
    }

    /// One of ours; none when this program is built without it.
    pub(crate) fn engine(&mut self, ours: Ours) -> anyhow::Result<Option<&mut dyn Engine>> {
        Ok(match self.runner(Entrant::Ours(ours))? {
            Runner::Ours(engine) => Some(engine.as_mut()),
            Runner::Other(_) | Runner::Absent => None,
        })
    }

    /// The processes of those who run in one of their own.
    pub(crate) fn process_ids(&mut self) -> Vec<u32> {
        let contestants = self.runners.values_mut().filter_map(Runner::contestant);
        contestants.filter_map(|contestant| contestant.process_id()).collect()
    }

    /// What everyone says about itself, by name.
    pub(crate) fn describe(&mut self) -> anyhow::Result<BTreeMap<String, Value>> {
        let mut said = BTreeMap::new();
        for (entrant, runner) in &mut self.runners {
            if let Some(contestant) = runner.contestant() {
                let description = contestant.describe().with_context(|| entrant.to_string())?;
                said.insert(entrant.to_string(), description);
            }
        }
        Ok(said)
    }

    /// Starts everyone whom `pairings` need, and waits until they are loaded.
    pub(crate) fn assemble(&mut self, pairings: &[Pairing]) -> anyhow::Result<()> {
        for pairing in pairings {
            self.runner(Entrant::Ours(pairing.ours))?;
            self.runner(pairing.peer)?;
        }
        self.describe().map(drop)
    }

    /// Times all workloads of `pairings`.
    pub(crate) fn race(&mut self, pairings: &[Pairing], rounds: Rounds) -> anyhow::Result<Speeds> {
        let mut fields: BTreeMap<Workload, BTreeSet<Entrant>> = BTreeMap::new();
        for pairing in pairings {
            let field = fields.entry(pairing.workload).or_default();
            field.extend([Entrant::Ours(pairing.ours), pairing.peer]);
        }
        let mut speeds = Speeds::new();
        let mut patience = Patience::new(rounds.patience);
        for (workload, field) in fields {
            eprintln!("{workload}, {} contestants, {} rounds", field.len(), rounds.repeat);
            // The first round is not counted.
            for round in 0..=rounds.repeat {
                let mut turns: Vec<Entrant> = field.iter().copied().collect();
                if round % 2 == 1 {
                    turns.reverse();
                }
                for entrant in turns {
                    std::thread::sleep(rounds.rest);
                    let Some(speed) = self.turn(entrant, workload, &mut patience)? else {
                        continue;
                    };
                    if round > 0 {
                        speeds.entry((workload, entrant)).or_default().push(speed);
                    }
                }
            }
        }
        Ok(speeds)
    }

    /// One timed run, done again while others disturb it and patience lasts; none when the
    /// entrant is absent.
    fn turn(
        &mut self,
        entrant: Entrant,
        workload: Workload,
        patience: &mut Patience,
    ) -> anyhow::Result<Option<f64>> {
        let Some(contestant) = self.runner(entrant)?.contestant() else { return Ok(None) };
        let failed = || format!("{entrant}, {workload}");
        let process_id: Vec<u32> = contestant.process_id().into_iter().collect();
        loop {
            patience.wait_for_calm();
            WAKE_UP.run(contestant).with_context(failed)?;
            let (watch, started) = (Watch::start(&process_id), Instant::now());
            let time = workload.run(contestant).with_context(failed)?;
            let others = watch.and_then(|watch| watch.others_share());
            if !patience.wants_again(others, started.elapsed()) {
                return Ok(Some(workload.speed(time)));
            }
        }
    }
}

/// The rows of the race; the machine's limits bound ours where its cost is known.
pub(crate) fn rows(
    pairings: &[Pairing],
    speeds: &Speeds,
    costs: &BTreeMap<Ours, Cost>,
    limits: &Limits,
) -> Vec<Row> {
    let of = |workload, entrant| speeds.get(&(workload, entrant)).map_or(&[][..], Vec::as_slice);
    let row = |pairing: &Pairing| {
        let ours = of(pairing.workload, Entrant::Ours(pairing.ours));
        let peer = of(pairing.workload, pairing.peer);
        let target = Some(pairing.target);
        let mut row = Row::compare(pairing.what(), "tokens/s", ours, peer, target);
        let limit = costs.get(&pairing.ours).map(|cost| pairing.workload.speed_limit(cost, limits));
        row.floor_fraction = row.ours.zip(limit).map(|(ours, limit)| ours / limit);
        if ours.is_empty() {
            row.with_note("this program is built without the encoder")
        } else {
            row
        }
    };
    pairings.iter().map(row).collect()
}
