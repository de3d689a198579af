//! The encoder behind its seam, on the tiny random Llama: what is embedded, counted,
//! stopped and refused, and that nothing depends on what runs beside it.

mod encoder_setup;
#[allow(dead_code, reason = "each test binary uses its part")]
mod golden;

use encoder_setup::{
    INTERFACES, POOLINGS, Setup, TEXTS, direct, error_between, greedy_options, prepare, think,
};
use golden::{relative_error, tiny_llama};
use serde_json::json;
use twn_encoder::{
    Convergence, Embedder, Encoder, EncoderError, LoadOptions, Prompt, StopReason, Thought,
    ThoughtOptions, model,
};

fn prompts(encoder: &Encoder) -> Vec<Prompt> {
    TEXTS.iter().map(|text| prepare(encoder, text)).collect()
}

#[test]
fn fresh_adapters_leave_the_bare_backbones_mean() {
    let mut encoder = Setup::default().load();
    let info = encoder.info().clone();
    assert!(!info.trained && info.note.starts_with("untrained: "), "{}", info.note);
    assert_eq!((info.interface, info.pooling, info.dimension), ("cache", "mean", 64));
    for prompt in prompts(&encoder) {
        let got = direct(&mut encoder, &prompt);
        assert_eq!(got.gate_score, 0.5);
        assert_eq!(got.query_tokens, 8);
        let want = Setup::default().reference().mean(&prompt, &[]);
        assert!(relative_error(&got.embedding, &want) < 1e-4);
    }
}

#[test]
fn embeddings_follow_interface_and_pooling() {
    for interface in INTERFACES {
        for (pooling, lexicon) in POOLINGS.into_iter().flat_map(|one| [(one, false), (one, true)]) {
            let setup = Setup { interface, pooling, lexicon, ..Setup::with_adapters() };
            let (mut encoder, reference) = (setup.load(), setup.reference());
            let prompt = prepare(&encoder, TEXTS[0]);
            let got = direct(&mut encoder, &prompt);
            let error = relative_error(&got.embedding, &reference.direct(&prompt));
            assert!(error < 1e-4, "{interface} {pooling} direct: {error}");

            let (thought, decoded) = reference.greedy_thought(&prompt, 5);
            let got = think(&mut encoder, &prompt, &greedy_options(5));
            assert_eq!(got.reasoning_tokens, 5);
            assert_eq!(got.query_tokens, if pooling == "mean" { 0 } else { 8 });
            assert_eq!(got.stop_reason, StopReason::Budget);
            let want = reference.reasoned(&prompt, &thought, decoded);
            let error = relative_error(&got.embedding, &want);
            assert!(error < 1e-4, "{interface} {pooling} reasoned: {error}");
        }
    }
}

#[test]
fn batches_equal_singles() {
    for (interface, lexicon) in INTERFACES.into_iter().zip([false, true]) {
        let pooling = "queries+mean";
        let setup = Setup { interface, pooling, lexicon, ..Setup::with_adapters() };
        let mut encoder = setup.load();
        let prompts = prompts(&encoder);
        let batch = encoder.direct(&prompts.iter().collect::<Vec<_>>()).expect("runs");
        for (prompt, together) in prompts.iter().zip(&batch) {
            let alone = direct(&mut setup.load(), prompt);
            assert!(error_between(&alone.embedding, &together.embedding) < 1e-5);
            assert!((alone.gate_score - together.gate_score).abs() < 1e-5);
            assert_eq!(alone.room, together.room);
        }

        let options =
            ThoughtOptions { token_budget: 12, temperature: 0.8, seed: 3, convergence: None };
        let contexts = batch.into_iter().map(|direct| (direct.context, options)).collect();
        let mut thoughts = encoder.open(contexts).expect("opens");
        while thoughts.iter().any(|thought| thought.stop_reason().is_none()) {
            encoder.step(&mut thoughts.iter_mut().collect::<Vec<_>>()).expect("steps");
        }
        let together = encoder.finish(thoughts).expect("embeds");
        assert_eq!(together.len(), prompts.len());
        for (prompt, together) in prompts.iter().zip(together) {
            let alone = think(&mut setup.load(), prompt, &options);
            assert_eq!(together.thought, alone.thought);
            assert_eq!(together.reasoning_tokens, alone.reasoning_tokens);
            assert!(error_between(&alone.embedding, &together.embedding) < 1e-5);
        }
    }
}

