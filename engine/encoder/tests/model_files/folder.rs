//! Hugging Face folders: what is read from which file, and what is refused.

use half::{bf16, f16};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;
use twn_encoder::{Checkpoint, model};

use crate::{assert_refused, open_tiny_llama, tiny_llama};

const FILES: [&str; 5] = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// A copy of the small model that a test may change.
fn copy() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    for file in FILES {
        fs_err::copy(tiny_llama().join(file), folder.path().join(file)).expect("it is copied");
    }
    folder
}

/// Merges values into a JSON file; null removes a key.
fn patch(folder: &TempDir, file: &str, changes: &Value) {
    let path = folder.path().join(file);
    let mut json: Value =
        serde_json::from_slice(&fs_err::read(&path).expect("it is read")).expect("it is JSON");
    for (key, value) in changes.as_object().expect("changes are an object") {
        json[key] = value.clone();
        if value.is_null() {
            json.as_object_mut().expect("an object").remove(key);
        }
    }
    fs_err::write(path, json.to_string()).expect("it is written");
}

#[test]
fn the_fixture_is_read_whole() {
    let checkpoint = open_tiny_llama();
    assert_eq!(checkpoint.name, "tiny-llama");
    assert_eq!(checkpoint.config.head_dim, 16);
    assert_eq!(checkpoint.config.rope_theta, 10_000.0);
    assert!(checkpoint.config.tied_embeddings);
    assert_eq!(checkpoint.eos_ids, [2]);
    assert_eq!(checkpoint.eos_token, "<|im_end|>");
    assert_eq!(checkpoint.bos_token.as_deref(), Some("<|im_start|>"));
    assert!(checkpoint.chat_template.contains("<|im_start|>"));
    assert_eq!(checkpoint.tensors.names().len(), 2 + 2 * 9);
    assert!(checkpoint.tensors.tensor("lm_head.weight").is_err());
}

#[test]
fn settings_are_found_wherever_they_are() {
    let folder = copy();
    patch(&folder, "config.json", &json!({ "rope_parameters": null, "rope_theta": 500.0 }));
    patch(&folder, "generation_config.json", &json!({ "eos_token_id": [0, 2] }));
    patch(
        &folder,
        "tokenizer_config.json",
        &json!({
            "eos_token": { "content": "<|im_end|>", "lstrip": false },
            "chat_template": [{ "name": "tool", "template": "x" }, { "name": "default", "template": "y" }],
        }),
    );
    let checkpoint = model::open(folder.path()).expect("it opens");
    assert_eq!(checkpoint.config.rope_theta, 500.0);
    assert_eq!(checkpoint.eos_ids, [0, 2]);
    assert_eq!(checkpoint.eos_token, "<|im_end|>");
    assert_eq!(checkpoint.chat_template, "y");
    fs_err::write(folder.path().join("chat_template.jinja"), "z").expect("it is written");
    assert_eq!(model::open(folder.path()).expect("it opens").chat_template, "z");
}

#[test]
fn other_configurations_are_named_and_refused() {
    let cases = [
        (json!({ "model_type": "qwen2" }), "`qwen2`; supported: llama, qwen3, qwen3_vl"),
        (json!({ "model_type": null }), "(none)"),
        (json!({ "hidden_act": "gelu" }), "`gelu`; supported: silu"),
        (json!({ "attention_bias": true }), "attention_bias"),
        (json!({ "mlp_bias": true }), "mlp_bias"),
        (json!({ "rope_scaling": { "type": "linear", "factor": 2.0 } }), "linear"),
        (json!({ "rope_parameters": { "rope_type": "llama3" } }), "llama3"),
        (json!({ "rope_parameters": { "partial_rotary_factor": 0.5 } }), "partial_rotary_factor"),
        (json!({ "sliding_window": 128 }), "sliding_window"),
        (json!({ "quantization_config": { "bits": 4 } }), "quantization_config"),
        (json!({ "num_attention_heads": 0 }), "number of heads"),
        (json!({ "num_hidden_layers": 1_000_000_000 }), "number of layers"),
        (json!({ "num_hidden_layers": 3 }), "lacks tensors: model.layers.2"),
        (json!({ "num_hidden_layers": 1 }), "does not have: model.layers.1"),
        (json!({ "head_dim": 15 }), "odd"),
        (json!({ "rms_norm_eps": 0.0 }), "norm epsilon"),
        (json!({ "tie_word_embeddings": false }), "lacks tensors: lm_head.weight"),
        (json!({ "vocab_size": 599 }), "id 599"),
        (json!({ "hidden_size": "wide" }), "invalid type"),
    ];
    for (changes, word) in cases {
        let folder = copy();
        patch(&folder, "config.json", &changes);
        if changes.get("vocab_size").is_some() {
            rewrite(&folder, |name, values, shape| {
                let keep = if name.contains("embed") { 599 * 64 } else { values.len() };
                let shape = if name.contains("embed") { vec![599, 64] } else { shape.to_vec() };
                (Dtype::F32, shape, to_bytes(&values[..keep], |v| v.to_le_bytes().to_vec()))
            });
        }
        assert_refused(folder.path(), &[word]);
    }
}

