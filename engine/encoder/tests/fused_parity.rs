//! The fused pass against the portable module: the same numbers in f32, and within what
//! rounding explains with quantised weights.

#[allow(dead_code, reason = "each test binary uses its part")]
mod golden;

use std::{path::PathBuf, sync::LazyLock};

use burn::tensor::{Device, Tensor};
use golden::{GoldenFile, relative_error, values};
use twn_encoder::{
    Content, EmbedKind, Embedder, EncodeInput, Encoder, EncoderError, HostTensor, LoadOptions,
    Precision, TensorSource,
    adapter::{Lora, LoraLayer, LoraPair, Target},
    backbone::{Backbone, BackboneConfig, FusedOptions, KvCache, Span},
    model,
};
use twn_kernels::{Matrix, Source};

static MODEL: LazyLock<PathBuf> = LazyLock::new(|| {
    let home = model::default_home().expect("a home for models");
    model::ensure_default(&home).expect("default model is fetched")
});
static REFERENCE: LazyLock<Backbone> = LazyLock::new(|| {
    let checkpoint = model::open(&MODEL).expect("opens");
    let tensors = checkpoint.tensors.as_ref();
    Backbone::load(&checkpoint.config, tensors, 1024, &Device::flex()).expect("loads")
});
static STORED: LazyLock<Backbone> = LazyLock::new(|| fused(Precision::Auto));
static EIGHT: LazyLock<Backbone> = LazyLock::new(|| fused(Precision::Q8));

fn fused(precision: Precision) -> Backbone {
    let checkpoint = model::open(&MODEL).expect("opens");
    let options = FusedOptions { precision, threads: 2, ..FusedOptions::new(1024) };
    Backbone::load_fused(&checkpoint.config, checkpoint.tensors.as_ref(), &options).expect("packs")
}

fn prompts() -> Vec<Vec<u32>> {
    let golden = GoldenFile::read("golden/model_smollm2.safetensors");
    (0..10).map(|number| golden.ids(&format!("{number}.ids"))).collect()
}

fn extend(
    backbone: &Backbone,
    tokens: &[u32],
    cache: &mut KvCache,
    lora: Option<&Lora>,
) -> Tensor<2> {
    let lora = lora.map(|lora| backbone.prepare(lora).expect("fits"));
    let span = Span { len: tokens.len(), cache };
    backbone.forward(backbone.embed(tokens), &mut [span], lora.as_ref())
}

fn hidden(backbone: &Backbone, tokens: &[u32], lora: Option<&Lora>) -> Vec<f32> {
    values(extend(backbone, tokens, &mut backbone.new_cache(0), lora))
}

/// An adapter of rank 8 on every linear that changes hidden states noticeably.
fn adapter(config: &BackboneConfig) -> Lora {
    let mut state = 1_u64;
    let mut random = |count: usize, size: f32| -> Vec<f32> {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 2.0 * size
        };
        (0..count).map(|_| next()).collect()
    };
    let mut pair = |target: Target| {
        let (input, output) = target.shape(config);
        let a = random(8 * input, 1.0 / (input as f32).sqrt());
        let a = HostTensor { shape: vec![8, input], values: a };
        let b = HostTensor { shape: vec![output, 8], values: random(8 * output, 0.2) };
        Some(LoraPair::new(a, b, 2.0, &Device::flex()))
    };
    let layers = (0..config.layers).map(|_| LoraLayer {
        query: pair(Target::Query),
        key: pair(Target::Key),
        value: pair(Target::Value),
        output: pair(Target::Output),
        gate: pair(Target::Gate),
        up: pair(Target::Up),
        down: pair(Target::Down),
    });
    Lora { layers: layers.collect() }
}

#[test]
fn the_fused_pass_in_f32_is_the_portable_module() {
    let fused = fused(Precision::F32);
    let lora = adapter(REFERENCE.config());
    assert_eq!(fused.parameters(), REFERENCE.parameters());
    for prompt in prompts().iter().take(8) {
        let (got, want) = (hidden(&fused, prompt, None), hidden(&REFERENCE, prompt, None));
        let error = relative_error(&got, &want);
        assert!(error < 1e-3, "{} tokens: {error}", prompt.len());
        let with = hidden(&REFERENCE, prompt, Some(&lora));
        assert!(relative_error(&with, &want) > 0.02, "the adapter changes something");
        let error = relative_error(&hidden(&fused, prompt, Some(&lora)), &with);
        assert!(error < 1e-3, "{} tokens with an adapter: {error}", prompt.len());
    }
}

