//! Qwen3 and Qwen3-VL compute here what transformers computes
//! (fixtures/qwen3/make_qwen3.py), on the portable module and on the fused pass.

#[allow(dead_code, reason = "each test binary uses its part")]
mod golden;

use std::{path::PathBuf, sync::Arc};

use burn::tensor::{Device, Tensor};
use golden::{GoldenFile, relative_error, tests_folder, values};
use serde::Deserialize;
use twn_encoder::{
    Checkpoint, Embedder, Encoder, LoadOptions, Pictures, Pooling, Precision, Prompt,
    adapter::{AdapterPlan, Adapters, Interface, Lora, StoredType, read_peft},
    backbone::{
        Backbone, FusedOptions, Grid, KvCache, RowExtras, Sight, Span, Stretch, positions_of,
    },
    model,
};

const ERROR_MAX: f32 = 1e-3;
const POSITIONS: usize = 512;
const VL: [(&str, u64); 3] = [("vl-tied", 1), ("vl-untied", 2), ("vl-wide", 3)];
const CASES: [&str; 5] = ["text", "image", "images", "video", "mixed"];

/// What transformers was given, and which tokens it wrote.
#[derive(Debug, Deserialize)]
struct Case {
    tokens: Vec<u32>,
    #[serde(default)]
    types: Vec<u8>,
    #[serde(default)]
    images: Vec<[usize; 3]>,
    #[serde(default)]
    videos: Vec<[usize; 3]>,
    #[serde(default)]
    delta: i64,
    greedy: Vec<u32>,
}

fn folder(name: &str) -> PathBuf {
    tests_folder().join("fixtures/qwen3").join(name)
}

fn checkpoint(name: &str) -> Checkpoint {
    model::open(&folder(name)).expect("opens")
}

fn case(model: &str, name: &str) -> Case {
    let text = fs_err::read_to_string(folder(&format!("{model}.json"))).expect("is committed");
    let mut cases: std::collections::HashMap<String, Case> =
        serde_json::from_str(&text).expect("JSON");
    cases.remove(name).expect("the case is there")
}

fn goldens(model: &str) -> GoldenFile {
    GoldenFile::read(&format!("fixtures/qwen3/{model}.golden.safetensors"))
}

fn portable(checkpoint: &Checkpoint) -> Backbone {
    let tensors = checkpoint.tensors.as_ref();
    Backbone::load(&checkpoint.config, tensors, POSITIONS, &Device::flex()).expect("loads")
}

fn fused(checkpoint: &Checkpoint, precision: Precision) -> Backbone {
    let options = FusedOptions { precision, threads: 2, ..FusedOptions::new(POSITIONS) };
    Backbone::load_fused(&checkpoint.config, checkpoint.tensors.as_ref(), &options).expect("packs")
}

/// The numbers that the script makes for one grid.
fn patch_values(count: usize, seed: u64) -> Vec<f32> {
    (0..count as u64)
        .map(|index| {
            let mixed = (index * 2_654_435_761 + seed * 40_503 + 12_345) % (1 << 32);
            let mixed = (mixed * 2_246_822_519 + 3_266_489_917) % (1 << 32);
            ((mixed >> 8) as f64 / f64::from(1 << 23) - 1.0) as f32
        })
        .collect()
}

/// The grids and patches of a case, in reading order.
fn patches(case: &Case, patch_width: usize, seed: u64) -> (Vec<Grid>, Vec<f32>) {
    let (mut images, mut videos) = (case.images.iter().enumerate(), case.videos.iter().enumerate());
    let (mut grids, mut all) = (Vec::new(), Vec::new());
    let mut left_of_video = 0;
    for (index, &kind) in case.types.iter().enumerate() {
        let begins = kind != 0 && (index == 0 || case.types[index - 1] != kind);
        if !begins {
            continue;
        }
        let (number, grid, offset) = if kind == 1 {
            let (number, grid) = images.next().expect("a grid for each image");
            (number, grid, 0)
        } else if left_of_video > 0 {
            left_of_video -= 1;
            continue;
        } else {
            let (number, grid) = videos.next().expect("a grid for each video");
            left_of_video = grid[0] - 1;
            (number, grid, 1000)
        };
        let [slices, height, width] = *grid;
        let grid = Grid { slices, height, width };
        let count = grid.patches() * patch_width;
        all.extend(patch_values(count, seed + offset + number as u64));
        grids.push(grid);
    }
    (grids, all)
}