#[test]
fn reused_prefixes_change_no_bit() {
    for interface in INTERFACES {
        let setup = Setup { interface, pooling: "queries+mean", ..Setup::with_adapters() };
        let mut encoder = setup.load();
        let prompt = prepare(&encoder, TEXTS[2]);
        let cold = direct(&mut encoder, &prompt);
        let warm = direct(&mut encoder, &prompt);
        assert_eq!(cold.cached_prompt_tokens, 0);
        assert_eq!(warm.cached_prompt_tokens as usize, prompt.content.start);
        assert!(prompt.content.start > 4);
        assert_eq!(cold.embedding, warm.embedding);
        assert_eq!(cold.gate_score, warm.gate_score);

        // In one batch the first pays for all with the same instruction.
        let prompts = prompts(&encoder);
        let batch = setup.load().direct(&prompts.iter().collect::<Vec<_>>()).expect("runs");
        let reused: Vec<u32> = batch.iter().map(|direct| direct.cached_prompt_tokens).collect();
        let prefix = prompt.content.start as u32;
        assert_eq!(reused, [0, prefix, prefix, prefix, prefix]);
    }
}

#[test]
fn thoughts_leave_their_context_and_neighbours_alone() {
    let setup = Setup { pooling: "queries+mean", ..Setup::with_adapters() };
    let mut encoder = setup.load();
    let prompt = prepare(&encoder, TEXTS[0]);
    let before = direct(&mut encoder, &prompt);
    let first = think(&mut encoder, &prompt, &greedy_options(9));
    let after = direct(&mut encoder, &prompt);
    assert_eq!(before.embedding, after.embedding);
    let second = think(&mut encoder, &prompt, &greedy_options(9));
    assert_eq!(first, second);
    assert!(error_between(&before.embedding, &first.embedding) > 1e-3);
}

#[test]
fn sampling_follows_the_seed() {
    let mut encoder = Setup::with_adapters().load();
    let prompt = prepare(&encoder, TEXTS[0]);
    let mut sample = |temperature, seed| {
        let options = ThoughtOptions { token_budget: 16, temperature, seed, convergence: None };
        think(&mut encoder, &prompt, &options).thought
    };
    assert_eq!(sample(1.0, 1), sample(1.0, 1));
    assert_ne!(sample(1.0, 1), sample(1.0, 2));
    assert_eq!(sample(0.0, 1), sample(0.0, 2));
}

#[test]
fn the_closing_marker_ends_a_thought() {
    let setup = Setup::with_adapters();
    let prompt = prepare(&setup.load(), TEXTS[0]);
    let free = think(&mut setup.load(), &prompt, &greedy_options(24)).thought;
    // Whatever the random model says, a piece of it serves as the marker.
    let letters: Vec<char> = free.chars().collect();
    let middle: String = letters[letters.len() / 2..][..4].iter().collect();
    let at = free.find(&middle).expect("is a piece of it");
    let setup = Setup { close: Some(middle.clone()), ..Setup::with_adapters() };
    let closed = think(&mut setup.load(), &prompt, &greedy_options(24));
    assert_eq!(closed.stop_reason, StopReason::Closed);
    assert!(closed.reasoning_tokens < 24);
    assert_eq!(closed.thought, free[..at].trim());
}

#[test]
fn the_end_of_turn_ends_a_thought() {
    let mut encoder = Setup::with_adapters().load();
    let prompt = prepare(&encoder, TEXTS[1]);
    let ended = (0..60).find_map(|seed| {
        let options =
            ThoughtOptions { token_budget: 200, temperature: 3.0, seed, convergence: None };
        let reasoned = think(&mut encoder, &prompt, &options);
        (reasoned.stop_reason == StopReason::EndOfTurn).then_some(reasoned)
    });
    let ended = ended.expect("one of 600 tokens ends the turn");
    assert!((1..200).contains(&ended.reasoning_tokens));
    assert!(!ended.thought.contains("<|im_end|>"));
}

