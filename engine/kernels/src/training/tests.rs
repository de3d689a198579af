//! The pass and its way back against a plain decoder in f64 and its differences.

use std::sync::Arc;

use super::*;
use crate::{DecoderShape, Isa, fixture::Random};

const POSITIONS: usize = 64;

fn shape(heads: usize, kv_heads: usize, head_dim: usize) -> DecoderShape {
    DecoderShape {
        vocab: 1,
        hidden: 20,
        intermediate: 52,
        layers: 2,
        heads,
        kv_heads,
        head_dim,
        rope_theta: 100.0,
        norm_eps: 1e-5,
    }
}

/// Weights and factors of a small decoder.
struct Model {
    shape: DecoderShape,
    layers: Vec<[Vec<f32>; 7]>,
    norm: Vec<f32>,
    layout: Arc<FactorLayout>,
    factors: Vec<f32>,
}

impl Model {
    fn random(shape: DecoderShape, ranks: [usize; TARGETS], seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (queries, keys) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        let (hidden, inner) = (shape.hidden, shape.intermediate);
        let mut matrix = |outputs: usize, inputs: usize| -> Vec<f32> {
            let scale = 2.0 / (inputs as f32).sqrt();
            random.values(outputs * inputs).into_iter().map(|value| value * scale).collect()
        };
        let layers = (0..shape.layers)
            .map(|_| {
                [
                    matrix(1, hidden),
                    matrix(queries + 2 * keys, hidden),
                    matrix(hidden, queries),
                    matrix(1, hidden),
                    matrix(inner, hidden),
                    matrix(inner, hidden),
                    matrix(hidden, inner),
                ]
            })
            .collect();
        let norm = matrix(1, hidden);
        // The second layer leaves every other addition out.
        let layers_of_factors: Vec<[Option<FactorShape>; TARGETS]> = (0..shape.layers)
            .map(|layer| {
                std::array::from_fn(|target| {
                    let is_there = ranks[target] > 0 && (layer == 0 || target % 2 == 0);
                    is_there.then_some(FactorShape { rank: ranks[target], scale: 0.5 })
                })
            })
            .collect();
        let layout = Arc::new(FactorLayout::new(&shape, &layers_of_factors));
        let factors = random.values(layout.values());
        Self { shape, layers, norm, layout, factors }
    }

