//! The backbone computes what transformers computes: logits and greedy continuations
//! against golden files (golden/make_model_golden.py), and itself alone, batched, cached
//! and in chunks.

#[allow(dead_code, reason = "each test binary uses its part")]
mod golden;

use std::{path::Path, sync::LazyLock};

use burn::tensor::{Device, Tensor};
use golden::{GoldenFile, relative_error, tiny_llama, values};
use twn_encoder::{
    Precision,
    backbone::{Backbone, FusedOptions, KvCache, Span},
    model,
};

const PROMPTS: usize = 10;
const ERROR_MAX: f32 = 1e-3;
/// Between two ways of running the same model here only the order of sums differs.
const SELF_ERROR_MAX: f32 = 2e-5;

static TINY: LazyLock<Backbone> = LazyLock::new(|| load(&tiny_llama(), 512));
static TINY_FUSED: LazyLock<Backbone> = LazyLock::new(|| load_fused(&tiny_llama(), 512));
static SMOL_FUSED: LazyLock<Backbone> = LazyLock::new(|| {
    let home = model::default_home().expect("a home for models");
    load_fused(&model::ensure_default(&home).expect("default model is fetched"), 1024)
});
static SMOL: LazyLock<Backbone> = LazyLock::new(|| {
    let home = model::default_home().expect("a home for models");
    load(&model::ensure_default(&home).expect("default model is fetched"), 1024)
});

fn load(path: &Path, positions: usize) -> Backbone {
    let checkpoint = model::open(path).expect("model opens");
    let tensors = checkpoint.tensors.as_ref();
    Backbone::load(&checkpoint.config, tensors, positions, &Device::flex()).expect("model loads")
}

/// The fused pass with f32 weights, activations, keys and values.
fn load_fused(path: &Path, positions: usize) -> Backbone {
    let checkpoint = model::open(path).expect("model opens");
    let precision = Precision::F32;
    let options = FusedOptions { precision, threads: 2, ..FusedOptions::new(positions) };
    Backbone::load_fused(&checkpoint.config, checkpoint.tensors.as_ref(), &options).expect("packs")
}

fn extend(backbone: &Backbone, tokens: &[u32], cache: &mut KvCache) -> Tensor<2> {
    let rows = backbone.embed(tokens);
    backbone.forward(rows, &mut [Span { len: tokens.len(), cache }], None)
}

fn hidden(backbone: &Backbone, tokens: &[u32]) -> Tensor<2> {
    extend(backbone, tokens, &mut backbone.new_cache(tokens.len()))
}

fn argmax(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    best.expect("logits are there") as u32
}

fn logsumexp(logits: &[f32]) -> f32 {
    let max = f64::from(logits[argmax(logits) as usize]);
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum();
    (max + sum.ln()) as f32
}

fn greedy(backbone: &Backbone, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut cache = backbone.new_cache(prompt.len());
    let mut state = extend(backbone, prompt, &mut cache);
    let mut chosen = Vec::new();
    loop {
        let last = state.dims()[0];
        let token = argmax(&values(backbone.logits(state.slice(last - 1..last))));
        chosen.push(token);
        if chosen.len() == count {
            return chosen;
        }
        state = extend(backbone, &[token], &mut cache);
    }
}

/// Compares one model with its golden file.
#[track_caller]
fn check_golden(backbone: &Backbone, file: &str) {
    let golden = GoldenFile::read(file);
    let vocabulary = golden.ids("vocabulary");
    for number in 0..PROMPTS {
        let tokens = golden.ids(&format!("{number}.ids"));
        let logits = values(backbone.logits(hidden(backbone, &tokens)));
        let rows: Vec<&[f32]> = logits.chunks_exact(backbone.config().vocab_size).collect();
        let rows: Vec<&[f32]> = golden
            .ids(&format!("{number}.positions"))
            .iter()
            .map(|&position| rows[position as usize])
            .collect();
        let sampled: Vec<f32> =
            rows.iter().flat_map(|row| vocabulary.iter().map(|&id| row[id as usize])).collect();
        let error = relative_error(&sampled, &golden.floats(&format!("{number}.logits")));
        assert!(error < ERROR_MAX, "prompt {number}: relative logit error {error}");
        let sums: Vec<f32> = rows.iter().map(|row| logsumexp(row)).collect();
        let error = relative_error(&sums, &golden.floats(&format!("{number}.logsumexp")));
        assert!(error < ERROR_MAX, "prompt {number}: relative logsumexp error {error}");
        let best: Vec<u32> = rows.iter().map(|row| argmax(row)).collect();
        assert_eq!(best, golden.ids(&format!("{number}.argmax")), "prompt {number}");
        let want = golden.ids(&format!("{number}.greedy"));
        assert_eq!(greedy(backbone, &tokens, want.len()), want, "prompt {number}");
    }
}

fn prompts(file: &str) -> Vec<Vec<u32>> {
    let golden = GoldenFile::read(file);
    (0..PROMPTS).map(|number| golden.ids(&format!("{number}.ids"))).collect()
}