#[test]
fn the_context_bounds_a_thought() {
    let mut encoder = Setup { context_tokens: 128, ..Setup::with_adapters() }.load();
    let prompt = prepare(&encoder, TEXTS[2]);
    let got = direct(&mut encoder, &prompt);
    let markers = Setup::with_adapters().reference().marker_tokens();
    assert_eq!(got.room as usize, 128 - 8 - markers - prompt.tokens.len());
    let full = think(&mut encoder, &prompt, &greedy_options(1000));
    assert_eq!((full.stop_reason, full.reasoning_tokens), (StopReason::ContextFull, got.room));

    let long = prepare(&encoder, &"word ".repeat(500));
    assert!(long.truncated);
    assert_eq!(long.tokens.len(), 120);
    assert_eq!(direct(&mut encoder, &long).room, 0);
    let nothing = think(&mut encoder, &long, &greedy_options(10));
    assert_eq!((nothing.stop_reason, nothing.reasoning_tokens), (StopReason::ContextFull, 0));
    assert_eq!(nothing.thought, "");
}

#[test]
fn a_thought_can_be_stopped_and_then_rests() {
    let mut encoder = Setup::with_adapters().load();
    let prompt = prepare(&encoder, TEXTS[0]);
    let context = direct(&mut encoder, &prompt).context;
    let mut thought = encoder.think(context, &greedy_options(50)).expect("opens");
    assert_eq!((thought.tokens(), thought.stop_reason()), (0, None));
    encoder.step(&mut [&mut thought]).expect("steps");
    encoder.step(&mut [&mut thought]).expect("steps");
    thought.stop(StopReason::Deadline);
    thought.stop(StopReason::Budget);
    encoder.step(&mut [&mut thought]).expect("steps");
    assert_eq!((thought.tokens(), thought.stop_reason()), (2, Some(StopReason::Deadline)));
    let reasoned = encoder.reasoned(thought).expect("embeds");
    assert_eq!((reasoned.reasoning_tokens, reasoned.stop_reason), (2, StopReason::Deadline));
}

#[test]
fn a_thought_ends_when_its_embedding_has_settled() {
    for interface in INTERFACES {
        for pooling in POOLINGS {
            let setup = Setup { interface, pooling, ..Setup::with_adapters() };
            let mut encoder = setup.load();
            let prompt = prepare(&encoder, TEXTS[0]);
            let mut end = |every: u32, similarity: f32| {
                let convergence = Some(Convergence { every, similarity });
                let options = ThoughtOptions { convergence, ..greedy_options(20) };
                think(&mut encoder, &prompt, &options)
            };
            // Any two directions are similar enough: the third probe ends it.
            let early = end(3, -1.0);
            assert_eq!((early.stop_reason, early.reasoning_tokens), (StopReason::Converged, 9));
            let per_probe = if pooling == "mean" { 0 } else { 8 };
            assert_eq!(early.query_tokens, 4 * per_probe);
            // What it gives is what a budget of as many tokens gives.
            let cut = think(&mut encoder, &prompt, &greedy_options(9));
            assert_eq!(early.thought, cut.thought);
            assert!(error_between(&early.embedding, &cut.embedding) < 1e-6);
            // Probing changes nothing else.
            let mut end = |similarity: f32| {
                let convergence = Some(Convergence { every: 2, similarity });
                let options = ThoughtOptions { convergence, ..greedy_options(13) };
                think(&mut encoder, &prompt, &options)
            };
            let (probed, free) = (end(2.0), think(&mut setup.load(), &prompt, &greedy_options(13)));
            assert_eq!((&probed.thought, &probed.embedding), (&free.thought, &free.embedding));
            assert_eq!(probed.stop_reason, StopReason::Budget);
            // After 2, 4, .. 12 tokens; with the 13th the budget is spent.
            assert_eq!(probed.query_tokens - free.query_tokens, 6 * per_probe);
        }
    }
}

#[test]
fn catching_up_changes_when_tokens_run_and_nothing_else() {
    for interface in INTERFACES {
        let setup = Setup { interface, pooling: "queries+mean", ..Setup::with_adapters() };
        let mut encoder = setup.load();
        let prompt = prepare(&encoder, TEXTS[0]);
        let run = |encoder: &mut Encoder, catches_up: bool| {
            let context = direct(encoder, &prompt).context;
            let mut thought = encoder.think(context, &greedy_options(100)).expect("opens");
            let (mut caught_up, mut most_behind) = (0, 0);
            while thought.stop_reason().is_none() {
                encoder.step(&mut [&mut thought]).expect("steps");
                most_behind = most_behind.max(thought.behind());
                if catches_up && encoder.catch_up(&mut [&mut thought]).expect("runs") {
                    caught_up += 1;
                    assert_eq!(thought.behind(), 0);
                }
            }
            (encoder.reasoned(thought).expect("embeds"), caught_up, most_behind)
        };
        let (apace, caught_up, behind) = run(&mut encoder, true);
        let (late, none, far_behind) = run(&mut encoder, false);
        assert_eq!(none, 0);
        if interface == "reencode" {
            assert!(caught_up >= 2 && behind <= 64, "{caught_up} times, {behind} tokens");
            assert!(far_behind >= 100, "{far_behind}");
        } else {
            assert_eq!(caught_up, 0);
            assert!(far_behind <= 3, "{far_behind}");
        }
        assert_eq!(apace.thought, late.thought);
        assert!(error_between(&apace.embedding, &late.embedding) < 1e-5);
    }
}