    fn weights(&self) -> TrainingWeights<'_> {
        let layers = self
            .layers
            .iter()
            .map(|parts| {
                let [attention_norm, qkv, output, mlp_norm, gate, up, down] =
                    parts.each_ref().map(Vec::as_slice);
                TrainingLayer { attention_norm, qkv, output, mlp_norm, gate, up, down }
            })
            .collect();
        TrainingWeights { layers, norm: &self.norm }
    }

    /// The final hidden states of one sequence in f64, the plain way.
    fn reference(&self, rows: &[Vec<f64>], factors: &[f64]) -> Vec<Vec<f64>> {
        let shape = &self.shape;
        let (dim, group) = (shape.head_dim, shape.heads / shape.kv_heads);
        let (queries, keys) = (shape.heads * dim, shape.kv_heads * dim);
        let mut stream = rows.to_vec();
        for (index, parts) in self.layers.iter().enumerate() {
            let add = |target: usize, input: &[f64], output: &mut [f64]| {
                let linears = [
                    factors::Linear::Query,
                    factors::Linear::Key,
                    factors::Linear::Value,
                    factors::Linear::Output,
                    factors::Linear::Gate,
                    factors::Linear::Up,
                    factors::Linear::Down,
                ];
                let Some(place) = self.layout.place(index, linears[target]) else { return };
                for r in 0..place.rank {
                    let a = &factors[place.a + r * input.len()..][..input.len()];
                    let low = f64::from(place.scale) * dot(a, input);
                    for (n, value) in output.iter_mut().enumerate() {
                        *value += low * factors[place.b + n * place.rank + r];
                    }
                }
            };
            let linear = |weight: &[f32], input: &[f64]| -> Vec<f64> {
                let rows = weight.chunks_exact(input.len());
                rows.map(|row| row.iter().zip(input).map(|(w, x)| f64::from(*w) * x).sum())
                    .collect()
            };
            let mut qkv = Vec::new();
            for (position, row) in stream.iter().enumerate() {
                let normed = norm(row, &parts[0]);
                let mut out = linear(&parts[1], &normed);
                let (query, rest) = out.split_at_mut(queries);
                let (key, value) = rest.split_at_mut(keys);
                add(0, &normed, query);
                add(1, &normed, key);
                add(2, &normed, value);
                for head in query.chunks_exact_mut(dim).chain(key.chunks_exact_mut(dim)) {
                    for i in 0..dim / 2 {
                        let frequency =
                            f64::from(shape.rope_theta).powf(-2.0 * i as f64 / dim as f64);
                        let (sin, cos) = (position as f64 * frequency).sin_cos();
                        let (low, high) = (head[i], head[i + dim / 2]);
                        head[i] = low * cos - high * sin;
                        head[i + dim / 2] = high * cos + low * sin;
                    }
                }
                qkv.push(out);
            }
            for (row, stream) in stream.iter_mut().enumerate() {
                let mut mixed = vec![0.0; queries];
                for head in 0..shape.heads {
                    let part = |at: usize, column: usize| &qkv[at][column..column + dim];
                    let query = part(row, head * dim);
                    let kv = head / group * dim;
                    let scores: Vec<f64> = (0..=row)
                        .map(|at| dot(query, part(at, queries + kv)) / (dim as f64).sqrt())
                        .collect();
                    let total: f64 = scores.iter().map(|score| score.exp()).sum();
                    for (at, score) in scores.iter().enumerate() {
                        let value = part(at, queries + keys + kv);
                        for (sum, value) in mixed[head * dim..].iter_mut().zip(value) {
                            *sum += score.exp() / total * value;
                        }
                    }
                }
                let mut out = linear(&parts[2], &mixed);
                add(3, &mixed, &mut out);
                let middle: Vec<f64> = stream.iter().zip(&out).map(|(a, b)| a + b).collect();
                let normed = norm(&middle, &parts[3]);
                let mut gate = linear(&parts[4], &normed);
                add(4, &normed, &mut gate);
                let mut up = linear(&parts[5], &normed);
                add(5, &normed, &mut up);
                let gated: Vec<f64> =
                    gate.iter().zip(&up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
                let mut out = linear(&parts[6], &gated);
                add(6, &gated, &mut out);
                *stream = middle.iter().zip(&out).map(|(a, b)| a + b).collect();
            }
        }
        stream.iter().map(|row| norm(row, &self.norm)).collect()
    }
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

fn norm(row: &[f64], scales: &[f32]) -> Vec<f64> {
    let mean = dot(row, row) / row.len() as f64 + 1e-5;
    row.iter().zip(scales).map(|(value, scale)| value / mean.sqrt() * f64::from(*scale)).collect()
}

/// A forest, and its sequences as rows of it.
fn forest() -> (Arc<Forest>, Vec<Vec<usize>>) {
    let segment = |parent, len| Segment { parent, len };
    let parts = [
        segment(None, 3),
        segment(Some(0), 9),
        segment(Some(0), 2),
        segment(Some(2), 17),
        segment(Some(2), 1),
        segment(None, 11),
    ];
    let forest = Arc::new(Forest::new(&parts));
    let leaves = [1, 3, 4, 5];
    let sequences = leaves.map(|leaf| forest.segments()[leaf].seen().collect()).into();
    (forest, sequences)
}

fn models() -> Vec<Model> {
    vec![
        Model::random(shape(4, 2, 6), [3, 2, 5, 4, 3, 2, 4], 1),
        Model::random(shape(3, 3, 50), [0, 0, 0, 0, 0, 0, 0], 2),
        Model::random(shape(3, 1, 16), [17, 0, 0, 2, 0, 1, 0], 3),
    ]
}

fn decoder(model: &Model, threads: usize, isa: Isa) -> TrainingDecoder {
    TrainingDecoder::new(model.shape.clone(), &model.weights(), POSITIONS, threads, isa)
        .expect("threads")
}

#[test]
fn hidden_states_are_those_of_whole_sequences() {
    let (forest, sequences) = forest();
    for model in models() {
        let rows = Random::new(9).values(forest.rows() * model.shape.hidden);
        let wide: Vec<Vec<f64>> = rows
            .chunks(model.shape.hidden)
            .map(|row| row.iter().copied().map(f64::from).collect())
            .collect();
        let factors: Vec<f64> = model.factors.iter().copied().map(f64::from).collect();
        for isa in Isa::available() {
            let decoder = decoder(&model, 2, isa);
            let given = Factors { layout: model.layout.clone(), values: &model.factors };
            let (hidden, tape) = decoder.forward(&model.weights(), &forest, &rows, &given, false);
            assert!(tape.is_none());
            for sequence in &sequences {
                let rows: Vec<Vec<f64>> = sequence.iter().map(|&row| wide[row].clone()).collect();
                let want = model.reference(&rows, &factors);
                for (&row, want) in sequence.iter().zip(&want) {
                    let got = &hidden[row * model.shape.hidden..][..model.shape.hidden];
                    for (got, want) in got.iter().zip(want) {
                        let off = (f64::from(*got) - want).abs();
                        assert!(off < 1e-4, "{} row {row}: {got}, not {want}", isa.name());
                    }
                }
            }
        }
    }
}

#[test]
fn slopes_are_those_of_differences() {
    let (forest, sequences) = forest();
    for model in models() {
        let hidden = model.shape.hidden;
        let mut random = Random::new(5);
        let rows = random.values(forest.rows() * hidden);
        let slopes = random.values(forest.rows() * hidden);
        // Every row once, though several sequences see it.
        let total = |rows: &[f64], factors: &[f64]| -> f64 {
            let mut found = vec![0.0; rows.len()];
            for sequence in &sequences {
                let own: Vec<Vec<f64>> = sequence
                    .iter()
                    .map(|&row| rows[row * hidden..(row + 1) * hidden].to_vec())
                    .collect();
                for (&row, states) in sequence.iter().zip(model.reference(&own, factors)) {
                    found[row * hidden..(row + 1) * hidden].copy_from_slice(&states);
                }
            }
            found.iter().zip(&slopes).map(|(value, &slope)| value * f64::from(slope)).sum()
        };
        let wide = |values: &[f32]| -> Vec<f64> { values.iter().copied().map(f64::from).collect() };
        let (wide_rows, wide_factors) = (wide(&rows), wide(&model.factors));
        let difference = |values: &[f64], at: usize, total: &dyn Fn(&[f64]) -> f64| {
            let mut moved = values.to_vec();
            moved[at] += 1e-5;
            let above = total(&moved);
            moved[at] -= 2e-5;
            (above - total(&moved)) / 2e-5
        };
        let places = |count: usize| (0..count).step_by((count / 60).max(1)).collect::<Vec<_>>();
        let of_rows: Vec<(usize, f64)> = places(rows.len())
            .into_iter()
            .map(|at| (at, difference(&wide_rows, at, &|rows| total(rows, &wide_factors))))
            .collect();
        let of_factors: Vec<(usize, f64)> = places(model.factors.len())
            .into_iter()
            .map(|at| (at, difference(&wide_factors, at, &|factors| total(&wide_rows, factors))))
            .collect();
        for isa in Isa::available() {
            let decoder = decoder(&model, 2, isa);
            let given = Factors { layout: model.layout.clone(), values: &model.factors };
            let (_, tape) = decoder.forward(&model.weights(), &forest, &rows, &given, true);
            let tape = tape.expect("recorded");
            let (by_rows, by_factors) = decoder.backward(&model.weights(), &tape, &given, &slopes);
            for (what, found, wanted) in
                [("row", &by_rows, &of_rows), ("factor", &by_factors, &of_factors)]
            {
                for &(at, want) in wanted {
                    let off = (f64::from(found[at]) - want).abs();
                    let near = 2e-4 * want.abs().max(1.0);
                    assert!(off < near, "{} {what} {at}: {}, not {want}", isa.name(), found[at]);
                }
            }
        }
    }
}

#[test]
fn threads_and_recording_change_no_bit() {
    let (forest, _) = forest();
    for model in models() {
        let mut random = Random::new(7);
        let rows = random.values(forest.rows() * model.shape.hidden);
        let slopes = random.values(rows.len());
        let results = [1, 2, 5].map(|threads| {
            let decoder = decoder(&model, threads, Isa::best());
            let given = Factors { layout: model.layout.clone(), values: &model.factors };
            let (unrecorded, _) = decoder.forward(&model.weights(), &forest, &rows, &given, false);
            let (hidden, tape) = decoder.forward(&model.weights(), &forest, &rows, &given, true);
            assert_eq!(unrecorded, hidden);
            let tape = tape.expect("recorded");
            (hidden, decoder.backward(&model.weights(), &tape, &given, &slopes))
        });
        assert!(results[0] == results[1] && results[0] == results[2]);
    }
}
