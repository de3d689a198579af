//! Measures the portable backbone's speed: prefill and decode, in tokens per second.
//!
//! Usage: `cargo run --release -p twn-encoder --example speed -- [MODEL [DEVICE]]`. MODEL is
//! a GGUF file or a Hugging Face folder (default: the default model, pulled if needed),
//! DEVICE is `cpu` or `cuda:0`. Threads are rayon's: set RAYON_NUM_THREADS. Each figure
//! is the median of several runs after one that is not counted.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use twn_encoder::{
    EncoderError,
    backbone::{Backbone, KvCache, Span},
    model, open_device,
};

// Large results go through the system allocator's page faults otherwise: a fifth to two
// fifths of the prefill speed. The product's binary does the same.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PROMPT_TOKENS: usize = 128;
const DECODED_TOKENS: usize = 32;
const RUNS: usize = 3;

fn main() -> Result<(), EncoderError> {
    let mut arguments = std::env::args().skip(1);
    let model = match arguments.next() {
        Some(path) => PathBuf::from(path),
        None => model::ensure_default(&model::default_home()?)?,
    };
    let device = open_device(&arguments.next().unwrap_or_else(|| "cpu".to_owned()))?;
    let started = cpu();
    let checkpoint = model::open(&model)?;
    let tensors = checkpoint.tensors.as_ref();
    let backbone = Backbone::load(&checkpoint.config, tensors, 1024, &device)?;
    println!("{}: loaded in {:.1} s", checkpoint.name, (cpu() - started));
    println!("threads: {}", rayon::current_num_threads());
    for batch in [1, 8] {
        let speed = median(|| prefill_speed(&backbone, batch, &device));
        println!("prefill {batch} x {PROMPT_TOKENS}: {speed:.0} tokens/s");
    }
    for batch in [1, 8] {
        let speed = median(|| decode_speed(&backbone, batch, &device));
        println!("decode, {batch} at once, after {PROMPT_TOKENS}: {speed:.1} tokens/s");
    }
    if let Some(peak) = peak_memory_mib() {
        println!("peak memory: {peak} MiB");
    }
    Ok(())
}

/// Measures after one run that warms up caches and allocators.
fn median(mut run: impl FnMut() -> f64) -> f64 {
    run();
    let mut speeds: Vec<f64> = (0..RUNS).map(|_| run()).collect();
    speeds.sort_by(f64::total_cmp);
    speeds[RUNS / 2]
}

fn prefill_speed(backbone: &Backbone, batch: usize, device: &Device) -> f64 {
    let mut caches = new_caches(backbone, batch);
    let started = cpu();
    let states = forward(backbone, &mut caches, PROMPT_TOKENS);
    finish(states, device);
    (batch * PROMPT_TOKENS) as f64 / (cpu() - started)
}

fn decode_speed(backbone: &Backbone, batch: usize, device: &Device) -> f64 {
    let mut caches = new_caches(backbone, batch);
    finish(forward(backbone, &mut caches, PROMPT_TOKENS), device);
    let started = cpu();
    for _ in 0..DECODED_TOKENS {
        let states = forward(backbone, &mut caches, 1);
        finish(backbone.logits(states), device);
    }
    (batch * DECODED_TOKENS) as f64 / (cpu() - started)
}

fn new_caches(backbone: &Backbone, batch: usize) -> Vec<KvCache> {
    (0..batch).map(|_| backbone.new_cache(PROMPT_TOKENS + 16)).collect()
}

/// Runs `len` arbitrary tokens of every sequence in one pass.
fn forward(backbone: &Backbone, caches: &mut [KvCache], len: usize) -> Tensor<2> {
    let vocabulary = backbone.config().vocab_size as u32;
    let tokens: Vec<u32> =
        (0..(caches.len() * len) as u32).map(|i| i * 7919 % vocabulary).collect();
    let mut spans: Vec<Span<'_>> = caches.iter_mut().map(|cache| Span { len, cache }).collect();
    backbone.forward(backbone.embed(&tokens), &mut spans, None)
}

/// Waits until a result is there, which a GPU computes in the background.
fn finish(result: Tensor<2>, device: &Device) {
    std::hint::black_box(result.into_data());
    if let Err(error) = device.sync() {
        eprintln!("device: {error:?}");
    }
}

/// The most memory this process has held, where the system tells.
fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}

fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
