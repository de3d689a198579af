//! Texts to distil from come with their neighbours. See docs/adr/0068.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ptr,
};

use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Drawn, Example, Stage, Teacher, draw::dress};

/// The kinds whose examples are texts alone, with a teacher's vectors of them.
pub(super) struct Neighbourhoods<'a> {
    kinds: BTreeMap<&'a str, Texts<'a>>,
    /// Neighbours that a drawn text brings.
    count: usize,
    seed: u64,
}

/// The texts of a kind that the teacher has read.
struct Texts<'a> {
    examples: Vec<&'a Example>,
    place: HashMap<*const Example, usize>,
    /// Unit vectors, `[dimension, texts]`.
    vectors: Tensor<2>,
}

impl<'a> Neighbourhoods<'a> {
    /// Puts the vectors of the texts that `stage` distils from on `device`: of kinds that have
    /// texts alone, and of which a step draws, and the teacher knows, more than one
    /// neighbourhood has.
    pub(super) fn new(
        data: &'a BTreeMap<String, Vec<Example>>,
        stage: &Stage,
        teacher: Option<&Teacher>,
        seed: u64,
        device: &Device,
    ) -> Self {
        let mut kinds = BTreeMap::new();
        if let Some(teacher) = teacher.filter(|_| stage.neighbours > 0) {
            for (kind, examples) in data {
                let is_alone = |example: &Example| example.positives.is_empty();
                let is_drawn = stage.batch.get(kind).is_some_and(|&count| count > stage.neighbours);
                if is_drawn && examples.iter().all(is_alone) {
                    let texts = Texts::new(examples, teacher, device);
                    if texts.examples.len() > stage.neighbours {
                        kinds.insert(kind.as_str(), texts);
                    }
                }
            }
        }
        Self { kinds, count: stage.neighbours, seed }
    }

    /// How many examples of each kind are to be drawn, so that with their neighbours they are
    /// at most as many as `batch` says.
    pub(super) fn drawn_of(&self, batch: &BTreeMap<String, usize>) -> BTreeMap<String, usize> {
        let mut batch = batch.clone();
        for (kind, count) in &mut batch {
            if self.kinds.contains_key(kind.as_str()) {
                *count /= 1 + self.count;
            }
        }
        batch
    }

    /// Adds the neighbours of what step `step` has drawn, and has each text be a query or a
    /// document by chance.
    pub(super) fn join(&self, drawn: &mut Vec<Drawn<'a>>, step: usize, case_noise: f64) {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(u64::MAX - step as u64);
        for texts in self.kinds.values() {
            let of_kind = |one: &Drawn<'_>| texts.place.get(&ptr::from_ref(one.example)).copied();
            let seeds: Vec<usize> = drawn.iter().filter_map(of_kind).collect();
            for near in texts.nearest(&seeds, self.count) {
                drawn.push(dress(texts.examples[near], 0, case_noise, &mut rng));
            }
            for one in drawn.iter_mut().filter(|one| of_kind(one).is_some()) {
                one.is_document = rng.random_bool(0.5);
            }
        }
    }
}

impl<'a> Texts<'a> {
    fn new(examples: &'a [Example], teacher: &Teacher, device: &Device) -> Self {
        let examples: Vec<&Example> =
            examples.iter().filter(|example| teacher.knows(&example.query)).collect();
        let (count, dimension) = (examples.len(), teacher.dimension());
        let mut values = vec![0.0_f32; count * dimension];
        for (at, example) in examples.iter().enumerate() {
            let row = teacher.vector(&example.query).unwrap_or_default();
            for (line, value) in row.into_iter().enumerate() {
                values[line * count + at] = value;
            }
        }
        let place = examples.iter().enumerate().map(|(at, &one)| (ptr::from_ref(one), at));
        Self {
            place: place.collect(),
            vectors: Tensor::from_data(TensorData::new(values, [dimension, count]), device),
            examples,
        }
    }