#[test]
fn the_portable_module_serves_as_well() {
    let setup = Setup { pooling: "queries+mean", ..Setup::with_adapters() };
    let portable = Setup { device: "flex", ..setup.clone() };
    let (mut fused, mut portable) = (setup.load(), portable.load());
    assert!(portable.info().device.contains("flex"), "{}", portable.info().device);
    assert_eq!(fused.info().fingerprint, portable.info().fingerprint);
    for prompt in prompts(&fused) {
        let (a, b) = (direct(&mut fused, &prompt), direct(&mut portable, &prompt));
        assert!(error_between(&a.embedding, &b.embedding) < 1e-4);
        let options = greedy_options(6);
        let (a, b) =
            (think(&mut fused, &prompt, &options), think(&mut portable, &prompt, &options));
        assert_eq!(a.thought, b.thought);
        assert!(error_between(&a.embedding, &b.embedding) < 1e-4);
    }
}

#[test]
fn an_unfinished_thought_counts_as_ended_by_its_budget() {
    let mut encoder = Setup::with_adapters().load();
    let prompt = prepare(&encoder, TEXTS[0]);
    let context = direct(&mut encoder, &prompt).context;
    let thought = encoder.think(context, &greedy_options(50)).expect("opens");
    let reasoned = encoder.reasoned(thought).expect("embeds");
    assert_eq!((reasoned.reasoning_tokens, reasoned.stop_reason), (0, StopReason::Budget));
    assert_eq!(reasoned.thought, "");
}

#[test]
fn contexts_of_a_large_batch_can_still_think() {
    let setup = Setup::with_adapters();
    let mut encoder = setup.load();
    let long = "think before you search, and read it once; ".repeat(24);
    let prompts: Vec<Prompt> = (0..60).map(|i| prepare(&encoder, &format!("{i} {long}"))).collect();
    let total: usize = prompts.iter().map(|prompt| prompt.tokens.len()).sum();
    assert!(total > 17_000, "{total} tokens are not more than a batch keeps");
    let mut batch = encoder.direct(&prompts.iter().collect::<Vec<_>>()).expect("runs");
    let last = batch.pop().expect("60 prompts");
    let mut thought = encoder.think(last.context, &greedy_options(4)).expect("opens");
    while thought.stop_reason().is_none() {
        encoder.step(&mut [&mut thought]).expect("steps");
    }
    let got = encoder.reasoned(thought).expect("embeds");
    let alone = think(&mut setup.load(), &prompts[59], &greedy_options(4));
    assert_eq!(got.thought, alone.thought);
    assert!(error_between(&got.embedding, &alone.embedding) < 1e-5);
}

#[test]
fn the_gate_scores_by_its_weights() {
    let setup = Setup { gate_bias: 1.5, pooling: "queries", ..Setup::with_adapters() };
    let mut encoder = setup.load();
    let prompt = prepare(&encoder, TEXTS[0]);
    let want = 1.0 / (1.0 + (-1.5_f32).exp());
    assert!((direct(&mut encoder, &prompt).gate_score - want).abs() < 1e-6);
}

#[test]
fn written_adapters_embed_the_same() {
    let fresh = Setup::default();
    let written = Setup { through_folder: true, ..Setup::default() };
    let (mut a, mut b) = (fresh.load(), written.load());
    let prompt = prepare(&a, TEXTS[0]);
    assert_eq!(direct(&mut a, &prompt).embedding, direct(&mut b, &prompt).embedding);
    assert_eq!(a.info().adapter_parameters, b.info().adapter_parameters);
    assert!(b.info().note.starts_with("untrained: "));
}