/// Compares all prompts in one ragged pass with each alone.
#[track_caller]
fn check_batch(backbone: &Backbone, prompts: &[Vec<u32>]) {
    let rows = backbone.embed(&prompts.concat());
    let mut caches: Vec<KvCache> = prompts.iter().map(|_| backbone.new_cache(0)).collect();
    let mut spans: Vec<Span<'_>> = prompts
        .iter()
        .zip(&mut caches)
        .map(|(prompt, cache)| Span { len: prompt.len(), cache })
        .collect();
    let batch = values(backbone.forward(rows, &mut spans, None));
    let alone: Vec<f32> = prompts.iter().flat_map(|p| values(hidden(backbone, p))).collect();
    let error = relative_error(&batch, &alone);
    assert!(error < SELF_ERROR_MAX, "{error}");

    // One more token of each, in one pass and alone.
    let mut spans: Vec<Span<'_>> = caches.iter_mut().map(|cache| Span { len: 1, cache }).collect();
    let step = values(backbone.forward(backbone.embed(&[7; PROMPTS]), &mut spans, None));
    let width = backbone.config().hidden_size;
    for (prompt, got) in prompts.iter().zip(step.chunks_exact(width)) {
        let longer: Vec<u32> = prompt.iter().copied().chain([7]).collect();
        let want = values(hidden(backbone, &longer));
        let error = relative_error(got, &want[want.len() - width..]);
        assert!(error < SELF_ERROR_MAX, "{error}");
    }
}

/// Compares a prompt run in pieces of `len` tokens with the prompt run at once.
#[track_caller]
fn check_pieces(backbone: &Backbone, prompt: &[u32], len: usize) {
    let mut cache = backbone.new_cache(0);
    let pieces: Vec<f32> =
        prompt.chunks(len).flat_map(|piece| values(extend(backbone, piece, &mut cache))).collect();
    let error = relative_error(&pieces, &values(hidden(backbone, prompt)));
    assert!(error < SELF_ERROR_MAX, "pieces of {len}: {error}");
}

#[test]
fn tiny_llama_equals_transformers() {
    check_golden(&TINY, "golden/model_tiny_llama.safetensors");
    check_golden(&TINY_FUSED, "golden/model_tiny_llama.safetensors");
}

#[test]
fn default_model_equals_transformers() {
    check_golden(&SMOL, "golden/model_smollm2.safetensors");
    check_golden(&SMOL_FUSED, "golden/model_smollm2.safetensors");
}

#[test]
fn batch_equals_single() {
    check_batch(&TINY, &prompts("golden/model_tiny_llama.safetensors"));
}

#[test]
fn default_models_batch_equals_single() {
    check_batch(&SMOL, &prompts("golden/model_smollm2.safetensors"));
}

#[test]
fn pieces_equal_the_whole() {
    let prompts = prompts("golden/model_tiny_llama.safetensors");
    for len in [1, 7, 64] {
        check_pieces(&TINY, &prompts[9], len);
    }
}

#[test]
fn default_models_pieces_equal_the_whole() {
    let prompts = prompts("golden/model_smollm2.safetensors");
    check_pieces(&SMOL, &prompts[6], 1);
    check_pieces(&SMOL, &prompts[9], 512);
}

#[test]
fn a_shared_prefix_equals_the_whole() {
    let prompts = prompts("golden/model_tiny_llama.safetensors");
    let prompt = &prompts[7];
    let (prefix, rest) = prompt.split_at(20);
    let mut shared = TINY.new_cache(prefix.len());
    extend(&TINY, prefix, &mut shared);
    let want = values(hidden(&TINY, prompt));
    for _ in 0..2 {
        let mut cache = shared.clone();
        let got = values(extend(&TINY, rest, &mut cache));
        let error = relative_error(&got, &want[want.len() - got.len()..]);
        assert!(error < SELF_ERROR_MAX, "{error}");
    }
    assert_eq!(shared.len(), prefix.len());
}

#[test]
fn gradients_flow_through_grouped_heads() {
    let checkpoint = model::open(&tiny_llama()).expect("model opens");
    let device = Device::flex().autodiff();
    let tensors = checkpoint.tensors.as_ref();
    let backbone = Backbone::load(&checkpoint.config, tensors, 64, &device).expect("loads");
    let tokens = [5, 9, 200, 31, 8];
    let loss = |rows: Tensor<2>| {
        let mut cache = backbone.new_cache(0);
        backbone.forward(rows, &mut [Span { len: 5, cache: &mut cache }], None).square().mean()
    };
    let rows = backbone.embed(&tokens).detach();
    let tracked = rows.clone().require_grad();
    let gradients = loss(tracked.clone()).backward();
    let gradient = values(tracked.grad(&gradients).expect("rows are tracked"));
    // Against a central difference along one direction that touches every row.
    let direction: Vec<f32> = (0..5 * 64).map(|i| ((i * 37 % 11) as f32 - 5.0) / 5.0).collect();
    let along: f32 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
    let at = |step: f32| {
        let shift: Vec<f32> = direction.iter().map(|d| d * step).collect();
        let shift = burn::tensor::TensorData::new(shift, [5, 64]);
        values(loss(rows.clone() + Tensor::from_data(shift, &device)))[0]
    };
    let step = 2e-3;
    let difference = (at(step) - at(-step)) / (2.0 * step);
    assert!((along - difference).abs() < 0.02 * difference.abs().max(0.05), "{along} {difference}");
}
