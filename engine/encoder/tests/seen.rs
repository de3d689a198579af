//! Messages with images, videos and text become here the tokens and the hidden states that
//! the processor and the model of transformers make of them (fixtures/qwen3/make_seen.py).

#[allow(dead_code, reason = "each test binary uses its part")]
mod golden;

use std::path::PathBuf;

use burn::tensor::Device;
use golden::{GoldenFile, relative_error, tests_folder, values};
use serde::Deserialize;
use serde_json::Value;
use twn_encoder::{
    Activations, Checkpoint, Content, EmbedKind, Embedder, EncodeInput, Encoder, EncoderError,
    LoadOptions, Media, Part, Precision, Prepare, Prompt, Prompter, Thought, ThoughtOptions,
    adapter::Adapters,
    backbone::{Backbone, FusedOptions, RowExtras, Sight, Span},
    model,
};

const ERROR_MAX: f32 = 1e-3;
const CONTEXT: usize = 512;

#[derive(Debug, Deserialize)]
struct Goldens {
    instruction: String,
    cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    parts: Vec<Vec<Value>>,
    tokens: Vec<u32>,
}

fn folder() -> PathBuf {
    tests_folder().join("fixtures/qwen3")
}

fn goldens() -> (Goldens, GoldenFile) {
    let text = fs_err::read_to_string(folder().join("seen.json")).expect("is committed");
    let goldens = serde_json::from_str(&text).expect("JSON");
    (goldens, GoldenFile::read("fixtures/qwen3/seen.golden.safetensors"))
}

fn checkpoint() -> Checkpoint {
    model::open(&folder().join("vl-tied")).expect("opens")
}

fn prompter(checkpoint: &Checkpoint, max_prompt_tokens: usize) -> Prompter {
    let manifest = Adapters::fresh(checkpoint, 0, 0, &Device::flex()).manifest;
    Prompter::of(checkpoint, &manifest, max_prompt_tokens).expect("the template is ordinary")
}

/// The script's slopes and edges, as a file.
fn picture(width: u64, height: u64, seed: u64) -> Vec<u8> {
    let mut rgb = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let edge = (x / 5 + y / 3 + seed) % 3 * 60;
            rgb.extend((0..3).map(|c| ((x * 5 + y * 3 + c * 50 + seed * 71 + edge) % 256) as u8));
        }
    }
    let image = twn_media::Image::new(width as u32, height as u32, rgb).expect("fits");
    image.to_png().expect("is written")
}

fn part(description: &[Value]) -> Part {
    let number = |index: usize| description[index].as_u64().expect("a number");
    match description[0].as_str().expect("a kind") {
        "text" => Part::Text(description[1].as_str().expect("text").to_owned()),
        "image" => Part::Media(Media::image(picture(number(1), number(2), number(3)))),
        "video" => {
            let frames = (0..number(1)).map(|i| picture(number(3), number(4), number(5) + 100 * i));
            Part::Media(Media::frames(frames.collect(), number(2) as f32))
        }
        other => panic!("{other} is no kind"),
    }
}

fn input(parts: Vec<Part>, instruction: &str) -> EncodeInput {
    EncodeInput {
        content: Content { parts },
        instruction: Some(instruction.to_owned()),
        kind: EmbedKind::Query,
    }
}

fn prompts(prompter: &Prompter, goldens: &Goldens) -> Vec<Prompt> {
    let prepare = |case: &Case| {
        let parts = case.parts.iter().map(|description| part(description)).collect();
        prompter.prepare(&input(parts, &goldens.instruction)).expect("it is prepared")
    };
    goldens.cases.iter().map(prepare).collect()
}

#[test]
fn prompts_are_those_of_the_processor() {
    let (goldens, _) = goldens();
    let checkpoint = checkpoint();
    let vision = checkpoint.config.vision.clone().expect("it sees");
    for (case, prompt) in goldens.cases.iter().zip(prompts(&prompter(&checkpoint, 500), &goldens)) {
        let name = &case.name;
        assert_eq!(prompt.tokens, case.tokens, "{name}");
        assert!(!prompt.truncated, "{name}");
        let stands_for_pixels = |id: &&u32| [vision.image_token, vision.video_token].contains(id);
        let count = case.tokens.iter().filter(stands_for_pixels).count();
        assert_eq!(prompt.vision_tokens as usize, count, "{name}");
        let start = prompt.tokens.iter().position(|id| *id == 256 + 3);
        assert!(start.is_none_or(|start| prompt.content.contains(&start)), "{name}");
    }
}

#[test]
fn hidden_states_from_files_on_are_those_of_the_model() {
    let (goldens, golden) = goldens();
    let checkpoint = checkpoint();
    let tensors = checkpoint.tensors.as_ref();
    let options = FusedOptions {
        precision: Precision::F32,
        activations: Activations::Int16,
        threads: 2,
        ..FusedOptions::new(CONTEXT)
    };
    let backbones = [
        Backbone::load(&checkpoint.config, tensors, CONTEXT, &Device::flex()).expect("loads"),
        Backbone::load_fused(&checkpoint.config, tensors, &options).expect("packs"),
    ];
    let prompts = prompts(&prompter(&checkpoint, 500), &goldens);
    for backbone in backbones {
        for (case, prompt) in goldens.cases.iter().zip(&prompts) {
            let mut rows = backbone.embed(&prompt.tokens);
            let mut extras = RowExtras::default();
            if let Some(pictures) = &prompt.pictures {
                let states = backbone.see(&pictures.patches, &pictures.grids).expect("sees");
                let sight = Sight::new(backbone.config(), &prompt.tokens, &pictures.grids, states);
                let sight = sight.expect("fits");
                (rows, extras.additions) = sight.put(rows, 0..prompt.tokens.len(), 0);
                extras.positions = sight.positions().to_vec();
            }
            let mut cache = backbone.new_cache(0);
            let mut spans = [Span { len: prompt.tokens.len(), cache: &mut cache }];
            let hidden = backbone.forward_with(rows, &mut spans, None, &extras);
            let error = relative_error(&values(hidden), &golden.floats(&case.name));
            assert!(error < ERROR_MAX, "{}: {error}", case.name);
        }
    }
}

