//! Adapters made by the `peft` package compute here what they compute there
//! (golden/make_peft_golden.py), and wrong ones are refused.

#[allow(dead_code, reason = "each test binary uses its part")]
mod golden;

use std::{path::PathBuf, sync::LazyLock};

use burn::tensor::Device;
use golden::{GoldenFile, relative_error, tests_folder, tiny_llama, values};
use serde_json::{Value, json};
use tempfile::TempDir;
use twn_encoder::{
    Checkpoint,
    adapter::{Lora, StoredType, read_peft, write_peft},
    backbone::{Backbone, Span},
    model,
};

const ERROR_MAX: f32 = 1e-3;
const NAMES: [&str; 5] = ["all", "rslora", "patterns", "qv", "regex"];

static TINY: LazyLock<Checkpoint> = LazyLock::new(|| model::open(&tiny_llama()).expect("opens"));
static BACKBONE: LazyLock<Backbone> = LazyLock::new(|| {
    Backbone::load(&TINY.config, TINY.tensors.as_ref(), 64, &Device::flex()).expect("loads")
});

fn folder(name: &str) -> PathBuf {
    tests_folder().join("fixtures/peft").join(name)
}

fn read(folder: &std::path::Path) -> Result<Lora, String> {
    read_peft(folder, &TINY.config, &Device::flex()).map_err(|error| error.to_string())
}

fn hidden(tokens: &[u32], lora: Option<&Lora>) -> Vec<f32> {
    let mut cache = BACKBONE.new_cache(0);
    let span = Span { len: tokens.len(), cache: &mut cache };
    let lora = lora.map(|lora| BACKBONE.prepare(lora).expect("fits"));
    values(BACKBONE.forward(BACKBONE.embed(tokens), &mut [span], lora.as_ref()))
}

#[track_caller]
fn check(golden: &GoldenFile, name: &str, lora: Option<&Lora>) {
    for number in 0..2 {
        let got = hidden(&golden.ids(&format!("{number}.ids")), lora);
        let error = relative_error(&got, &golden.floats(&format!("{name}.{number}")));
        assert!(error < ERROR_MAX, "{name}: {error}");
    }
}

/// Copies an adapter to a temporary folder with entries of its configuration changed.
fn copy(name: &str, entries: &[(&str, Value)]) -> TempDir {
    let copy = tempfile::tempdir().expect("temporary folder");
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs_err::copy(folder(name).join(file), copy.path().join(file)).expect("copied");
    }
    let path = copy.path().join("adapter_config.json");
    let text = fs_err::read_to_string(&path).expect("readable");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    for (key, value) in entries {
        config[*key] = value.clone();
    }
    fs_err::write(&path, config.to_string()).expect("writable");
    copy
}

#[track_caller]
fn check_refused(name: &str, entries: &[(&str, Value)], want: &str) {
    let message = read(copy(name, entries).path()).expect_err("refused");
    assert!(message.contains(want), "{message}");
}

#[test]
fn hidden_states_equal_peft_while_adapters_switch() {
    let golden = GoldenFile::read("fixtures/peft/golden.safetensors");
    let adapters = NAMES.map(|name| read(&folder(name)).expect("adapter is whole"));
    for _ in 0..2 {
        check(&golden, "base", None);
        for (name, lora) in NAMES.into_iter().zip(&adapters) {
            check(&golden, name, Some(lora));
        }
    }
}

#[test]
fn two_adapters_can_meet_in_one_cache() {
    let tokens = [3, 4, 5, 6, 7, 8];
    let (first, second) =
        (read(&folder("all")).expect("whole"), read(&folder("qv")).expect("whole"));
    let mixed = |lora: &Lora| {
        let mut cache = BACKBONE.new_cache(0);
        let span = Span { len: 4, cache: &mut cache };
        let prepare = |lora: &Lora| BACKBONE.prepare(lora).expect("fits");
        BACKBONE.forward(BACKBONE.embed(&tokens[..4]), &mut [span], Some(&prepare(&first)));
        let span = Span { len: 2, cache: &mut cache };
        values(BACKBONE.forward(BACKBONE.embed(&tokens[4..]), &mut [span], Some(&prepare(lora))))
    };
    let alone = hidden(&tokens, Some(&first));
    assert!(relative_error(&mixed(&first), &alone[4 * 64..]) < 1e-5);
    assert!(relative_error(&mixed(&second), &alone[4 * 64..]) > 0.01);
}

#[test]
fn a_written_adapter_computes_the_same() {
    let golden = GoldenFile::read("fixtures/peft/golden.safetensors");
    let written = tempfile::tempdir().expect("temporary folder");
    let lora = read(&folder("all")).expect("whole");
    write_peft(written.path(), &lora, "tiny-llama", StoredType::F32).expect("written");
    check(&golden, "all", Some(&read(written.path()).expect("whole")));
    let uneven = read(&folder("patterns")).expect("whole");
    assert!(write_peft(written.path(), &uneven, "tiny-llama", StoredType::F32).is_err());
}

#[test]
fn stray_and_missing_tensors_are_refused() {
    check_refused("all", &[("target_modules", json!(["q_proj"]))], "match no module");
    check_refused("qv", &[("target_modules", json!(["q_proj", "v_proj", "k_proj"]))], "is missing");
    check_refused("qv", &[("target_modules", json!(["query"]))], "match no module");
    check_refused("qv", &[("r", json!(2))], "has shape");
    check_refused("patterns", &[("rank_pattern", json!({}))], "has shape");
}

#[test]
fn what_is_not_implemented_is_refused() {
    check_refused("all", &[("use_dora", json!(true))], "`use_dora` is true");
    check_refused("all", &[("modules_to_save", json!(["lm_head"]))], "`modules_to_save`");
    check_refused("all", &[("bias", json!("lora_only"))], "`bias`");
    check_refused("all", &[("new_in_2030", json!(1))], "key `new_in_2030` is unknown");
}
