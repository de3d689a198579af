//! What is compared with ourselves: thoughts at once, latency beside thoughts, and how far
//! the fast precisions are from f32.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, ensure};

use twn_encoder::{Activations, adapter::Interface};

use super::{
    contestant::{Adapters, Engine, Greedy, Order, Ours, Precision},
    divergence::Divergence,
    drive::Field,
    ran::Ran,
};
use crate::{
    floor::Limits,
    rows::{Row, Target},
};

const REASONED_REQUESTS: usize = 8;
const THOUGHTS: usize = 4;
const THOUGHT_TOKENS: usize = 64;

/// What the fast precisions are compared with.
const REFERENCE: Ours = Ours {
    precision: Precision::Reference,
    activations: Activations::Auto,
    adapters: Adapters::None,
};

/// Questions whose greedy thoughts are compared.
const PROMPTS: [&str; 10] = [
    "What is the capital of France?",
    "Why is the sky blue during the day and red in the evening?",
    "A train leaves at nine and arrives at half past eleven. How long does it travel?",
    "Which is heavier, a kilogram of feathers or a kilogram of lead?",
    "How does a heat exchanger transfer heat between two fluids?",
    "Name three uses of copper and say why copper suits them.",
    "If all roses are flowers and some flowers fade quickly, do some roses fade quickly?",
    "What should I check first when a bicycle's brakes squeak?",
    "Explain what an index is good for in a database.",
    "How many legs do three spiders and two dogs have together?",
];

/// One row of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Check {
    kind: Kind,
    ours: Ours,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// By adapters that meet so.
    Concurrency(Interface),
    Tail,
    MeanCosine,
    LeastCosine,
    Thoughts,
}

const KINDS: [Kind; 6] = [
    Kind::Concurrency(Interface::Cache),
    Kind::Concurrency(Interface::Reencode),
    Kind::Tail,
    Kind::MeanCosine,
    Kind::LeastCosine,
    Kind::Thoughts,
];

/// How much is done for each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effort {
    pub(crate) repeat: usize,
    /// Direct requests in each of the repeated runs.
    pub(crate) direct_requests: usize,
    /// Embedded at each precision; without any, cosines are left out.
    pub(crate) texts: Vec<String>,
}

impl Check {
    /// Every row, in the order of the report.
    pub(crate) fn all() -> Vec<Self> {
        let served = [Precision::FourBit, Precision::EightBit].map(Ours::plain);
        let mut checks = Vec::new();
        for kind in KINDS {
            checks.extend(served.map(|ours| Self { kind, ours }));
            if matches!(kind, Kind::MeanCosine | Kind::LeastCosine | Kind::Thoughts) {
                let int16 = served.map(|ours| Ours { activations: Activations::Int16, ..ours });
                checks.extend(int16.map(|ours| Self { kind, ours }));
            }
        }
        checks
    }

    /// The row's name.
    pub(crate) fn what(&self) -> String {
        let ours = self.ours;
        match self.kind {
            Kind::Concurrency(interface) => {
                let interface = interface.name();
                format!(
                    "{REASONED_REQUESTS} reasoned requests at once vs in turn ({interface}): {ours}"
                )
            }
            Kind::Tail => {
                format!("p99 of direct requests beside {THOUGHTS} thoughts vs alone: {ours}")
            }
            Kind::MeanCosine => format!("mean cosine of embeddings: {ours} vs f32"),
            Kind::LeastCosine => format!("least cosine of embeddings: {ours} vs f32"),
            Kind::Thoughts => {
                format!("same greedy thoughts of {THOUGHT_TOKENS} tokens: {ours} vs f32")
            }
        }
    }

    fn unit(self) -> &'static str {
        match self.kind {
            Kind::Concurrency(_) => "requests/s",
            Kind::Tail => "ms",
            Kind::MeanCosine | Kind::LeastCosine => "cosine",
            Kind::Thoughts => "prompts",
        }
    }

    fn target(self) -> Option<Target> {
        match (self.kind, self.ours.precision) {
            (Kind::Concurrency(_), _) => Some(Target::at_least(2.0)),
            (Kind::Tail, _) => Some(Target::at_most(3.0)),
            (Kind::MeanCosine, Precision::EightBit) => Some(Target::at_least(0.999)),
            (Kind::LeastCosine, Precision::EightBit) => Some(Target::at_least(0.995)),
            (Kind::MeanCosine | Kind::LeastCosine, _) => None,
            (Kind::Thoughts, _) => Some(Target::at_least(0.8)),
        }
    }

    fn row(self, ours: &[f64], peer: &[f64]) -> Row {
        Row::compare(self.what(), self.unit(), ours, peer, self.target())
    }
}