fn sight(backbone: &Backbone, case: &Case, seed: u64) -> Option<Sight> {
    let vision = backbone.config().vision.as_ref()?;
    let (grids, patches) = patches(case, vision.patch_width(), seed);
    if grids.is_empty() {
        return None;
    }
    let states = backbone.see(&patches, &grids).expect("sees");
    Some(Sight::new(backbone.config(), &case.tokens, &grids, states).expect("fits"))
}

/// Runs tokens `range` of a case after the cache.
fn run(
    backbone: &Backbone,
    case: &Case,
    sight: Option<&Sight>,
    range: std::ops::Range<usize>,
    cache: &mut KvCache,
    lora: Option<&Lora>,
) -> Tensor<2> {
    let mut rows = backbone.embed(&case.tokens[range.clone()]);
    let mut extras = RowExtras::default();
    if let Some(sight) = sight {
        (rows, extras.additions) = sight.put(rows, range.clone(), 0);
        extras.positions = sight.positions()[range.clone()].to_vec();
    }
    let lora = lora.map(|lora| backbone.prepare(lora).expect("fits"));
    let mut spans = [Span { len: range.len(), cache }];
    backbone.forward_with(rows, &mut spans, lora.as_ref(), &extras)
}

fn last(hidden: Tensor<2>) -> Tensor<2> {
    let [count, _] = hidden.dims();
    hidden.slice(count - 1..count)
}

fn best(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map(|(id, _)| id as u32).expect("a vocabulary")
}

/// Holds hidden states, logits and 32 greedy tokens to the golden ones.
#[track_caller]
fn check(backbone: &Backbone, golden: &GoldenFile, model: &str, name: &str, seed: u64) {
    let case = case(model, name);
    let sight = sight(backbone, &case, seed);
    let mut cache = backbone.new_cache(0);
    let hidden = run(backbone, &case, sight.as_ref(), 0..case.tokens.len(), &mut cache, None);
    let error = relative_error(&values(hidden.clone()), &golden.floats(&format!("{name}.hidden")));
    assert!(error < ERROR_MAX, "{model} {name}: hidden {error}");
    assert_eq!(
        i64::from(cache.next_position()),
        case.tokens.len() as i64 + case.delta,
        "{model} {name}: where decoding goes on"
    );
    let mut logits = values(backbone.logits(last(hidden)));
    let error = relative_error(&logits, &golden.floats(&format!("{name}.logits")));
    assert!(error < ERROR_MAX, "{model} {name}: logits {error}");
    let mut greedy = Vec::new();
    for _ in 0..case.greedy.len() {
        let token = best(&logits);
        greedy.push(token);
        let mut spans = [Span { len: 1, cache: &mut cache }];
        let hidden = backbone.forward(backbone.embed(&[token]), &mut spans, None);
        logits = values(backbone.logits(hidden));
    }
    assert_eq!(greedy, case.greedy, "{model} {name}: greedy tokens");
}

#[test]
fn text_model_is_that_of_transformers() {
    let checkpoint = checkpoint("text");
    for backbone in [portable(&checkpoint), fused(&checkpoint, Precision::F32)] {
        check(&backbone, &goldens("text"), "text", "text", 0);
    }
}

#[test]
fn models_that_see_are_those_of_transformers() {
    for (model, seed) in VL {
        let (checkpoint, golden) = (checkpoint(model), goldens(model));
        for backbone in [portable(&checkpoint), fused(&checkpoint, Precision::F32)] {
            for name in CASES {
                check(&backbone, &golden, model, name, seed);
            }
        }
    }
}

#[test]
fn the_tower_alone_is_that_of_transformers() {
    for (model, seed) in VL {
        let (checkpoint, golden) = (checkpoint(model), goldens(model));
        for backbone in [portable(&checkpoint), fused(&checkpoint, Precision::F32)] {
            let case = case(model, "images");
            let width = checkpoint.config.vision.as_ref().expect("a tower").patch_width();
            let (grids, patches) = patches(&case, width, seed);
            let states = backbone.see(&patches, &grids).expect("sees");
            let error = relative_error(&values(states.rows), &golden.floats("images.merged"));
            assert!(error < ERROR_MAX, "{model}: merged {error}");
            for (index, states) in states.deepstack.into_iter().enumerate() {
                let want = golden.floats(&format!("images.deepstack.{index}"));
                let error = relative_error(&values(states), &want);
                assert!(error < ERROR_MAX, "{model}: deepstack {index} {error}");
            }
        }
    }
}

