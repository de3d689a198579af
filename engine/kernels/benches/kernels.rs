//! Every kernel by itself on every instruction set that the machine has, and a whole small
//! decoder: `cargo bench -p twn-kernels`, or with `-- --test` to run each once.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use twn_kernels::{
    ActivationBits, Decoder, DecoderOptions, DecoderShape, DecoderWeights, Isa, LayerWeights,
    Matrix, Precision, Source, Span, Team, bench::Bench,
};

const HIDDEN: usize = 576;
const POSITIONS: usize = 512;
const FORMATS: [(&str, Precision); 3] =
    [("four", Precision::Four), ("eight", Precision::Eight), ("dense", Precision::Dense)];

fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 0.37).sin() * 0.05).collect()
}

fn matrix(outputs: &[usize], columns: usize, precision: Precision) -> Matrix {
    let part = |&rows: &usize| Source::dense(rows, columns, values(rows * columns));
    let parts: Vec<_> = outputs.iter().map(part).collect();
    Matrix::pack(&parts, precision).expect("sizes fit")
}

/// Products of one thread, with the quantising of their inputs.
fn tiles(criterion: &mut Criterion) {
    let team = Team::new(1).expect("no thread is started");
    for (name, precision) in FORMATS {
        let weights = matrix(&[HIDDEN], HIDDEN, precision);
        for isa in Isa::available() {
            for (width, bits) in [1, 8].into_iter().flat_map(|width| {
                [(width, ActivationBits::Eight), (width, ActivationBits::Sixteen)]
            }) {
                let rows = values(width * HIDDEN);
                let name = format!("tile/{name}/{width}/{bits:?}/{}", isa.name());
                criterion.bench_function(&name, |b| {
                    b.iter(|| weights.multiply(black_box(&rows), bits, &team, isa));
                });
            }
        }
    }
}

fn rows(criterion: &mut Criterion) {
    for isa in Isa::available() {
        let mut bench = Bench::new(isa, HIDDEN, 64, POSITIONS);
        let name = isa.name();
        for rows in [1, 8] {
            criterion.bench_function(&format!("quantise/{rows}/{name}"), |b| {
                b.iter(|| bench.quantise(black_box(rows)));
            });
        }
        criterion.bench_function(&format!("normalise/{name}"), |b| b.iter(|| bench.normalise()));
        criterion.bench_function(&format!("gate/{name}"), |b| b.iter(|| bench.gate()));
        criterion.bench_function(&format!("place/{name}"), |b| b.iter(|| bench.place()));
        for rows in [1, 6] {
            criterion.bench_function(&format!("attend/{rows}/{name}"), |b| {
                b.iter(|| bench.attend(black_box(rows)));
            });
        }
    }
}

fn decoder(isa: Isa) -> Decoder {
    let shape = DecoderShape {
        vocab: 256,
        hidden: 192,
        intermediate: 512,
        layers: 2,
        heads: 6,
        kv_heads: 2,
        head_dim: 32,
        rope_theta: 10_000.0,
        norm_eps: 1e-5,
    };
    let layer = || LayerWeights {
        attention_norm: vec![1.0; shape.hidden],
        qkv: matrix(&[192, 64, 64], 192, Precision::Four),
        output: matrix(&[192], 192, Precision::Four),
        mlp_norm: vec![1.0; shape.hidden],
        gate_up: matrix(&[512, 512], 192, Precision::Four),
        down: matrix(&[192], 512, Precision::Four),
    };
    let weights = DecoderWeights {
        embedding: matrix(&[256], 192, Precision::Eight),
        head: None,
        layers: (0..shape.layers).map(|_| layer()).collect(),
        norm: vec![1.0; shape.hidden],
    };
    let options = DecoderOptions {
        threads: 1,
        isa,
        activations: ActivationBits::default(),
        half_cache: true,
        positions: POSITIONS,
    };
    Decoder::new(shape, weights, options).expect("weights fit")
}

fn passes(criterion: &mut Criterion) {
    for isa in Isa::available() {
        let decoder = decoder(isa);
        for (name, past, len) in [("step", 128, 1), ("prefill", 0, 128)] {
            let before = decoder.embed(&vec![1; past]);
            let after = decoder.embed(&vec![2; len]);
            let mut cache = decoder.new_cache();
            if past > 0 {
                let span = Span { len: past, cache: &mut cache };
                decoder.forward(&mut before.clone(), &mut [span], None);
            }
            criterion.bench_function(&format!("decoder/{name}/{}", isa.name()), |b| {
                b.iter(|| {
                    let mut rows = after.clone();
                    cache.truncate(past);
                    decoder.forward(&mut rows, &mut [Span { len, cache: &mut cache }], None);
                    rows
                });
            });
        }
    }
}

criterion_group!(benches, tiles, rows, passes);
criterion_main!(benches);
