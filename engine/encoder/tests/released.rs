//! Released checkpoints: the gate scores what PyTorch's does, the queries are those that
//! were saved (golden/make_released_golden.py), and what does not fit is refused.

#[allow(dead_code, reason = "each test binary uses its part")]
mod golden;

use std::{path::PathBuf, sync::LazyLock};

use burn::tensor::{Device, Tensor, TensorData};
use golden::{tests_folder, tiny_llama, values};
use serde_json::{Value, json};
use tempfile::TempDir;
use twn_encoder::{
    Checkpoint, Content, EmbedKind, Embedder, EncodeInput, Encoder, GateActivation, GateInput,
    LoadOptions, Pooling,
    adapter::{Adapters, Interface, StoredType},
    model,
};

static TINY: LazyLock<Checkpoint> = LazyLock::new(|| model::open(&tiny_llama()).expect("opens"));
static GOLDEN: LazyLock<Value> = LazyLock::new(|| {
    let text = fs_err::read_to_string(fixture("golden.json")).expect("readable");
    serde_json::from_str(&text).expect("JSON")
});

fn fixture(name: &str) -> PathBuf {
    tests_folder().join("fixtures/released").join(name)
}

fn floats(value: &Value) -> Vec<f32> {
    let numbers = value.as_array().expect("a list").iter();
    numbers.map(|number| number.as_f64().expect("a number") as f32).collect()
}

/// A folder with two adapters, these files under these names, and perhaps a manifest.
fn folder(files: &[(&str, &str)], manifest: Option<Value>) -> TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    for (part, name) in [("reasoning", "all"), ("embedding", "qv")] {
        fs_err::create_dir(folder.path().join(part)).expect("made");
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            let from = tests_folder().join("fixtures/peft").join(name).join(file);
            fs_err::copy(from, folder.path().join(part).join(file)).expect("copied");
        }
    }
    for (from, to) in files {
        fs_err::copy(fixture(from), folder.path().join(to)).expect("copied");
    }
    if let Some(manifest) = manifest {
        fs_err::write(folder.path().join("twn.json"), manifest.to_string()).expect("written");
    }
    folder
}

fn read(files: &[(&str, &str)], manifest: Option<Value>) -> Result<Adapters, String> {
    Adapters::read(folder(files, manifest).path(), &TINY, &Device::flex())
        .map_err(|error| error.to_string())
}

const TORCH: [(&str, &str); 2] = [("gate_gelu.pt", "gate_mlp.pt"), ("queries.pt", "queries.pt")];

#[track_caller]
fn check_scores(gate: &str, manifest: Option<Value>, input: GateInput) {
    let to = if gate.ends_with(".pt") { "gate_mlp.pt" } else { "gate_mlp.safetensors" };
    let adapters = read(&[(gate, to), ("queries.pt", "queries.pt")], manifest).expect("reads");
    assert_eq!(adapters.gate.form.input, input);
    let states = TensorData::new(floats(&GOLDEN["states"]), [4, 3, 64]);
    let scores = values(adapters.gate.score(Tensor::from_data(states, &Device::flex())));
    let name = gate.trim_start_matches("gate_").split('.').next().expect("a name");
    for (got, want) in scores.iter().zip(floats(&GOLDEN["scores"][name])) {
        assert!((got - want).abs() < 1e-5, "{gate}: {got}, PyTorch {want}");
    }
}

#[test]
fn gates_of_every_form_score_as_pytorch() {
    let activation = |name: &str| Some(json!({"gate_activation": name}));
    check_scores("gate_gelu.pt", None, GateInput::QueriesMean);
    check_scores("gate_relu.pt", activation("relu"), GateInput::QueriesMean);
    check_scores("gate_relu.safetensors", activation("relu"), GateInput::QueriesMean);
    check_scores("gate_silu.pt", activation("silu"), GateInput::QueriesMean);
    check_scores("gate_tanh.pt", activation("tanh"), GateInput::Queries);
    check_scores("gate_gelu_tanh.pt", activation("gelu_tanh"), GateInput::QueriesMean);
    check_scores("gate_identity.pt", None, GateInput::QueriesMean);
}

#[test]
fn what_no_file_says_is_a_default_and_listed() {
    let adapters = read(&TORCH, None).expect("reads");
    let manifest = &adapters.manifest;
    assert_eq!((manifest.interface, manifest.pooling), (Interface::Cache, Pooling::Queries));
    assert_eq!((manifest.queries, manifest.gate_threshold), (3, 0.5));
    assert_eq!(manifest.gate_activation, GateActivation::Gelu);
    assert!(manifest.trained);
    assert_eq!(manifest.backbone.weights_sha256, TINY.weights_sha256);
    let all = [
        "interface",
        "pooling",
        "gate_threshold",
        "gate_input",
        "gate_activation",
        "thought",
        "instructions",
    ];
    assert_eq!(adapters.assumed(), all);

    let given = json!({
        "format_version": 1, "interface": "reencode", "pooling": "queries+mean",
        "gate_threshold": 0.25, "gate_input": "queries_mean", "gate_activation": "gelu",
        "thought": {"open": "<t>", "close": "</t>", "token_budget": 7},
        "instructions": {"query": "Q", "document": "D"}, "trained": false, "queries": 3,
    });
    let adapters = read(&TORCH, Some(given)).expect("reads");
    assert_eq!(adapters.assumed(), [""; 0]);
    let manifest = &adapters.manifest;
    assert_eq!(manifest.interface, Interface::Reencode);
    assert_eq!((manifest.gate_threshold, manifest.trained), (0.25, false));
    assert_eq!(manifest.thought.token_budget, 7);
}