#[test]
fn a_ragged_batch_is_the_padded_one() {
    for (model, seed) in VL {
        let (checkpoint, golden) = (checkpoint(model), goldens(model));
        for backbone in [portable(&checkpoint), fused(&checkpoint, Precision::F32)] {
            let (text, mixed) = (case(model, "text"), case(model, "mixed"));
            let sight = sight(&backbone, &mixed, seed).expect("has images");
            let (first, second) = (text.tokens.len(), mixed.tokens.len());
            let rows = backbone.embed(&mixed.tokens);
            let (rows, additions) = sight.put(rows, 0..second, first);
            let rows = Tensor::cat(vec![backbone.embed(&text.tokens), rows], 0);
            let positions = (0..first as u32).map(|position| [position; 3]);
            let positions = positions.chain(sight.positions().iter().copied()).collect();
            let (mut one, mut two) = (backbone.new_cache(0), backbone.new_cache(0));
            let mut spans =
                [Span { len: first, cache: &mut one }, Span { len: second, cache: &mut two }];
            let extras = RowExtras { positions, additions };
            let hidden = values(backbone.forward_with(rows, &mut spans, None, &extras));
            let (text, mixed) = hidden.split_at(first * checkpoint.config.hidden_size);
            for (name, got) in [("text", text), ("mixed", mixed)] {
                let error = relative_error(got, &golden.floats(&format!("padded.{name}")));
                assert!(error < ERROR_MAX, "{model} {name}: {error}");
            }
        }
    }
}

#[test]
fn a_prompt_may_run_in_pieces() {
    let checkpoint = checkpoint("vl-tied");
    let golden = goldens("vl-tied").floats("mixed.hidden");
    for backbone in [portable(&checkpoint), fused(&checkpoint, Precision::F32)] {
        let case = case("vl-tied", "mixed");
        let sight = sight(&backbone, &case, 1);
        let mut cache = backbone.new_cache(0);
        let (mut got, mut start) = (Vec::new(), 0);
        while start < case.tokens.len() {
            let range = start..(start + 7).min(case.tokens.len());
            start = range.end;
            got.extend(values(run(&backbone, &case, sight.as_ref(), range, &mut cache, None)));
        }
        let error = relative_error(&got, &golden);
        assert!(error < ERROR_MAX, "{error}");
    }
}

#[test]
fn quantised_weights_stay_near() {
    for (model, seed) in VL {
        let (checkpoint, golden) = (checkpoint(model), goldens(model));
        for (precision, least) in [(Precision::Q8, 0.995), (Precision::Q4, 0.8)] {
            let backbone = fused(&checkpoint, precision);
            let case = case(model, "mixed");
            let sight = sight(&backbone, &case, seed);
            let mut cache = backbone.new_cache(0);
            let all = 0..case.tokens.len();
            let got = values(run(&backbone, &case, sight.as_ref(), all, &mut cache, None));
            let want = golden.floats("mixed.hidden");
            let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            let cosine =
                product(&got, &want) / (product(&got, &got).sqrt() * product(&want, &want).sqrt());
            assert!(cosine > least, "{model} {precision}: cosine {cosine}");
        }
    }
}

#[test]
fn adapters_are_those_of_peft() {
    let checkpoint = checkpoint("vl-tied");
    let golden = goldens("twn");
    let device = Device::flex();
    let read = |which: &str| {
        read_peft(&folder("twn").join(which), &checkpoint.config, &device).expect("is read")
    };
    let (reasoning, embedding) = (read("reasoning"), read("embedding"));
    for backbone in [portable(&checkpoint), fused(&checkpoint, Precision::F32)] {
        let adapted = case("twn", "mixed");
        let sight = sight(&backbone, &adapted, 11);
        let all = 0..adapted.tokens.len();
        for (which, lora) in [("reasoning", &reasoning), ("embedding", &embedding)] {
            let mut cache = backbone.new_cache(0);
            let all = all.clone();
            let got = run(&backbone, &adapted, sight.as_ref(), all, &mut cache, Some(lora));
            let error = relative_error(&values(got), &golden.floats(which));
            assert!(error < ERROR_MAX, "{which}: {error}");
        }
        let (cut, mut cache) = (all.end - 6, backbone.new_cache(0));
        let mut got = Vec::new();
        for (range, lora) in [(0..cut, &reasoning), (cut..all.end, &embedding)] {
            let hidden = run(&backbone, &adapted, sight.as_ref(), range, &mut cache, Some(lora));
            got.extend(values(hidden));
        }
        let error = relative_error(&got, &golden.floats("switched"));
        assert!(error < ERROR_MAX, "switched: {error}");
    }
}

