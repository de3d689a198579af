//! Times a decoder of SmolLM2-135M's shape with random weights, without a model and
//! without anything but the kernels, for profiles and for other instruction sets:
//!
//! ```text
//! shape [four|eight|dense] [THREADS] [portable|avx2|avx-512] [all|share|prefill|prefill8|decode|decode8] [8|16] [adapter]
//! perf record -e cpu-clock -- target/release/examples/shape four 2 avx-512 decode
//! ```
//!
//! `prefill` and `decode`, and `prefill8` and `decode8` of eight sequences, repeat that one thing
//! for a profiler, decoding positions 128 to 160, with an adapter of rank 8 or without; `share` says
//! how fast both are with it, of the speed without; `all` times everything.

use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use twn_kernels::{
    ActivationBits, Adapter, AdapterLayer, Decoder, DecoderOptions, DecoderShape, DecoderWeights,
    Isa, KernelError, KvCache, LayerWeights, LowRankPair, Matrix, Precision, Source, Span,
};

const SHAPE: DecoderShape = DecoderShape {
    vocab: 49_152,
    hidden: 576,
    intermediate: 1536,
    layers: 30,
    heads: 9,
    kv_heads: 3,
    head_dim: 64,
    rope_theta: 100_000.0,
    norm_eps: 1e-5,
};

fn main() -> Result<(), KernelError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let precision = match arguments.first().map(String::as_str) {
        Some("eight") => Precision::Eight,
        Some("dense") => Precision::Dense,
        _ => Precision::Four,
    };
    let threads = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(2);
    let wanted = arguments.get(2).map(|name| name.to_lowercase());
    let isa = Isa::available()
        .into_iter()
        .rfind(|isa| wanted.as_ref().is_none_or(|name| isa.name().to_lowercase().starts_with(name)))
        .unwrap_or(Isa::best());
    let activations = match arguments.get(4).map(String::as_str) {
        Some("8") => ActivationBits::Eight,
        _ => ActivationBits::Sixteen,
    };
    let half_cache = precision != Precision::Dense;
    let options = DecoderOptions { threads, isa, activations, half_cache, positions: 1024 };
    let decoder = random_decoder(precision, options)?;
    println!(
        "{precision:?}, {activations:?}, {threads} threads, {}, {} MB",
        isa.name(),
        decoder.weight_bytes() >> 20
    );

    let adapter = random_adapter(&decoder)?;
    let active = arguments.get(5).map(|_| &adapter);
    match arguments.get(3).map(String::as_str) {
        Some(mode @ ("prefill" | "prefill8")) => {
            let (batch, times) = if mode == "prefill8" { (8, 10) } else { (1, 60) };
            (0..times).for_each(|_| {
                prefill(&decoder, batch, 128, active);
            });
            return Ok(());
        }
        Some(mode @ ("decode" | "decode8")) => {
            let batch = if mode == "decode8" { 8 } else { 1 };
            let mut caches: Vec<_> = (0..batch).map(|_| decoder.new_cache()).collect();
            run(&decoder, &mut caches, 128, active);
            for _ in 0..25 {
                caches.iter_mut().for_each(|cache| cache.truncate(128));
                (0..32).for_each(|_| {
                    run(&decoder, &mut caches, 1, active);
                });
            }
            return Ok(());
        }
        Some("share") => {
            share(&decoder, &adapter);
            return Ok(());
        }
        _ => {}
    }

    for with_adapter in [false, true] {
        let adapter = with_adapter.then_some(&adapter);
        println!("adapter: {with_adapter}");
        for (batch, len) in [(1, 128), (1, 512), (8, 128)] {
            let mut times: Vec<f64> =
                (0..5).map(|_| prefill(&decoder, batch, len, adapter)).collect();
            times.sort_by(f64::total_cmp);
            println!("prefill {batch}x{len}: {:.0} tokens/s", (batch * len) as f64 / times[2]);
        }
        for batch in [1, 4, 8] {
            let mut caches: Vec<_> = (0..batch).map(|_| decoder.new_cache()).collect();
            run(&decoder, &mut caches, 128, adapter);
            let mut times: Vec<f64> =
                (0..64).map(|_| run(&decoder, &mut caches, 1, adapter)).collect();
            times.sort_by(f64::total_cmp);
            println!("decode batch {batch}: {:.0} tokens/s", batch as f64 / times[32]);
        }
    }
    Ok(())
}