#[test]
fn a_batch_of_the_default_model_gives_the_same_bits() {
    for backbone in [&*STORED, &*EIGHT] {
        let prompts = prompts();
        let mut caches: Vec<KvCache> = prompts.iter().map(|_| backbone.new_cache(0)).collect();
        let mut spans: Vec<Span<'_>> = prompts
            .iter()
            .zip(&mut caches)
            .map(|(prompt, cache)| Span { len: prompt.len(), cache })
            .collect();
        let rows = backbone.embed(&prompts.concat());
        let batch = values(backbone.forward(rows, &mut spans, None));
        let alone: Vec<f32> =
            prompts.iter().flat_map(|prompt| hidden(backbone, prompt, None)).collect();
        assert!(batch == alone);
        // One more token of each.
        let mut spans: Vec<Span<'_>> =
            caches.iter_mut().map(|cache| Span { len: 1, cache }).collect();
        let batch = values(backbone.forward(backbone.embed(&[7; 10]), &mut spans, None));
        let width = backbone.config().hidden_size;
        for (prompt, got) in prompts.iter().zip(batch.chunks_exact(width)) {
            let longer: Vec<u32> = prompt.iter().copied().chain([7]).collect();
            let alone = hidden(backbone, &longer, None);
            assert!(got == &alone[alone.len() - width..]);
        }
    }
}

#[test]
fn any_cut_of_the_default_models_prompt_gives_the_same_bits() {
    let prompts = prompts();
    let prompt = prompts.iter().max_by_key(|prompt| prompt.len()).expect("ten prompts");
    for backbone in [&*STORED, &*EIGHT] {
        for new_cache in [Backbone::new_cache, Backbone::new_embedding_cache] {
            let whole = values(extend(backbone, prompt, &mut new_cache(backbone, 0), None));
            for len in [1, 7, 64, 333] {
                let mut cache = new_cache(backbone, 0);
                let pieces: Vec<f32> = prompt
                    .chunks(len)
                    .flat_map(|piece| values(extend(backbone, piece, &mut cache, None)))
                    .collect();
                assert!(pieces == whole, "pieces of {len}");
            }
        }
    }
}

/// Embeddings are pooled from hidden states of int8 activations.
#[test]
fn means_of_an_embeddings_states_are_those_of_the_same_weights_in_f32() {
    let width = STORED.config().hidden_size;
    // Without the first position, whose states are extreme.
    let mean = |states: &[f32]| {
        let rows = states.chunks_exact(width).skip(1);
        (0..width).map(|at| rows.clone().map(|row| row[at]).sum()).collect::<Vec<f32>>()
    };
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    for prompt in prompts().into_iter().filter(|prompt| prompt.len() > 1) {
        let mut cache = STORED.new_embedding_cache(0);
        let got = mean(&values(extend(&STORED, &prompt, &mut cache, None)));
        let want = mean(&hidden(&REFERENCE, &prompt, None));
        let cosine = dot(&got, &want) / (dot(&got, &got) * dot(&want, &want)).sqrt();
        assert!(cosine > 0.999, "{} tokens: {cosine}", prompt.len());
        assert!(got != mean(&hidden(&STORED, &prompt, None)), "thoughts' caches round otherwise");
    }
}

/// The weights as 8-bit blocks have them.
struct Requantised<'a>(&'a dyn TensorSource);

impl TensorSource for Requantised<'_> {
    fn tensor(&self, name: &str) -> Result<HostTensor, EncoderError> {
        let host = self.0.tensor(name)?;
        let [rows, columns] = *host.shape else { return Ok(host) };
        let source = Source::dense(rows, columns, host.values);
        let matrix = Matrix::pack(&[source], twn_kernels::Precision::Eight).expect("packs");
        let mut values = vec![0.0; rows * columns];
        for (row, out) in values.chunks_exact_mut(columns).enumerate() {
            matrix.row(row, out);
        }
        Ok(HostTensor { shape: vec![rows, columns], values })
    }

    fn names(&self) -> Vec<String> {
        self.0.names()
    }
}