#[test]
fn missing_and_damaged_files_are_named() {
    for (file, word) in [
        ("tokenizer.json", "tokenizer.json"),
        ("model.safetensors", "neither model.safetensors nor"),
        ("tokenizer_config.json", "chat template"),
    ] {
        let folder = copy();
        fs_err::remove_file(folder.path().join(file)).expect("it is removed");
        assert_refused(folder.path(), &[word]);
    }
    for file in FILES {
        let folder = copy();
        fs_err::write(folder.path().join(file), b"{\"").expect("it is written");
        assert_refused(folder.path(), &[file]);
    }
    let folder = copy();
    let path = folder.path().join("model.safetensors");
    let bytes = fs_err::read(&path).expect("it is read");
    for cut in [1, 7, 8, 9, 500, 1000, bytes.len() - 1] {
        fs_err::write(&path, &bytes[..cut]).expect("it is written");
        assert_refused(folder.path(), &["model.safetensors"]);
    }
    for at in 0..8 {
        let mut changed = bytes.clone();
        changed[at] ^= 0x80;
        fs_err::write(&path, changed).expect("it is written");
        assert_refused(folder.path(), &["model.safetensors"]);
    }
}

#[test]
fn halves_and_shards_are_read() {
    let original = open_tiny_llama();
    let folder = copy();
    rewrite(&folder, |name, values, shape| {
        let (dtype, bytes) = if name.contains("mlp") {
            (Dtype::BF16, to_bytes(values, |v| bf16::from_f32(v).to_le_bytes().to_vec()))
        } else {
            (Dtype::F16, to_bytes(values, |v| f16::from_f32(v).to_le_bytes().to_vec()))
        };
        (dtype, shape.to_vec(), bytes)
    });
    split_in_two(&folder);
    let checkpoint = model::open(folder.path()).expect("it opens");
    for name in original.tensors.names() {
        let want = original.tensors.tensor(&name).expect("read");
        let got = checkpoint.tensors.tensor(&name).expect("read");
        assert_eq!(got.shape, want.shape);
        for (got, want) in got.values.iter().zip(&want.values) {
            let rounded = if name.contains("mlp") {
                bf16::from_f32(*want).to_f32()
            } else {
                f16::from_f32(*want).to_f32()
            };
            assert_eq!(*got, rounded, "{name}");
        }
    }
    let index = folder.path().join("model.safetensors.index.json");
    for elsewhere in ["../model.safetensors", "/etc/passwd", "a/b.safetensors", ".."] {
        let json = json!({ "weight_map": { "model.norm.weight": elsewhere } });
        fs_err::write(&index, json.to_string()).expect("it is written");
        assert_refused(folder.path(), &["not in its folder"]);
    }
}

#[test]
fn a_stored_head_that_is_tied_is_ignored() {
    let folder = copy();
    let path = folder.path().join("model.safetensors");
    let original = open_tiny_llama();
    let mut tensors = collect(&original);
    let embeddings = tensors[0].clone();
    assert_eq!(embeddings.0, "model.embed_tokens.weight");
    tensors.push(("lm_head.weight".to_owned(), embeddings.1, embeddings.2, embeddings.3));
    write(&path, &tensors);
    let checkpoint = model::open(folder.path()).expect("it opens");
    assert_eq!(checkpoint.tensors.names(), original.tensors.names());
}

type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

fn to_bytes(values: &[f32], convert: impl Fn(f32) -> Vec<u8>) -> Vec<u8> {
    values.iter().flat_map(|&value| convert(value)).collect()
}

fn collect(checkpoint: &Checkpoint) -> Vec<Stored> {
    let names = checkpoint.tensors.names().into_iter();
    let read = names.map(|name| {
        let tensor = checkpoint.tensors.tensor(&name).expect("read");
        let bytes = to_bytes(&tensor.values, |v| v.to_le_bytes().to_vec());
        (name, Dtype::F32, tensor.shape, bytes)
    });
    read.collect()
}

fn write(path: &std::path::Path, tensors: &[Stored]) {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).expect("a tensor"))
    });
    fs_err::write(path, safetensors::serialize(views, None).expect("bytes")).expect("written");
}

/// Writes the model's weights anew, each as `convert` says.
fn rewrite(
    folder: &TempDir,
    convert: impl Fn(&str, &[f32], &[usize]) -> (Dtype, Vec<usize>, Vec<u8>),
) {
    let original = open_tiny_llama();
    let tensors: Vec<Stored> = original
        .tensors
        .names()
        .into_iter()
        .map(|name| {
            let tensor = original.tensors.tensor(&name).expect("read");
            let (dtype, shape, bytes) = convert(&name, &tensor.values, &tensor.shape);
            (name, dtype, shape, bytes)
        })
        .collect();
    write(&folder.path().join("model.safetensors"), &tensors);
}

/// Moves the layers of a folder's weights into a second file, with an index.
fn split_in_two(folder: &TempDir) {
    let path = folder.path().join("model.safetensors");
    let bytes = fs_err::read(&path).expect("it is read");
    let parsed = safetensors::SafeTensors::deserialize(&bytes).expect("tensors");
    let mut shards: [Vec<Stored>; 2] = Default::default();
    let mut map = serde_json::Map::new();
    for (name, view) in parsed.tensors() {
        let shard = usize::from(name.contains("layers"));
        map.insert(name.clone(), format!("model-{shard}.safetensors").into());
        shards[shard].push((name, view.dtype(), view.shape().to_vec(), view.data().to_vec()));
    }
    for (shard, tensors) in shards.iter().enumerate() {
        write(&folder.path().join(format!("model-{shard}.safetensors")), tensors);
    }
    let index = json!({ "weight_map": map }).to_string();
    fs_err::write(folder.path().join("model.safetensors.index.json"), index).expect("written");
    fs_err::remove_file(path).expect("it is removed");
}