    /// The `count` nearest others of each of `seeds`, places all, each once and no seed: a text
    /// that a step has twice is so similar to itself that it learns nothing else.
    fn nearest(&self, seeds: &[usize], count: usize) -> Vec<usize> {
        let count = count.min(self.examples.len().saturating_sub(1));
        if seeds.is_empty() || count == 0 {
            return Vec::new();
        }
        let wanted: Vec<i32> = seeds.iter().map(|&seed| seed as i32).collect();
        let wanted =
            Tensor::from_data(TensorData::new(wanted, [seeds.len()]), &self.vectors.device());
        let asked = self.vectors.clone().select(1, wanted).transpose();
        let similarities = asked.matmul(self.vectors.clone()).into_data();
        let similarities = similarities.try_to_vec::<f32>().expect("floats");
        let mut found = Vec::with_capacity(seeds.len() * count);
        for (&seed, row) in seeds.iter().zip(similarities.chunks_exact(self.examples.len())) {
            let mut places: Vec<usize> = (0..row.len()).filter(|&at| at != seed).collect();
            let order = |&a: &usize, &b: &usize| row[b].total_cmp(&row[a]).then(a.cmp(&b));
            places.select_nth_unstable_by(count - 1, order);
            places.truncate(count);
            places.sort_unstable_by(order);
            found.append(&mut places);
        }
        let mut seen: HashSet<usize> = seeds.iter().copied().collect();
        found.retain(|&place| seen.insert(place));
        found
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::learn::Draw;

    const STAGE: &str = "name = \"embedding\"\nsteps = 1\nbatch = { pairs = 2, texts = 6 }\n\
                         learning_rate = 1e-4\nneighbours = 2\nweights = { similarity = 1.0 }";

    /// Twelve texts on a circle, so that neighbours are the ones beside; the last is unknown to
    /// the teacher.
    fn data() -> (BTreeMap<String, Vec<Example>>, Teacher) {
        let text = |at: usize| Example { query: at.to_string(), ..Example::default() };
        let pair = |at: usize| Example { positives: vec!["a".to_owned()], ..text(at) };
        let texts: Vec<Example> = (0..13).map(text).collect();
        let on_circle = |at: usize| {
            let angle = at as f32 * std::f32::consts::TAU / 12.0;
            (at.to_string(), vec![angle.cos(), angle.sin()])
        };
        let teacher = Teacher::of((0..12).map(on_circle));
        let pairs = (100..110).map(pair).collect();
        (BTreeMap::from([("pairs".to_owned(), pairs), ("texts".to_owned(), texts)]), teacher)
    }

    #[test]
    fn a_drawn_text_brings_those_beside_it() {
        let (data, teacher) = data();
        let stage: Stage = toml::from_str(STAGE).unwrap();
        let near = Neighbourhoods::new(&data, &stage, Some(&teacher), 3, &Device::flex());
        let batch = near.drawn_of(&stage.batch);
        assert_eq!((batch["pairs"], batch["texts"]), (2, 2));
        let mut draw = Draw::new(&data, &batch, 3);
        let mut roles = [0, 0];
        for step in 0..12 {
            let before = draw.step(step, 4, 0.0);
            let mut drawn = before.clone();
            near.join(&mut drawn, step, 0.0);
            let number = |one: &Drawn<'_>| one.example.query.parse::<usize>().unwrap();
            let seeds: BTreeSet<usize> = before.iter().map(number).filter(|&at| at < 12).collect();
            let beside = seeds.iter().flat_map(|at| [(at + 1) % 12, (at + 11) % 12]);
            let want: BTreeSet<usize> = beside.filter(|at| !seeds.contains(at)).collect();
            let got: Vec<usize> = drawn[before.len()..].iter().map(number).collect();
            assert_eq!(got.len(), want.len(), "each once");
            assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), want);
            let mut again = before.clone();
            near.join(&mut again, step, 0.0);
            assert_eq!(drawn, again, "a step is the same whenever it is made");
            for one in &drawn {
                roles[usize::from(one.is_document)] += 1;
                assert!(!one.is_document || number(one) < 12, "only texts alone are documents");
            }
        }
        assert!(roles.iter().all(|&count| count > 10), "{roles:?}");
    }

    #[test]
    fn without_neighbours_a_step_is_as_drawn() {
        let (data, teacher) = data();
        let stage = Stage { neighbours: 0, ..toml::from_str(STAGE).unwrap() };
        let near = Neighbourhoods::new(&data, &stage, Some(&teacher), 3, &Device::flex());
        assert_eq!(near.drawn_of(&stage.batch), stage.batch);
        let before = Draw::new(&data, &stage.batch, 3).step(0, 4, 0.5);
        let mut drawn = before.clone();
        near.join(&mut drawn, 0, 0.5);
        assert_eq!(drawn, before);
    }
}
