//! Thoughts that are opened while others decode, and what a thought was decoded by.

#[allow(dead_code, reason = "each test binary uses its part")]
mod encoder_setup;
#[allow(dead_code, reason = "each test binary uses its part")]
mod golden;

use encoder_setup::{INTERFACES, Setup, TEXTS, direct, greedy_options, prepare, think};
use golden::relative_error;
use twn_encoder::{Context, Embedder, Encoder, Reasoned, StopReason, Thought};

/// Without a direct embedding before them, thoughts and what is embedded after them are the same.
#[test]
fn prompts_that_only_began_are_thought_about_alike() {
    for interface in INTERFACES {
        let setup = Setup { interface, device: "cpu", ..Setup::with_adapters() };
        let mut encoder = setup.load();
        let prompts: Vec<_> = TEXTS.iter().map(|text| prepare(&encoder, text)).collect();
        let begun = encoder.begin(&prompts.iter().collect::<Vec<_>>()).expect("begins");
        for (prompt, begun) in prompts.iter().zip(begun) {
            let direct = direct(&mut encoder, prompt);
            assert_eq!(encoder.room(prompt), direct.room);
            let got = finish(&mut encoder, begun.context, None);
            assert_eq!(got, finish(&mut encoder, direct.context, None), "{interface}");

            let begun = encoder.begin(&[prompt]).expect("begins").remove(0).context;
            let direct = encoder_setup::direct(&mut encoder, prompt).context;
            let late = Some(StopReason::Deadline);
            let got = finish(&mut encoder, begun, late);
            assert_eq!((got.stop_reason, got.reasoning_tokens), (StopReason::Deadline, 0));
            assert_eq!(got, finish(&mut encoder, direct, late), "{interface}");
        }
    }
}

/// Thinks about what a prompt left, unless it is stopped before the first step, and embeds.
fn finish(encoder: &mut Encoder, context: Context, stop: Option<StopReason>) -> Reasoned {
    let mut thought = encoder.think(context, &greedy_options(9)).expect("opens");
    if let Some(reason) = stop {
        thought.stop(reason);
    }
    while thought.stop_reason().is_none() {
        encoder.step(&mut [&mut thought]).expect("steps");
    }
    encoder.reasoned(thought).expect("embeds")
}

/// A new thought's prompt runs in the pass in which the others decode a token.
#[test]
fn who_joins_changes_nobodys_thought() {
    for interface in INTERFACES {
        let setup = Setup { interface, device: "cpu", ..Setup::with_adapters() };
        let mut encoder = setup.load();
        let options = greedy_options(12);
        let mut thoughts = Vec::new();
        for text in TEXTS {
            let prompt = prepare(&encoder, text);
            let context = direct(&mut encoder, &prompt).context;
            thoughts.push(encoder.think(context, &options).expect("opens"));
            for _ in 0..3 {
                encoder.step(&mut thoughts.iter_mut().collect::<Vec<_>>()).expect("steps");
            }
        }
        while thoughts.iter().any(|thought| thought.stop_reason().is_none()) {
            encoder.step(&mut thoughts.iter_mut().collect::<Vec<_>>()).expect("steps");
        }
        let together = encoder.finish(thoughts).expect("embeds");
        for (text, together) in TEXTS.iter().zip(together) {
            let mut alone = setup.load();
            let prompt = prepare(&alone, text);
            assert_eq!(together, think(&mut alone, &prompt, &options), "{interface}");
        }
    }
}

#[test]
fn logits_along_a_thought_are_those_that_it_was_decoded_by() {
    for interface in INTERFACES {
        let setup = Setup { interface, device: "cpu", ..Setup::with_adapters() };
        let mut encoder = setup.load();
        let mut portable = Setup { interface, device: "flex", ..Setup::with_adapters() }.load();
        let prompt = prepare(&encoder, TEXTS[0]);
        let context = direct(&mut encoder, &prompt).context;
        let mut thought = encoder.think(context, &greedy_options(10)).expect("opens");
        while thought.stop_reason().is_none() {
            encoder.step(&mut [&mut thought]).expect("steps");
        }
        let decoded = thought.decoded();
        let logits = encoder.thought_logits(&prompt, decoded).expect("runs");
        assert_eq!(logits.len(), decoded.len() + 1);
        for (row, &token) in logits.iter().zip(decoded) {
            let largest = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
            assert_eq!(largest, Some(token as usize), "{interface}");
        }
        let reference = portable.thought_logits(&prompt, decoded).expect("runs");
        assert!(relative_error(&logits.concat(), &reference.concat()) < 1e-3);
    }
}

#[test]
fn logits_that_cannot_be_given_are_refused() {
    let mut encoder = Setup::with_adapters().load();
    let prompt = prepare(&encoder, TEXTS[1]);
    let vocabulary = encoder.vocabulary() as u32;
    let problem = |thought: &[u32], encoder: &mut twn_encoder::Encoder| {
        encoder.thought_logits(&prompt, thought).expect_err("is refused").to_string()
    };
    let outside = problem(&[vocabulary], &mut encoder);
    assert!(outside.contains("the vocabulary has fewer"), "{outside}");
    let long = problem(&[1; 5_000], &mut encoder);
    assert!(long.contains("a thought has 5000 tokens"), "{long}");
}