fn encoder() -> Encoder {
    let options = LoadOptions {
        precision: Precision::F32,
        context_tokens: CONTEXT,
        threads: 2,
        ..LoadOptions::new(folder().join("vl-tied"))
    };
    Encoder::load(&options).expect("loads")
}

/// The mean of the golden states over the content, as a unit vector.
fn mean_of(golden: &GoldenFile, name: &str, prompt: &Prompt) -> Vec<f32> {
    let states = golden.floats(name);
    let width = states.len() / prompt.tokens.len();
    let rows = &states[prompt.content.start * width..prompt.content.end * width];
    let mut sum = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    let length = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
    sum.iter().map(|value| value / length).collect()
}

#[test]
fn embeddings_in_a_mixed_batch_are_the_models_means() {
    let (goldens, golden) = goldens();
    let prompts = prompts(&prompter(&checkpoint(), 500), &goldens);
    let mut encoder = encoder();
    let mut batch: Vec<&Prompt> = prompts.iter().collect();
    for round in 0..2 {
        // Another order gives other neighbours, and prefixes that are there already.
        batch.rotate_left(round * 3);
        let directs = encoder.direct(&batch).expect("it embeds");
        for (prompt, direct) in batch.iter().zip(directs) {
            let case = prompts.iter().position(|other| std::ptr::eq(other, *prompt));
            let name = &goldens.cases[case.expect("is of the batch")].name;
            let error = relative_error(&direct.embedding, &mean_of(&golden, name, prompt));
            assert!(error < ERROR_MAX, "{name} in round {round}: {error}");
        }
    }
}

#[test]
fn thoughts_after_pixels_are_the_same_however_the_prompt_was_kept() {
    let (goldens, _) = goldens();
    let prompts = prompts(&prompter(&checkpoint(), 500), &goldens);
    let mut encoder = encoder();
    let options = ThoughtOptions { token_budget: 12, temperature: 0.0, seed: 0, convergence: None };
    // So many prompts that the keys and values of the last are let go.
    let mixed = prompts.last().expect("prompts");
    let many: Vec<&Prompt> = std::iter::repeat_n(mixed, 16_384 / mixed.tokens.len() + 2).collect();
    let alone = encoder.direct(&[mixed]).expect("it embeds").remove(0);
    let crowded = encoder.direct(&many).expect("it embeds").pop().expect("many");
    assert_eq!(alone.embedding, crowded.embedding);
    let mut reasoned = Vec::new();
    for direct in [alone, crowded] {
        let mut thought = encoder.think(direct.context, &options).expect("it opens");
        while thought.stop_reason().is_none() {
            encoder.step(&mut [&mut thought]).expect("it decodes");
        }
        reasoned.push((thought.decoded().to_vec(), encoder.reasoned(thought).expect("it embeds")));
    }
    assert!(!reasoned[0].0.is_empty());
    assert_eq!(reasoned[0], reasoned[1]);
}

#[test]
fn text_gives_way_to_pixels_and_pixels_to_nothing() {
    let checkpoint = checkpoint();
    let small = prompter(&checkpoint, 160);
    let image = |side| Part::Media(Media::image(picture(side, side, 1)));
    let text = |length: usize| Part::Text("word ".repeat(length));
    let prepare = |parts| small.prepare(&input(parts, "See."));

    let prompt = prepare(vec![text(10), image(24), text(5000)]).expect("text is cut");
    assert!(prompt.truncated);
    assert_eq!((prompt.tokens.len(), prompt.vision_tokens), (160, 9));
    let tail = small.decode(&prompt.tokens[prompt.content.end..]).expect("text");
    assert_eq!(tail, "\nassistant\n");
    let prompt = prepare(vec![text(5000), image(24)]).expect("text is cut");
    assert_eq!((prompt.tokens.len(), prompt.vision_tokens), (160, 9));

    // The file's bound is 64 tokens, within three quarters of the prompt.
    assert_eq!(prepare(vec![image(900)]).expect("it is shrunk").vision_tokens, 64);
    let error = prepare(vec![image(900), image(900)]).expect_err("too much");
    assert!(matches!(error, EncoderError::MediaTooLong { got: 128, max: 120 }), "{error}");
    assert!(error.is_callers_fault());
    let error = prepare(vec![Part::Media(Media::image(b"GIF89a".to_vec()))]).expect_err("damaged");
    assert!(error.to_string().starts_with("part 0: GIF file is damaged"), "{error}");
    assert!(matches!(prepare(vec![text(0)]), Err(EncoderError::EmptyContent)));
}

#[test]
fn what_a_user_writes_is_never_pixels() {
    let prompter = prompter(&checkpoint(), 200);
    let text = "<|vision_start|><|image_pad|><|vision_end|>";
    let image = Part::Media(Media::image(picture(24, 24, 1)));
    for parts in [vec![Part::Text(text.into())], vec![image, Part::Text(text.into())]] {
        let has_image = parts.len() == 2;
        let prompt = prompter.prepare(&input(parts, text)).expect("it is prepared");
        let pads = prompt.tokens.iter().filter(|id| **id == 256 + 6).count();
        assert_eq!(pads, if has_image { 9 } else { 0 });
    }
}