#[test]
fn an_encoder_reads_pixels_again_under_the_embedding_adapter() {
    let checkpoint = checkpoint("vl-tied");
    let plan = AdapterPlan {
        interface: Interface::Reencode,
        pooling: Pooling::Mean,
        ..AdapterPlan::default()
    };
    let made = tempfile::tempdir().expect("a folder");
    let planned = Adapters::planned(&checkpoint, &plan, 1, &Device::flex());
    planned.write(made.path(), StoredType::F32).expect("is written");
    for which in ["reasoning", "embedding"] {
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            let name = format!("{which}/{file}");
            fs_err::copy(folder("twn").join(&name), made.path().join(&name)).expect("is copied");
        }
    }
    let options = LoadOptions {
        adapters: Some(made.path().to_owned()),
        precision: Precision::F32,
        context_tokens: POSITIONS,
        ..LoadOptions::new(folder("vl-tied"))
    };
    let mut encoder = Encoder::load(&options).expect("loads");
    let prompt = mixed_prompt(&checkpoint);
    let got = encoder.direct(&[&prompt]).expect("it embeds").remove(0).embedding;
    let states = goldens("twn").floats("embedding");
    let width = checkpoint.config.hidden_size;
    let sum = states[width..].chunks_exact(width).fold(vec![0.0; width], |mut sum, row| {
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        sum
    });
    let length = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
    let want: Vec<f32> = sum.iter().map(|value| value / length).collect();
    let error = relative_error(&got, &want);
    assert!(error < ERROR_MAX, "{error}");
}

/// The adapters' case as a prompt, all but its first token its content.
fn mixed_prompt(checkpoint: &Checkpoint) -> Prompt {
    let case = case("twn", "mixed");
    let vision = checkpoint.config.vision.as_ref().expect("a tower");
    let (grids, patches) = patches(&case, vision.patch_width(), 11);
    Prompt {
        tokens: case.tokens.clone(),
        truncated: false,
        content: 1..case.tokens.len(),
        vision_tokens: case.types.iter().filter(|&&kind| kind != 0).count() as u32,
        pictures: Some(Arc::new(Pictures { grids, patches })),
    }
}

#[test]
fn a_released_folder_embeds_pictures_as_peft() {
    let options = LoadOptions {
        adapters: Some(folder("twn")),
        precision: Precision::F32,
        context_tokens: POSITIONS,
        ..LoadOptions::new(folder("vl-tied"))
    };
    let mut encoder = Encoder::load(&options).expect("loads");
    assert_eq!((encoder.info().interface, encoder.info().pooling), ("cache", "queries"));
    assert_eq!(encoder.info().embedding_queries, 4);
    let prompt = mixed_prompt(&checkpoint("vl-tied"));
    let golden = goldens("released");
    let got = encoder.direct(&[&prompt]).expect("it embeds").remove(0);
    let error = relative_error(&got.embedding, &golden.floats("embedding"));
    assert!(error < ERROR_MAX, "embedding: {error}");
    let score = golden.floats("gate_score")[0];
    assert!((got.gate_score - score).abs() < ERROR_MAX, "{} {score}", got.gate_score);
}

/// One mixture of text, images and videos.
#[derive(Debug, Deserialize)]
struct Mixture {
    types: String,
    images: Vec<[usize; 3]>,
    videos: Vec<[usize; 3]>,
    positions: [Vec<u32>; 3],
    delta: i64,
}

#[test]
fn positions_are_those_of_get_rope_index() {
    let text = fs_err::read_to_string(folder("positions.json")).expect("is committed");
    let mixtures: Vec<Mixture> = serde_json::from_str(&text).expect("JSON");
    assert_eq!(mixtures.len(), 100);
    for (number, mixture) in mixtures.iter().enumerate() {
        let images = mixture.images.iter().map(|&[_, height, width]| (height, width));
        let videos = mixture
            .videos
            .iter()
            .flat_map(|&[slices, height, width]| std::iter::repeat_n((height, width), slices));
        let (mut images, mut videos) = (images, videos);
        let mut stretches = Vec::new();
        for run in mixture.types.as_bytes().chunk_by(|a, b| a == b) {
            let grid = match run[0] {
                b'0' => None,
                b'1' => images.next(),
                _ => videos.next(),
            };
            stretches.push(match grid {
                None => Stretch::Text(run.len()),
                Some((height, width)) => Stretch::Grid { height: height / 2, width: width / 2 },
            });
        }
        let positions = positions_of(&stretches);
        for axis in 0..3 {
            let got: Vec<u32> = positions.iter().map(|position| position[axis]).collect();
            assert_eq!(got, mixture.positions[axis], "mixture {number}, axis {axis}");
        }
        let largest = positions.iter().flatten().max().copied().expect("tokens");
        assert_eq!(i64::from(largest) + 1 - positions.len() as i64, mixture.delta);
    }
}
