//! A thought that is dropped after any number of steps gives back everything it held.

use std::path::Path;

use twn_encoder::{
    Content, EmbedKind, Embedder, EncodeInput, Encoder, LoadOptions, Thought, ThoughtOptions,
};

const STEPS: u32 = 40;

#[test]
fn thoughts_dropped_at_every_step_leak_no_page() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
    let options = LoadOptions { threads: 1, context_tokens: 512, ..LoadOptions::new(model) };
    let mut encoder = Encoder::load(&options).expect("loads");
    let input = EncodeInput {
        content: Content::text("Which of the two is the longer one, and why?"),
        instruction: None,
        kind: EmbedKind::Query,
    };
    let prompt = encoder.prompter().prepare(&input).expect("prepares");
    let options =
        ThoughtOptions { token_budget: STEPS, temperature: 1.0, seed: 3, convergence: None };
    // The longest thought, with a neighbour that goes on: all pages that are ever needed.
    let mut run = |steps: u32, finish: bool| {
        let mut directs = encoder.direct(&[&prompt, &prompt]).expect("embeds");
        let mut kept = encoder.think(directs.remove(0).context, &options).expect("thinks");
        let mut dropped = encoder.think(directs.remove(0).context, &options).expect("thinks");
        for _ in 0..steps {
            let mut going: Vec<_> = [&mut kept, &mut dropped]
                .into_iter()
                .filter(|thought| thought.stop_reason().is_none())
                .collect();
            if going.is_empty() {
                break;
            }
            encoder.step(&mut going).expect("thinks");
            encoder.catch_up(&mut going).expect("runs");
        }
        if finish {
            encoder.reasoned(dropped).expect("embeds");
        } else {
            drop(dropped);
        }
        while kept.stop_reason().is_none() {
            encoder.step(&mut [&mut kept]).expect("goes on alone");
            encoder.catch_up(&mut [&mut kept]).expect("runs");
        }
        let embedding = encoder.reasoned(kept).expect("embeds").embedding;
        (encoder.free_cache_pages().expect("the fused pass"), embedding)
    };
    let (pages, want) = run(STEPS, true);
    assert!(pages > 0);
    for steps in 0..=STEPS {
        let (left, embedding) = run(steps, false);
        assert_eq!(left, pages, "dropped after {steps} steps");
        assert_eq!(embedding, want, "the neighbour of one dropped after {steps} steps");
    }
}