/// Prints the speed of a prompt and of decoding one sequence, by turns without the adapter and
/// with it.
fn share(decoder: &Decoder, adapter: &Adapter) {
    let print = |what: &str, tokens: usize, mut times: [Vec<f64>; 2]| {
        let [without, with] = times.each_mut().map(|times| {
            times.sort_by(f64::total_cmp);
            tokens as f64 / times[times.len() / 2]
        });
        println!(
            "{what}: {without:.0} tokens/s, with the adapter {with:.0}, {:.3}",
            with / without
        );
    };
    let mut times = [const { Vec::new() }; 2];
    for turn in 0..80 {
        let adapter = (turn % 2 == 1).then_some(adapter);
        times[turn % 2].push(prefill(decoder, 1, 128, adapter));
    }
    print("prefill 1x128", 128, times);
    let mut times = [const { Vec::new() }; 2];
    let mut caches = [decoder.new_cache()];
    run(decoder, &mut caches, 128, None);
    for turn in 0..80 {
        let adapter = (turn % 2 == 1).then_some(adapter);
        caches[0].truncate(128);
        times[turn % 2].push((0..16).map(|_| run(decoder, &mut caches, 1, adapter)).sum());
    }
    print("decode batch 1", 16, times);
}

/// Runs prompts from empty caches; gives the seconds.
fn prefill(decoder: &Decoder, batch: usize, len: usize, adapter: Option<&Adapter>) -> f64 {
    let mut caches: Vec<_> = (0..batch).map(|_| decoder.new_cache()).collect();
    run(decoder, &mut caches, len, adapter)
}

/// Runs `len` tokens of every sequence, and the head on each one's last; gives the seconds.
fn run(decoder: &Decoder, caches: &mut [KvCache], len: usize, adapter: Option<&Adapter>) -> f64 {
    let tokens: Vec<u32> = (0..caches.len() * len).map(|i| (i * 37 % 40_000) as u32).collect();
    let started = Instant::now();
    let mut rows = decoder.embed(&tokens);
    let mut spans: Vec<_> = caches.iter_mut().map(|cache| Span { len, cache }).collect();
    decoder.forward(&mut rows, &mut spans, adapter);
    let width = decoder.shape().hidden;
    let last: Vec<f32> = rows
        .chunks_exact(len * width)
        .flat_map(|rows| &rows[(len - 1) * width..])
        .copied()
        .collect();
    std::hint::black_box(decoder.logits(&last));
    started.elapsed().as_secs_f64()
}

/// An adapter of rank 8 on every linear layer.
fn random_adapter(decoder: &Decoder) -> Result<Adapter, KernelError> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let rank = 8;
    let mut random =
        |count: usize| -> Vec<f32> { (0..count).map(|_| rng.random_range(-0.05..0.05)).collect() };
    let sizes =
        [(576, 576), (576, 192), (576, 192), (576, 576), (576, 1536), (576, 1536), (1536, 576)];
    let factors = sizes.map(|(input, output)| (random(rank * input), random(rank * output)));
    let pair = |which: usize| {
        Some(LowRankPair { a: &factors[which].0, b: &factors[which].1, rank, scale: 1.0 })
    };
    let layer = AdapterLayer {
        qkv: [pair(0), pair(1), pair(2)],
        output: pair(3),
        gate_up: [pair(4), pair(5)],
        down: pair(6),
    };
    decoder.pack_adapter(&[layer; 30])
}

fn random_decoder(precision: Precision, options: DecoderOptions) -> Result<Decoder, KernelError> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut source = |rows: usize, columns: usize| {
        let factor = 1.0 / (columns as f32).sqrt();
        let values = (0..rows * columns).map(|_| rng.random_range(-factor..factor)).collect();
        Source::dense(rows, columns, values)
    };
    let table = if precision == Precision::Dense { precision } else { Precision::Eight };
    let embedding = Matrix::pack(&[source(SHAPE.vocab, 576)], table)?;
    let layers = (0..SHAPE.layers)
        .map(|_| {
            Ok(LayerWeights {
                attention_norm: vec![1.0; 576],
                qkv: Matrix::pack(
                    &[source(576, 576), source(192, 576), source(192, 576)],
                    precision,
                )?,
                output: Matrix::pack(&[source(576, 576)], precision)?,
                mlp_norm: vec![1.0; 576],
                gate_up: Matrix::pack(&[source(1536, 576), source(1536, 576)], precision)?,
                down: Matrix::pack(&[source(576, 1536)], precision)?,
            })
        })
        .collect::<Result<_, KernelError>>()?;
    let weights = DecoderWeights { embedding, head: None, layers, norm: vec![1.0; 576] };
    Decoder::new(SHAPE, weights, options)
}
