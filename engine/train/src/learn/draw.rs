//! Which examples make a step. The same seed and step give the same examples, so that a
//! resumed run goes on with the data that it would have seen.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{Decoded, Example};

/// Draws the examples of steps, each kind without repetition until all were drawn.
#[derive(Debug)]
pub struct Draw<'a> {
    kinds: Vec<Kind<'a>>,
    seed: u64,
}

#[derive(Debug)]
struct Kind<'a> {
    examples: &'a [Example],
    count: usize,
    seed: u64,
    /// The order of one round through the examples, and which.
    round: Option<(usize, Vec<usize>)>,
}

/// An example as a step sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn<'a> {
    /// The example.
    pub example: &'a Example,
    /// One of its positives.
    pub positive: Option<&'a str>,
    /// Some of its negatives.
    pub negatives: Vec<&'a str>,
    /// How its query is written.
    pub case: Case,
    /// A text alone that is read as a document.
    pub is_document: bool,
    /// A thought of the reasoning adapter's own that stands in for the written one.
    pub own_thought: Option<Decoded>,
}

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// As it is.
    Kept,
    /// In capitals.
    Upper,
    /// In lower case.
    Lower,
}

impl Case {
    /// Writes `text` so.
    pub fn apply(self, text: &str) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Kept => text.into(),
            Self::Upper => text.to_uppercase().into(),
            Self::Lower => text.to_lowercase().into(),
        }
    }
}

impl<'a> Draw<'a> {
    /// Draws `batch` examples of each kind a step.
    pub fn new(
        data: &'a BTreeMap<String, Vec<Example>>,
        batch: &BTreeMap<String, usize>,
        seed: u64,
    ) -> Self {
        let kinds = batch.iter().enumerate().filter_map(|(index, (kind, &count))| {
            let examples = data.get(kind)?.as_slice();
            let seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(index as u64 + 1));
            (count > 0 && !examples.is_empty()).then_some(Kind {
                examples,
                count,
                seed,
                round: None,
            })
        });
        Self { kinds: kinds.collect(), seed }
    }

    /// The examples of step `step`, counted from 0.
    pub fn step(&mut self, step: usize, negatives_max: usize, case_noise: f64) -> Vec<Drawn<'a>> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(step as u64 + 1);
        let mut drawn = Vec::new();
        for kind in &mut self.kinds {
            for place in step * kind.count..(step + 1) * kind.count {
                drawn.push(dress(kind.example(place), negatives_max, case_noise, &mut rng));
            }
        }
        drawn
    }
}

impl<'a> Kind<'a> {
    /// The example at `place` in the endless sequence of rounds.
    fn example(&mut self, place: usize) -> &'a Example {
        let round = place / self.examples.len();
        if self.round.as_ref().is_none_or(|(made, _)| *made != round) {
            let mut order: Vec<usize> = (0..self.examples.len()).collect();
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(round as u64);
            order.shuffle(&mut rng);
            self.round = Some((round, order));
        }
        let order = &self.round.as_ref().expect("just made").1;
        &self.examples[order[place % self.examples.len()]]
    }
}

pub(super) fn dress<'a>(
    example: &'a Example,
    negatives_max: usize,
    case_noise: f64,
    rng: &mut ChaCha8Rng,
) -> Drawn<'a> {
    let positive = (!example.positives.is_empty())
        .then(|| example.positives[rng.random_range(0..example.positives.len())].as_str());
    let mut negatives: Vec<&str> = example.negatives.iter().map(String::as_str).collect();
    negatives.shuffle(rng);
    negatives.truncate(negatives_max);
    let case = match rng.random_bool(case_noise) {
        false => Case::Kept,
        true if rng.random_bool(0.5) => Case::Upper,
        true => Case::Lower,
    };
    Drawn { example, positive, negatives, case, is_document: false, own_thought: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> BTreeMap<String, Vec<Example>> {
        let example = |index: usize| Example {
            kind: "plain".to_owned(),
            instruction: None,
            query: format!("query {index}"),
            positives: vec!["a".to_owned(), "b".to_owned()],
            negatives: (0..5).map(|n| format!("negative {n}")).collect(),
            thought: None,
            source: None,
        };
        BTreeMap::from([("plain".to_owned(), (0..10).map(example).collect())])
    }

    #[test]
    fn every_example_is_drawn_once_a_round() {
        let (data, batch) = (data(), BTreeMap::from([("plain".to_owned(), 5)]));
        let mut draw = Draw::new(&data, &batch, 3);
        let mut seen: Vec<&str> = (0..2)
            .flat_map(|step| draw.step(step, 2, 0.0))
            .map(|drawn| drawn.example.query.as_str())
            .collect();
        seen.sort_unstable();
        let mut all: Vec<&str> = data["plain"].iter().map(|one| one.query.as_str()).collect();
        all.sort_unstable();
        assert_eq!(seen, all);
    }

    #[test]
    fn a_step_is_the_same_wherever_drawing_begins() {
        let (data, batch) = (data(), BTreeMap::from([("plain".to_owned(), 4)]));
        let mut whole = Draw::new(&data, &batch, 3);
        let steps: Vec<_> = (0..9).map(|step| whole.step(step, 2, 0.5)).collect();
        let mut later = Draw::new(&data, &batch, 3);
        assert_eq!(later.step(8, 2, 0.5), steps[8]);
        assert!(steps.iter().flatten().all(|drawn| drawn.negatives.len() == 2));
        assert_ne!(steps[0], steps[5]);
    }
}
