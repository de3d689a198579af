//! A decoder as plain numbers: what the packed one is made of and compared with, in f64.

use super::super::*;
use crate::{
    LowRankPair, Matrix, Source,
    fixture::{Random, q4_1_rows},
};

/// A decoder's weights as plain numbers, for the packed decoder and for the reference.
pub(super) struct Plain {
    shape: DecoderShape,
    pub(super) embedding: Linear,
    layers: Vec<[Linear; 7]>,
    norms: Vec<Vec<f32>>,
}

/// A linear in f32, with the bytes it comes from when it is stored in 4 bits.
pub(super) struct Linear {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
    bytes: Option<Vec<u8>>,
}

impl Linear {
    pub(super) fn random(random: &mut Random, rows: usize, columns: usize, is_four: bool) -> Self {
        if is_four {
            let (bytes, values) = q4_1_rows(random, rows, columns);
            return Self { rows, columns, values, bytes: Some(bytes) };
        }
        let factor = 1.5 / (columns as f32).sqrt();
        let values = random.values(rows * columns).iter().map(|v| v * factor).collect();
        Self { rows, columns, values, bytes: None }
    }

    pub(super) fn source(&self) -> Source<'_> {
        match &self.bytes {
            Some(bytes) => {
                let row_bytes = self.columns / 32 * 20;
                Source::blocks(crate::BlockFormat::Q4_1, self.rows, self.columns, move |row| {
                    &bytes[row * row_bytes..(row + 1) * row_bytes]
                })
            }
            None => Source::dense(self.rows, self.columns, self.values.clone()),
        }
    }

    pub(super) fn apply(&self, input: &[f64]) -> Vec<f64> {
        let dot = |row: &[f32]| row.iter().zip(input).map(|(w, x)| f64::from(*w) * x).sum();
        self.values.chunks_exact(self.columns).map(dot).collect()
    }
}

impl Plain {
    pub(super) fn random(shape: &DecoderShape, is_four: bool) -> Self {
        let mut random = Random::new(11);
        let (hidden, inner) = (shape.hidden, shape.intermediate);
        let (queries, keys) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        let sizes = [
            (queries, hidden),
            (keys, hidden),
            (keys, hidden),
            (hidden, queries),
            (inner, hidden),
            (inner, hidden),
            (hidden, inner),
        ];
        let layers = (0..shape.layers)
            .map(|_| {
                sizes.map(|(rows, columns)| Linear::random(&mut random, rows, columns, is_four))
            })
            .collect();
        let norm = |random: &mut Random| -> Vec<f32> {
            random.values(hidden).iter().map(|v| 1.0 + 0.3 * v).collect()
        };
        Self {
            shape: shape.clone(),
            embedding: Linear::random(&mut random, shape.vocab, hidden, false),
            layers,
            norms: (0..2 * shape.layers + 1).map(|_| norm(&mut random)).collect(),
        }
    }

    /// The first so many layers, with the same final norm.
    pub(super) fn first(mut self, layers: usize) -> Self {
        self.layers.truncate(layers);
        self.shape.layers = layers;
        self.norms.drain(2 * layers..self.norms.len() - 1);
        self
    }

    /// Normalises rows of the residual stream as the end of a pass does.
    pub(super) fn finish(&self, stream: &[f32]) -> Vec<f64> {
        let scales = self.norms.last().expect("a final norm");
        let norm = |row: &[f32]| -> Vec<f64> {
            let squares = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            let size = (squares / row.len() as f64 + f64::from(self.shape.norm_eps)).sqrt();
            row.iter().zip(scales).map(|(v, s)| f64::from(*v) / size * f64::from(*s)).collect()
        };
        stream.chunks_exact(scales.len()).flat_map(norm).collect()
    }

    pub(super) fn decoder(&self, precision: Precision, options: DecoderOptions) -> Decoder {
        let pack = |parts: &[&Linear]| {
            let sources: Vec<_> = parts.iter().map(|part| part.source()).collect();
            Matrix::pack(&sources, precision).expect("packs")
        };
        let layers = self.layers.iter().zip(self.norms.chunks(2));
        let weights = DecoderWeights {
            embedding: pack(&[&self.embedding]),
            head: None,
            layers: layers
                .map(|([q, k, v, o, gate, up, down], norms)| LayerWeights {
                    attention_norm: norms[0].clone(),
                    qkv: pack(&[q, k, v]),
                    output: pack(&[o]),
                    mlp_norm: norms[1].clone(),
                    gate_up: pack(&[gate, up]),
                    down: pack(&[down]),
                })
                .collect(),
            norm: self.norms.last().expect("a final norm").clone(),
        };
        Decoder::new(self.shape.clone(), weights, options).expect("fits")
    }