#[test]
fn queries_are_those_that_were_saved() {
    let want = floats(&GOLDEN["queries"]);
    let gate = ("gate_gelu.pt", "gate_mlp.pt");
    let rows = |from: &str, to: &str| {
        values(read(&[gate, (from, to)], None).expect("reads").queries.rows.val())
    };
    assert_eq!(rows("queries.pt", "queries.pt"), want);
    assert_eq!(rows("queries.safetensors", "queries.safetensors"), want);
    let rounded = rows("queries_bfloat.pt", "queries.pt");
    assert!(rounded.iter().zip(&want).all(|(a, b)| (a - b).abs() <= b.abs() / 128.0));
}

/// Written as TWN writes adapters and read back, they embed the same.
#[test]
fn a_released_checkpoint_runs_and_embeds_as_its_rewritten_folder() {
    let released = folder(&TORCH, None);
    let rewritten = tempfile::tempdir().expect("temporary folder");
    let files = [("gate_relu.pt", "gate_mlp.pt"), ("queries.pt", "queries.pt")];
    let adapters = read(&files, Some(json!({"gate_activation": "relu"}))).expect("reads");
    let even = |from: &str| tests_folder().join("fixtures/peft").join(from);
    assert!(even("all").is_dir());
    adapters.write(rewritten.path(), StoredType::F32).expect("written");
    let again = Adapters::read(rewritten.path(), &TINY, &Device::flex()).expect("reads");
    assert_eq!(again.manifest, adapters.manifest);
    let states = || {
        let data = TensorData::new(floats(&GOLDEN["states"]), [4, 3, 64]);
        Tensor::from_data(data, &Device::flex())
    };
    assert_eq!(values(again.gate.score(states())), values(adapters.gate.score(states())));

    let load = |folder: &std::path::Path| {
        let adapters = Some(folder.to_owned());
        Encoder::load(&LoadOptions {
            adapters,
            context_tokens: 256,
            ..LoadOptions::new(tiny_llama())
        })
        .expect("loads")
    };
    let embed = |encoder: &mut Encoder| {
        let content = Content::text("a text about nothing");
        let input = EncodeInput { content, instruction: None, kind: EmbedKind::Query };
        let prompt = encoder.prompter().prepare(&input).expect("prepared");
        let direct = encoder.direct(&[&prompt]).expect("embeds").remove(0);
        (direct.embedding, direct.gate_score)
    };
    let mut first = load(released.path());
    let note = first.info().note.clone();
    assert!(note.contains("TWN's defaults stand in") && note.contains("interface"), "{note}");
    let house = tempfile::tempdir().expect("temporary folder");
    read(&TORCH, None).expect("reads").write(house.path(), StoredType::F32).expect("written");
    let mut second = load(house.path());
    assert_eq!(embed(&mut first), embed(&mut second));
    assert_ne!(first.info().fingerprint, second.info().fingerprint);
}

#[track_caller]
fn check_refused(files: &[(&str, &str)], manifest: Option<Value>, wants: &[&str]) {
    let problem = read(files, manifest).expect_err("refused");
    for want in wants {
        assert!(problem.contains(want), "{want}: {problem}");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_shape() {
    let queries = ("queries.pt", "queries.pt");
    let gate = ("gate_gelu.pt", "gate_mlp.pt");
    check_refused(
        &[gate, ("gate_gelu.pt", "queries.pt")],
        None,
        &["queries.pt", "holds 4 tensors, expected one of shape [K, 64]"],
    );
    check_refused(
        &[gate, ("gate_identity.pt", "queries.pt")],
        None,
        &["queries.pt", "holds 2 tensors"],
    );
    check_refused(
        &[("queries.pt", "gate_mlp.pt"), queries],
        None,
        &["gate_mlp.pt", "tensor `` of shape [3, 64] is neither weight nor bias"],
    );
    check_refused(
        &[("gate_tanh.pt", "gate_mlp.pt"), queries],
        Some(json!({"gate_input": "queries_mean"})),
        &["gate_mlp.pt", "tensor `0.weight` has shape [5, 192], expected [width, 64]"],
    );
    check_refused(&[queries], None, &["holds queries.pt, but neither gate_mlp.safetensors"]);
    check_refused(&[gate], None, &["holds gate_mlp.pt, but neither queries.safetensors"]);
    check_refused(
        &[gate, queries, ("queries.safetensors", "queries.safetensors")],
        None,
        &["holds both queries.safetensors and queries.pt"],
    );
    check_refused(
        &[gate, queries, ("queries.safetensors", "head.safetensors")],
        None,
        &["holds both head.safetensors and gate_mlp.pt"],
    );
    check_refused(&[], None, &["twn.json"]);
    check_refused(&TORCH, Some(json!({"queries": 4})), &["`queries` is 4", "has 3"]);
    check_refused(&TORCH, Some(json!({"format_version": 2})), &["format version is 2"]);
    check_refused(&TORCH, Some(json!({"gate_threshold": 2.0})), &["`gate_threshold` is 2"]);
    check_refused(&TORCH, Some(json!({"surprise": 1})), &["twn.json", "unknown field"]);
    check_refused(
        &TORCH,
        Some(json!({"backbone": {"name": "other", "weights_sha256": "00"}})),
        &["adapters were made for other with weights sha256 00"],
    );
    let evil = "../pt/refused/evil.pt";
    check_refused(&[gate, (evil, "queries.pt")], None, &["queries.pt", "`posix.system`"]);
}