#[test]
fn fingerprints_tell_encoders_apart() {
    let fingerprint = |setup: Setup| setup.load().info().fingerprint.clone();
    let one = fingerprint(Setup::default());
    assert_eq!(one, fingerprint(Setup::default()));
    let others = [
        fingerprint(Setup { seed: 1, ..Setup::default() }),
        fingerprint(Setup::with_adapters()),
        fingerprint(Setup { interface: "reencode", ..Setup::with_adapters() }),
        fingerprint(Setup { gate_bias: 0.25, ..Setup::with_adapters() }),
    ];
    for (index, other) in others.iter().enumerate() {
        assert_ne!(&one, other);
        assert!(!others[..index].contains(other));
    }
}

#[test]
fn an_embedding_that_is_not_finite_is_an_error() {
    let setup = Setup { projection: Some(3e38), ..Setup::with_adapters() };
    let mut encoder = setup.load();
    let prompt = prepare(&encoder, TEXTS[0]);
    let error = encoder.direct(&[&prompt]).expect_err("overflows");
    assert!(matches!(error, EncoderError::Internal { .. }), "{error}");
    assert!(!error.is_callers_fault());
}

#[test]
fn prompts_the_prompter_would_not_make_are_refused() {
    let mut encoder = Setup::default().load();
    for tokens in [vec![], vec![600], vec![1; 505]] {
        let prompt = Prompt {
            content: 0..tokens.len(),
            tokens,
            truncated: false,
            vision_tokens: 0,
            pictures: None,
        };
        assert!(matches!(encoder.direct(&[&prompt]), Err(EncoderError::Internal { .. })));
    }
    // The least prompts there can be still have an embedding.
    for tokens in [vec![5], vec![5, 6]] {
        let prompt = Prompt {
            content: 0..tokens.len(),
            tokens,
            truncated: false,
            vision_tokens: 0,
            pictures: None,
        };
        assert!(encoder.direct(&[&prompt]).is_ok());
    }
}

#[test]
fn wrong_folders_are_refused() {
    let checkpoint = model::open(&tiny_llama()).expect("opens");
    #[track_caller]
    fn check(edit: impl FnOnce(&std::path::Path), want: &str) {
        let folder = Setup::with_adapters().write();
        edit(folder.path());
        let options = LoadOptions {
            adapters: Some(folder.path().to_owned()),
            context_tokens: 512,
            ..LoadOptions::new(tiny_llama())
        };
        let message = Encoder::load(&options).expect_err("refused").to_string();
        assert!(message.contains(want), "{message}");
    }
    let manifest = |key: &'static str, value: serde_json::Value| {
        move |folder: &std::path::Path| {
            encoder_setup::edit_manifest(folder, |manifest| manifest[key] = value);
        }
    };
    check(manifest("format_version", json!(2)), "update twn");
    check(manifest("queries", json!(4)), "tensor queries has shape [8, 64], expected [4, 64]");
    let other = json!({"name": "another", "weights_sha256": "00"});
    check(manifest("backbone", other), &checkpoint.weights_sha256);
    for file in ["twn.json", "head.safetensors", "reasoning/adapter_model.safetensors"] {
        check(|folder| fs_err::remove_file(folder.join(file)).expect("was there"), file);
    }
    check(
        |folder| {
            let weights = "adapter_model.safetensors";
            fs_err::copy(folder.join("embedding").join(weights), folder.join("head.safetensors"))
                .expect("copied");
        },
        "tensor queries is missing",
    );
}

#[test]
fn options_that_cannot_be_are_refused_by_name() {
    #[track_caller]
    fn check(options: LoadOptions, want: &str) {
        let message = Encoder::load(&options).expect_err("refused").to_string();
        assert!(message.contains(want), "{message}");
    }
    let options = || LoadOptions::new(tiny_llama());
    check(options(), "`context_tokens`: is 2048, tiny-llama has at most 512");
    check(LoadOptions { context_tokens: 60, ..options() }, "must be at least 72");
    check(LoadOptions { device: "tpu".to_owned(), ..options() }, "`tpu` is no device");
    check(LoadOptions { model: "/nowhere".into(), ..options() }, "/nowhere");
}

#[test]
fn the_encoder_can_move_to_its_thread() {
    fn is_send<T: Send + 'static>() {}
    is_send::<Encoder>();
    let encoder = Setup::default().load();
    let moved = std::thread::spawn(move || {
        let mut encoder = encoder;
        let prompt = prepare(&encoder, TEXTS[0]);
        direct(&mut encoder, &prompt).embedding.len()
    });
    assert_eq!(moved.join().expect("does not panic"), 64);
}