/// Measures `checks` one after another.
pub(crate) fn measure(
    checks: &[Check],
    field: &mut Field<'_>,
    effort: &Effort,
    limits: &Limits,
) -> anyhow::Result<Vec<Row>> {
    let mut judge = Judge { field, effort, limits, cosines: BTreeMap::new(), reference: None };
    checks.iter().map(|check| judge.row(*check).with_context(|| check.what())).collect()
}

struct Judge<'a, 'b> {
    field: &'a mut Field<'b>,
    effort: &'a Effort,
    limits: &'a Limits,
    cosines: BTreeMap<Ours, Vec<f64>>,
    /// f32 is slow: it embeds and thinks once.
    reference: Option<Answers>,
}

/// What one of ours makes of the texts and of the prompts.
struct Answers {
    embeddings: Vec<Vec<f32>>,
    thoughts: Vec<Greedy>,
}

impl Judge<'_, '_> {
    fn row(&mut self, check: Check) -> anyhow::Result<Row> {
        let ours = check.ours;
        if self.field.engine(ours)?.is_none() {
            let row = check.row(&[], &[]);
            return Ok(row.with_note("this program is built without the encoder"));
        }
        match check.kind {
            Kind::Concurrency(interface) => {
                let repeat = self.effort.repeat;
                let engine = self.engine(ours)?;
                let Concurrency { at_once, in_turn, ran } = concurrency(engine, interface, repeat)?;
                let cost = engine.cost();
                let requests = REASONED_REQUESTS as f64;
                let limit = |together| requests / ran.least_seconds(together, &cost, self.limits);
                let (together, alone) = (limit(requests), limit(1.0));
                let note = format!(
                    "thoughts of {:.1} tokens; the limits alone: {together:.1} and {alone:.1}, {:.2}",
                    ran.thought as f64 / requests,
                    together / alone
                );
                let row = check.row(&at_once, &in_turn).with_note(note);
                Ok(Row { floor_fraction: row.ours.map(|rate| rate / together), ..row })
            }
            Kind::Tail => {
                let effort = self.effort;
                let (beside, alone) = latencies(self.engine(ours)?, effort)?;
                let samples = beside.len();
                let (beside, alone) = (p99_ms(beside)?, p99_ms(alone)?);
                Ok(Row { samples, ..check.row(&[beside], &[alone]) })
            }
            Kind::MeanCosine | Kind::LeastCosine => self.cosine_row(check),
            Kind::Thoughts => self.thoughts_row(check),
        }
    }

    fn engine(&mut self, ours: Ours) -> anyhow::Result<&mut dyn Engine> {
        self.field.engine(ours)?.with_context(|| format!("no {ours}"))
    }

    fn reference(&mut self) -> anyhow::Result<&Answers> {
        if self.reference.is_none() {
            let texts = &self.effort.texts;
            let engine = self.engine(REFERENCE)?;
            let embeddings = engine.embed(texts)?;
            let thoughts = engine.think_greedily(&PROMPTS.map(str::to_owned), THOUGHT_TOKENS)?;
            self.reference = Some(Answers { embeddings, thoughts });
        }
        self.reference.as_ref().context("was just made")
    }

    fn cosine_row(&mut self, check: Check) -> anyhow::Result<Row> {
        let texts = &self.effort.texts;
        if texts.is_empty() {
            return Ok(check.row(&[], &[]).with_note("no texts were given, see --texts"));
        }
        if !self.cosines.contains_key(&check.ours) {
            let got = self.engine(check.ours)?.embed(texts)?;
            let cosines = cosines(&got, &self.reference()?.embeddings, texts.len())?;
            self.cosines.insert(check.ours, cosines);
        }
        let cosines = &self.cosines[&check.ours];
        let figure = match check.kind {
            Kind::MeanCosine => cosines.iter().sum::<f64>() / cosines.len() as f64,
            _ => cosines.iter().copied().fold(f64::INFINITY, f64::min),
        };
        Ok(Row { samples: cosines.len(), ..check.row(&[figure], &[1.0]) })
    }

    /// Counts the same thoughts, and notes by how little the others part.
    fn thoughts_row(&mut self, check: Check) -> anyhow::Result<Row> {
        let prompts = PROMPTS.map(str::to_owned);
        let got = self.engine(check.ours)?.think_greedily(&prompts, THOUGHT_TOKENS)?;
        let want = self.reference()?.thoughts.clone();
        let same = count_same(&got, &want)? as f64;
        let mut divergence = Divergence::default();
        for (prompt, thought) in PROMPTS.iter().zip(&want) {
            let reference = self.engine(REFERENCE)?.logits(prompt, &thought.tokens)?;
            let ours = self.engine(check.ours)?.logits(prompt, &thought.tokens)?;
            divergence.add(&reference, &ours)?;
        }
        let row = check.row(&[same], &[PROMPTS.len() as f64]).with_note(divergence.to_string());
        Ok(Row { samples: PROMPTS.len(), ..row })
    }
}