    /// Runs tokens from the start, in f64: hidden states after the final norm.
    pub(super) fn reference(&self, tokens: &[u32], adapter: Option<&PlainAdapter>) -> Vec<f64> {
        let shape = &self.shape;
        let (hidden, dim) = (shape.hidden, shape.head_dim);
        let mut stream: Vec<Vec<f64>> = tokens
            .iter()
            .map(|&t| {
                let start = t as usize * hidden;
                self.embedding.values[start..start + hidden].iter().map(|&v| v.into()).collect()
            })
            .collect();
        let norm = |row: &[f64], scales: &[f32]| -> Vec<f64> {
            let mean = row.iter().map(|v| v * v).sum::<f64>() / row.len() as f64;
            let factor = 1.0 / (mean + f64::from(shape.norm_eps)).sqrt();
            row.iter().zip(scales).map(|(v, s)| v * factor * f64::from(*s)).collect()
        };
        let rotate = |row: &mut [f64], position: usize| {
            for head in row.chunks_exact_mut(dim) {
                for i in 0..dim / 2 {
                    let power = -(2.0 * i as f64) / dim as f64;
                    let angle = position as f64 * f64::from(shape.rope_theta).powf(power);
                    let (a, b) = (head[i], head[i + dim / 2]);
                    head[i] = a * angle.cos() - b * angle.sin();
                    head[i + dim / 2] = b * angle.cos() + a * angle.sin();
                }
            }
        };
        for (index, linears) in self.layers.iter().enumerate() {
            let apply = |which: usize, row: &[f64]| {
                let mut out = linears[which].apply(row);
                if let Some(adapter) = adapter {
                    adapter.add(index, which, row, &mut out);
                }
                out
            };
            let normed: Vec<_> =
                stream.iter().map(|row| norm(row, &self.norms[2 * index])).collect();
            let mut rows: Vec<[Vec<f64>; 3]> =
                normed.iter().map(|row| [0, 1, 2].map(|which| apply(which, row))).collect();
            for (position, [q, k, _]) in rows.iter_mut().enumerate() {
                rotate(q, position);
                rotate(k, position);
            }
            for position in 0..tokens.len() {
                let mut mixed = vec![0.0; shape.heads * dim];
                for head in 0..shape.heads {
                    let kv = head / (shape.heads / shape.kv_heads) * dim;
                    let q = &rows[position][0][head * dim..(head + 1) * dim];
                    let scores: Vec<f64> = rows[..=position]
                        .iter()
                        .map(|[_, k, _]| {
                            let dot: f64 = q.iter().zip(&k[kv..]).map(|(q, k)| q * k).sum();
                            (dot / (dim as f64).sqrt()).exp()
                        })
                        .collect();
                    let sum: f64 = scores.iter().sum();
                    for (score, [_, _, v]) in scores.iter().zip(&rows) {
                        for i in 0..dim {
                            mixed[head * dim + i] += score / sum * v[kv + i];
                        }
                    }
                }
                let out = apply(3, &mixed);
                stream[position].iter_mut().zip(out).for_each(|(v, o)| *v += o);
            }
            for row in &mut stream {
                let normed = norm(row, &self.norms[2 * index + 1]);
                let (gate, up) = (apply(4, &normed), apply(5, &normed));
                let gated: Vec<f64> =
                    gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
                row.iter_mut().zip(apply(6, &gated)).for_each(|(v, o)| *v += o);
            }
        }
        let last = self.norms.last().expect("a final norm");
        stream.iter().flat_map(|row| norm(row, last)).collect()
    }
}

/// `A` and `B` of one linear.
pub(super) type Factors = Option<(Vec<f32>, Vec<f32>)>;

/// An adapter of one rank on some of the linears.
pub(super) struct PlainAdapter {
    rank: usize,
    scale: f32,
    /// For each layer and linear `A` and `B`.
    pairs: Vec<[Factors; 7]>,
}

impl PlainAdapter {
    pub(super) fn random(plain: &Plain, rank: usize) -> Self {
        let mut random = Random::new(5);
        let pairs = plain.layers.iter().enumerate().map(|(layer, linears)| {
            std::array::from_fn(|which| {
                // Each layer misses another linear.
                let linear = (which != layer % 7).then(|| &linears[which])?;
                let a = random.values(rank * linear.columns);
                Some((a, random.values(rank * linear.rows)))
            })
        });
        Self { rank, scale: 0.05, pairs: pairs.collect() }
    }

    fn add(&self, layer: usize, which: usize, row: &[f64], out: &mut [f64]) {
        let Some((a, b)) = &self.pairs[layer][which] else { return };
        let u: Vec<f64> = a
            .chunks_exact(row.len())
            .map(|a| a.iter().zip(row).map(|(a, x)| f64::from(*a) * x).sum())
            .collect();
        for (out, b) in out.iter_mut().zip(b.chunks_exact(self.rank)) {
            let sum: f64 = b.iter().zip(&u).map(|(b, u)| f64::from(*b) * u).sum();
            *out += f64::from(self.scale) * sum;
        }
    }

    fn layer<'a>(&self, factors: &'a [Factors; 7]) -> AdapterLayer<'a> {
        let [query, key, value, output, gate, up, down] = factors.each_ref().map(|factors| {
            let (rank, scale) = (self.rank, self.scale);
            factors.as_ref().map(|(a, b)| LowRankPair { a, b, rank, scale })
        });
        AdapterLayer { qkv: [query, key, value], output, gate_up: [gate, up], down }
    }

    pub(super) fn pack(&self, decoder: &Decoder) -> Adapter {
        let layers: Vec<AdapterLayer<'_>> =
            self.pairs.iter().map(|factors| self.layer(factors)).collect();
        decoder.pack_adapter(&layers).expect("fits")
    }
}
