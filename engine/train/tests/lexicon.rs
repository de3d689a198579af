//! A lexicon is added to adapters, turns what their states made and nothing else, and means
//! the same to the student under training as to the encoder that serves.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use twn_encoder::{
    Checkpoint, Content, EmbedKind, Embedder, EncodeInput, Encoder, LoadOptions, Precision, Prompt,
    adapter::{AdapterPlan, Adapters, Interface, StoredType},
    model,
};
use twn_train::learn::{
    Batch, Example, LexiconOptions, SequenceLimits, Sequencer, Student, Wiring, fit_lexicon,
};

const HIDDEN: usize = 64;
const TEXT: &str = "The wing of an aircraft heats at the leading edge.";

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../encoder/tests/fixtures/tiny-llama")
}

fn examples(count: usize) -> Vec<Example> {
    let nouns = ["pump", "wing", "queue", "boiler", "ledger"];
    let verbs = ["turns", "holds", "leaks", "waits", "heats up"];
    let text = |i: usize| {
        format!("the {} {} {i} times, says part {}", nouns[i % 5], verbs[i / 5 % 5], i * 37 % 101)
    };
    (0..count).map(|i| Example { query: text(i), ..Example::default() }).collect()
}

fn load(adapters: &Path) -> Encoder {
    let options = LoadOptions {
        adapters: Some(adapters.to_owned()),
        context_tokens: 256,
        precision: Precision::F32,
        ..LoadOptions::new(tiny())
    };
    Encoder::load(&options).expect("loads")
}

fn prepare(encoder: &Encoder) -> Prompt {
    let kind = EmbedKind::Document;
    let input = EncodeInput { content: Content::text(TEXT), instruction: None, kind };
    encoder.prompter().prepare(&input).expect("has content")
}

fn direct(encoder: &mut Encoder) -> Vec<f32> {
    let prompt = prepare(encoder);
    encoder.direct(&[&prompt]).expect("runs").remove(0).embedding
}

/// Fresh adapters in a folder, and an encoder with them.
fn begin(folder: &Path, checkpoint: &Checkpoint) -> (Encoder, Adapters) {
    let plan = AdapterPlan { interface: Interface::Reencode, ..AdapterPlan::default() };
    let adapters = Adapters::planned(checkpoint, &plan, 5, &Device::flex());
    adapters.write(folder, StoredType::F32).expect("written");
    let adapters = Adapters::read(folder, checkpoint, &Device::flex()).expect("whole");
    (load(folder), adapters)
}

fn options() -> LexiconOptions {
    LexiconOptions { states: HIDDEN, words: 20, share: 0.5, texts: 200, seed: 3 }
}

#[test]
fn the_states_part_is_turned_and_the_student_agrees() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let checkpoint = model::open(&tiny()).expect("opens");
    let (mut encoder, mut adapters) = begin(folder.path(), &checkpoint);
    let before = direct(&mut encoder);
    let mut last = (0, 0);
    let mut progress = |done: usize, of: usize| last = (done, of);
    let seen = fit_lexicon(&mut encoder, &mut adapters, &examples(180), &options(), &mut progress)
        .expect("fits");
    assert_eq!((seen.counted, seen.embedded, last), (180, 180, (180, 180)));
    assert!((seen.states_variance - 1.0).abs() < 1e-6, "all dimensions are kept: {seen:?}");
    assert!(seen.words_variance > 0.1 && seen.words_variance < 1.0, "{seen:?}");
    assert_eq!(adapters.pooler.dimension(HIDDEN), HIDDEN + 20);

    let out = tempfile::tempdir().expect("temporary folder");
    adapters.write(out.path(), StoredType::F32).expect("written");
    let mut served = load(out.path());
    assert_eq!(served.info().dimension, HIDDEN + 20);
    assert_eq!(served.info().adapter_parameters, seen.parameters[1]);
    let after = direct(&mut served);
    let length = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>().sqrt();
    // Lengths 1 and 0.5, scaled to 1 together.
    assert!((length(&after[..HIDDEN]) - 0.8_f32.sqrt()).abs() < 1e-5);
    assert!((length(&after[HIDDEN..]) - 0.2_f32.sqrt()).abs() < 1e-5);

    // The projection that was made turns what the embedding was before.
    let mean = adapters.pooler.mean.as_ref().expect("made");
    let rows: Vec<f32> = mean.weight.val().into_data().try_to_vec().expect("f32");
    let turned: Vec<f32> = rows
        .chunks_exact(HIDDEN)
        .map(|row| row.iter().zip(&before).map(|(a, b)| a * b).sum())
        .collect();
    let scale = 0.8_f32.sqrt() / length(&turned);
    let error = turned.iter().zip(&after).map(|(a, b)| (a * scale - b).abs()).fold(0.0, f32::max);
    assert!(error < 1e-4, "{error}");

    let limits = SequenceLimits { content: 128, frame: 128 };
    let sequencer = Sequencer::new(&checkpoint, &adapters.manifest, limits).expect("usable");
    let sequence = sequencer.document(TEXT).expect("has content");
    let reread = Adapters::read(out.path(), &checkpoint, &Device::flex()).expect("whole");
    let student = Student::new(&checkpoint, reread, 256, Wiring::default(), &Device::flex());
    for student in
        [student.expect("student")].map(|one| [one.frozen(), one.padded()]).into_iter().flatten()
    {
        let embedded = student.embed(&Batch::new(vec![&sequence], student.queries()));
        let own =
            embedded.embeddings.into_data().convert::<f32>().try_to_vec::<f32>().expect("f32");
        let error = own.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error < 1e-4, "{error}");
    }
}

#[test]
fn what_makes_no_lexicon_is_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let checkpoint = model::open(&tiny()).expect("opens");
    let (mut encoder, mut adapters) = begin(folder.path(), &checkpoint);
    let mut fit = |examples: &[Example], options: LexiconOptions| match fit_lexicon(
        &mut encoder,
        &mut adapters,
        examples,
        &options,
        &mut |_, _| {},
    ) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    assert!(fit(&[], options()).contains("there are 0"));
    assert!(fit(&examples(100), options()).contains("128 texts, there are 100"));
    let wide = LexiconOptions { words: HIDDEN + 1, ..options() };
    assert!(fit(&examples(180), wide).contains("need 1 to 64"));
    let none = LexiconOptions { states: 0, ..options() };
    assert!(fit(&examples(180), none).contains("0 dimensions of states"));
    assert_eq!(fit(&examples(180), options()), "");
    assert!(fit(&examples(180), options()).contains("have one already"));
}