/// Requests a second at once and in turn, and what they ran.
#[derive(Default)]
struct Concurrency {
    at_once: Vec<f64>,
    in_turn: Vec<f64>,
    ran: Ran,
}

/// Measures both, alternating; the first of each is not counted.
fn concurrency(
    engine: &mut dyn Engine,
    interface: Interface,
    repeat: usize,
) -> anyhow::Result<Concurrency> {
    let Concurrency { mut at_once, mut in_turn, mut ran } = Concurrency::default();
    for round in 0..=repeat {
        for (order, rates) in [(Order::Together, &mut at_once), (Order::InTurn, &mut in_turn)] {
            let answered = engine.reasoned(interface, REASONED_REQUESTS, order)?;
            if round > 0 {
                rates.push(REASONED_REQUESTS as f64 / answered.time.as_secs_f64());
            }
            // The same texts each time.
            ran = answered.ran;
        }
    }
    Ok(Concurrency { at_once, in_turn, ran })
}

/// Latencies beside thoughts and alone, alternating, all runs together.
fn latencies(
    engine: &mut dyn Engine,
    effort: &Effort,
) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
    let (mut beside, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..effort.repeat {
        alone.extend(engine.direct_latencies(effort.direct_requests, 0)?);
        beside.extend(engine.direct_latencies(effort.direct_requests, THOUGHTS)?);
    }
    Ok((beside, alone))
}

/// The 99th percentile by nearest rank: the least that 99 % do not exceed.
fn p99_ms(mut latencies: Vec<Duration>) -> anyhow::Result<f64> {
    latencies.sort_unstable();
    let rank = (latencies.len() * 99).div_ceil(100);
    let latency = latencies.get(rank.wrapping_sub(1)).context("no request was answered")?;
    Ok(latency.as_secs_f64() * 1e3)
}

/// The cosine of each pair.
fn cosines(got: &[Vec<f32>], want: &[Vec<f32>], texts: usize) -> anyhow::Result<Vec<f64>> {
    ensure!(
        got.len() == texts && want.len() == texts,
        "{} and {} embeddings of {texts} texts",
        got.len(),
        want.len()
    );
    got.iter().zip(want).map(|(got, want)| cosine(got, want)).collect()
}

fn cosine(left: &[f32], right: &[f32]) -> anyhow::Result<f64> {
    ensure!(left.len() == right.len(), "{} and {} dimensions", left.len(), right.len());
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let cosine = dot(left, right) / (dot(left, left) * dot(right, right)).sqrt();
    ensure!(cosine.is_finite(), "an embedding is zero or not finite");
    Ok(cosine)
}

fn count_same(got: &[Greedy], want: &[Greedy]) -> anyhow::Result<usize> {
    ensure!(
        got.len() == want.len() && got.len() == PROMPTS.len(),
        "{} and {} thoughts about {} prompts",
        got.len(),
        want.len(),
        PROMPTS.len()
    );
    Ok(got.iter().zip(want).filter(|(got, want)| got.text == want.text).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile_is_the_nearest_rank() {
        let ms = |count: u64| (1..=count).rev().map(Duration::from_millis).collect::<Vec<_>>();
        assert_eq!(p99_ms(ms(100)).unwrap(), 99.0);
        assert_eq!(p99_ms(ms(200)).unwrap(), 198.0);
        assert_eq!(p99_ms(ms(10)).unwrap(), 10.0);
        assert_eq!(p99_ms(ms(1)).unwrap(), 1.0);
        assert!(p99_ms(Vec::new()).is_err());
    }

    #[test]
    fn cosines_do_not_depend_on_length() {
        let check = |left: [f32; 2], right: [f32; 2], want: f64| {
            assert!((cosine(&left, &right).unwrap() - want).abs() < 1e-12);
        };
        check([1.0, 0.0], [5.0, 0.0], 1.0);
        check([3.0, 4.0], [4.0, 3.0], 24.0 / 25.0);
        check([1.0, 0.0], [0.0, 2.0], 0.0);
        check([1.0, 1.0], [-1.0, -1.0], -1.0);
    }

    #[test]
    fn unusable_embeddings_are_errors() {
        assert!(cosine(&[0.0, 0.0], &[1.0, 0.0]).is_err());
        assert!(cosine(&[f32::NAN, 0.0], &[1.0, 0.0]).is_err());
        assert!(cosine(&[1.0], &[1.0, 0.0]).is_err());
        assert!(cosines(&[vec![1.0]], &[], 1).is_err());
    }
}