/// Greedy tokens by the fused pass: tells whether the reference gives the same ones. Where
/// it, after the same tokens, would go on otherwise, its two logits must be closer than what
/// quantisation moves a logit by.
fn is_greedy_text_alike(
    fused: &Backbone,
    reference: &Backbone,
    prompt: &[u32],
    count: usize,
) -> bool {
    let (mut cache, mut reference_cache) = (fused.new_cache(0), reference.new_cache(0));
    let (mut tokens, mut equal) = (prompt.to_vec(), true);
    let mut moved = 0.0_f32;
    for step in 0..count {
        let last = |backbone: &Backbone, cache: &mut KvCache| {
            let states = extend(backbone, &tokens, cache, None);
            let end = states.dims()[0];
            values(backbone.logits(states.slice(end - 1..end)))
        };
        let (got, want) = (last(fused, &mut cache), last(reference, &mut reference_cache));
        let best = |logits: &[f32]| {
            (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).expect("logits")
        };
        let (ours, theirs) = (best(&got), best(&want));
        let squares = got.iter().zip(&want).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
        let error = (squares / got.len() as f32).sqrt();
        moved = moved.max(error);
        if ours != theirs {
            equal = false;
            let gap = want[theirs] - want[ours];
            println!("step {step}: gap {gap}, logits moved by {error}");
            assert!(gap < 6.0 * error, "gap {gap}, logits moved by {error} in the mean");
            // Go on along the reference's text, so that every position is compared.
        }
        tokens = vec![theirs as u32];
    }
    println!("{} tokens: alike {equal}, logits moved by {moved} at most", prompt.len());
    equal
}

#[test]
fn greedy_thoughts_are_those_of_the_same_weights_in_f32() {
    let checkpoint = model::open(&MODEL).expect("opens");
    let options = FusedOptions { precision: Precision::F32, ..FusedOptions::new(1024) };
    let dense = |tensors: &dyn TensorSource| {
        Backbone::load_fused(&checkpoint.config, tensors, &options).expect("packs")
    };
    let stored = dense(checkpoint.tensors.as_ref());
    let eight = dense(&Requantised(checkpoint.tensors.as_ref()));
    for (name, fused, reference) in [("stored", &*STORED, &stored), ("8 bits", &*EIGHT, &eight)] {
        let alike = prompts()
            .iter()
            .filter(|prompt| is_greedy_text_alike(fused, reference, prompt, 64))
            .count();
        println!("{name}: {alike} of 10 alike");
        assert!(alike >= 8, "{name}: {alike} of 10 texts are alike");
    }
}

/// Real texts: the paragraphs of this repository's documentation.
fn texts() -> Vec<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut texts = Vec::new();
    let mut files = Vec::new();
    for folder in [root.clone(), root.join("adr")] {
        for entry in fs_err::read_dir(folder).expect("documentation") {
            files.push(entry.expect("entry").path());
        }
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    files.sort();
    for path in files {
        let text = fs_err::read_to_string(path).expect("documentation");
        let paragraphs = text.split("\n\n").map(str::trim);
        texts.extend(paragraphs.filter(|text| text.len() > 60).map(str::to_owned));
    }
    texts.truncate(60);
    texts
}

#[test]
fn embeddings_by_quantised_weights_point_where_f32_points() {
    let embed = |device: &str, precision: Precision| -> Vec<Vec<f32>> {
        let options = LoadOptions {
            device: device.to_owned(),
            precision,
            context_tokens: 1024,
            ..LoadOptions::new(MODEL.as_path())
        };
        let mut encoder = Encoder::load(&options).expect("loads");
        let prompter = encoder.prompter();
        let prompts: Vec<_> = texts()
            .iter()
            .map(|text| {
                let content = Content::text(text.as_str());
                let input = EncodeInput { content, instruction: None, kind: EmbedKind::Document };
                prompter.prepare(&input).expect("prepares")
            })
            .collect();
        let directs = encoder.direct(&prompts.iter().collect::<Vec<_>>()).expect("runs");
        directs.into_iter().map(|direct| direct.embedding).collect()
    };
    let want = embed("flex", Precision::Auto);
    assert!(want.len() >= 50, "{} texts", want.len());
    for precision in [Precision::Auto, Precision::Q8] {
        let cosines: Vec<f32> = embed("cpu", precision)
            .iter()
            .zip(&want)
            .map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum())
            .collect();
        let mean = cosines.iter().sum::<f32>() / cosines.len() as f32;
        let min = cosines.iter().copied().fold(f32::INFINITY, f32::min);
        println!("{precision}: mean cosine {mean}, least {min}");
        assert!(mean >= 0.999 && min >= 0.995, "{precision}: mean {mean}, least {min}");
    }
}

#[test]
fn options_of_the_fused_pass_are_checked() {
    let options = LoadOptions {
        device: "flex".to_owned(),
        precision: Precision::Q8,
        context_tokens: 512,
        ..LoadOptions::new(MODEL.as_path())
    };
    let message = Encoder::load(&options).expect_err("refused").to_string();
    assert!(message.contains("`precision`") && message.contains("flex"), "{message}");
    assert!("q5".parse::<Precision>().is_err());
}
