//! GGUF files: the same model as the folder, and every way to be wrong.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use twn_encoder::model;

use crate::{
    assert_refused,
    gguf_writer::{GgufWriter, Tensor, Value},
    open_tiny_llama, tiny_llama,
};

fn tiny_gguf() -> GgufWriter {
    GgufWriter::of(&open_tiny_llama(), &tiny_llama())
}

fn written(folder: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("tiny-llama.F32.gguf");
    fs_err::write(&path, bytes).expect("it is written");
    path
}

#[test]
fn the_same_model_opens_from_either_format() {
    let folder = TempDir::new().expect("a folder");
    let path = written(&folder, &tiny_gguf().bytes());
    let (gguf, original) = (model::open(&path).expect("it opens"), open_tiny_llama());
    assert_eq!(gguf.name, "tiny-llama");
    assert_eq!(gguf.config, original.config);
    assert_eq!(gguf.chat_template, original.chat_template);
    assert_eq!(gguf.bos_token, original.bos_token);
    assert_eq!(gguf.eos_token, original.eos_token);
    assert_eq!(gguf.eos_ids, original.eos_ids);
    assert_eq!(gguf.tensors.names(), original.tensors.names());
    for name in original.tensors.names() {
        let tensor = |source: &twn_encoder::Checkpoint| source.tensors.tensor(&name).expect("read");
        assert!(tensor(&gguf) == tensor(&original), "{name}");
    }
    let ids = |source: &twn_encoder::Checkpoint| {
        let text = "<|im_start|>user\nWhich crate reads a file? 42<|im_end|>";
        source.tokenizer.encode(text, false).expect("it encodes").get_ids().to_vec()
    };
    assert_eq!(ids(&gguf), ids(&original));
    // The folder with the file in it means the file.
    assert_eq!(model::open(folder.path()).expect("it opens").weights_sha256, gguf.weights_sha256);
}

#[test]
fn a_file_can_ask_for_a_first_token() {
    let folder = TempDir::new().expect("a folder");
    let mut gguf = tiny_gguf();
    gguf.set("tokenizer.ggml.add_bos_token", Some(Value::Bool(true)));
    let tokenizer = model::open(&written(&folder, &gguf.bytes())).expect("it opens").tokenizer;
    let ids = |add| tokenizer.encode("a", add).expect("it encodes").get_ids().to_vec();
    assert_eq!(ids(true)[0], 1);
    assert_eq!(ids(true)[1..], ids(false)[..]);
}

#[test]
fn raw_rows_are_in_hugging_face_order() {
    let folder = TempDir::new().expect("a folder");
    let path = written(&folder, &tiny_gguf().bytes());
    let tensors = model::open_gguf_tensors(&path).expect("it opens");
    let name = "model.layers.1.self_attn.k_proj.weight";
    let raw = tensors.raw(name).expect("it is there");
    assert_eq!((raw.kind, raw.rows, raw.columns), (model::BlockKind::F32, 32, 64));
    let want = open_tiny_llama().tensors.tensor(name).expect("read").values;
    for (row, want) in want.chunks(64).enumerate() {
        let want: Vec<u8> = want.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(raw.row(row), want, "row {row}");
    }
    assert!(tensors.raw("model.layers.2.mlp.up_proj.weight").is_err());
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let whole = tiny_gguf();
    let (header, bytes) = (whole.header().len(), whole.bytes());
    // Every cut of the first kilobyte, a sample of the rest, and the last byte of the data:
    // the file ends in padding, which nothing misses.
    let cuts =
        (0..1024).chain((1024..header).step_by(97)).chain((header..bytes.len() - 64).step_by(9973));
    for cut in cuts {
        assert_refused(&written(&folder, &bytes[..cut]), &["tiny-llama.F32.gguf"]);
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let folder = TempDir::new().expect("a folder");
    let whole = tiny_gguf();
    let mut bytes = whole.bytes();
    let header = whole.header().len();
    let first_tensor = header - 4096;
    let positions =
        (0..400).chain((400..first_tensor).step_by(197)).chain((first_tensor..header).step_by(13));
    let mut refused = 0;
    for at in positions {
        for flip in [0xff, 0x01] {
            bytes[at] ^= flip;
            // Some flips change a number that nothing depends on, or make f32 f16: opening and
            // reading may succeed or not, but come back.
            match model::open(&written(&folder, &bytes)) {
                Err(_) => refused += 1,
                Ok(checkpoint) => {
                    let read = |name: &String| checkpoint.tensors.tensor(name).is_ok();
                    checkpoint.tensors.names().iter().filter(|name| read(name)).count();
                }
            }
            bytes[at] ^= flip;
        }
    }
    assert!(refused > 300, "only {refused} flips were refused");
}

#[test]
fn absurd_numbers_are_refused_at_once() {
    let folder = TempDir::new().expect("a folder");
    let whole = tiny_gguf().bytes();
    let patched = |at: usize, patch: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + patch.len()].copy_from_slice(patch);
        written(&folder, &bytes)
    };
    let find = |text: &str| {
        whole.windows(text.len()).position(|window| window == text.as_bytes()).expect("it is there")
    };
    for number in [u64::MAX, 1 << 60, 1 << 33, 1 << 17] {
        let number = number.to_le_bytes();
        assert_refused(&patched(8, &number), &["tensors"]);
        assert_refused(&patched(16, &number), &["metadata values"]);
        // The length of the first key, and the count of the list of tokens behind its key.
        assert_refused(&patched(24, &number), &["byte"]);
        let tokens = find("tokenizer.ggml.tokens") + "tokenizer.ggml.tokens".len() + 8;
        assert_refused(&patched(tokens, &number), &["tokenizer.ggml.tokens"]);
        // The first size of a tensor behind its name and number of dimensions, its offset.
        let sizes = find("blk.0.attn_q.weight") + "blk.0.attn_q.weight".len() + 4;
        assert_refused(&patched(sizes, &number), &["blk.0.attn_q.weight"]);
        assert_refused(&patched(sizes + 8, &number), &["blk.0.attn_q.weight"]);
        assert_refused(&patched(sizes + 20, &number), &["blk.0.attn_q.weight"]);
    }
    assert_refused(&patched(4, &1u32.to_le_bytes()), &["version 1"]);
    assert_refused(&patched(4, &3u32.to_be_bytes()), &["big-endian"]);
    assert_refused(&patched(0, b"GGML"), &["no GGUF file"]);
}

#[test]
fn other_models_are_named_and_refused() {
    let text = |text: &str| Some(Value::Text(text.to_owned()));
    let cases = [
        ("general.architecture", text("qwen2"), "`qwen2`; supported: llama"),
        ("general.architecture", None, "(none)"),
        ("llama.rope.scaling.type", text("yarn"), "yarn"),
        ("llama.rope.scaling.factor", Some(Value::F32(8.0)), "llama.rope.scaling.factor"),
        ("llama.expert_count", Some(Value::U32(8)), "llama.expert_count"),
        ("llama.attention.sliding_window", Some(Value::U32(4096)), "sliding_window"),
        ("llama.attention.key_length", Some(Value::U32(32)), "rope.dimension_count"),
        ("llama.attention.head_count", Some(Value::U32(0)), "head width"),
        ("llama.attention.head_count_kv", Some(Value::U32(3)), "4 heads cannot share 3"),
        ("llama.block_count", Some(Value::U32(3)), "lacks tensors: model.layers.2"),
        ("llama.block_count", Some(Value::U32(1)), "does not have: model.layers.1"),
        ("llama.block_count", Some(Value::U32(u32::MAX)), "number of layers"),
        ("llama.embedding_length", None, "lacks `llama.embedding_length`"),
        ("llama.embedding_length", text("64"), "is no integer"),
        ("llama.feed_forward_length", Some(Value::U32(256)), "shape [64, 128]"),
        ("llama.rope.freq_base", Some(Value::F32(f32::NAN)), "rotary base"),
        ("llama.attention.layer_norm_rms_epsilon", None, "layer_norm_rms_epsilon"),
        ("tokenizer.ggml.model", text("llama"), "`llama`; supported: gpt2"),
        ("tokenizer.ggml.pre", text("qwen2"), "`qwen2`; supported: smollm"),
        ("tokenizer.ggml.tokens", None, "tokenizer.ggml.tokens"),
        ("tokenizer.ggml.merges", Some(Value::Texts(vec!["ab".to_owned()])), "merge `ab`"),
        ("tokenizer.ggml.merges", Some(Value::Texts(vec!["a zzz".to_owned()])), "zzz"),
        ("tokenizer.ggml.token_type", Some(Value::Numbers(vec![1])), "1 token types"),
        ("tokenizer.ggml.eos_token_id", Some(Value::U32(600)), "the vocabulary has 600"),
        ("tokenizer.ggml.eos_token_id", None, "eos_token_id"),
        ("tokenizer.chat_template", None, "chat template"),
        ("general.alignment", Some(Value::U32(48)), "general.alignment"),
    ];
    let folder = TempDir::new().expect("a folder");
    for (key, value, word) in cases {
        let mut gguf = tiny_gguf();
        gguf.set(key, value);
        assert_refused(&written(&folder, &gguf.bytes()), &[word]);
    }
}

#[test]
fn wrong_tensors_are_named_and_refused() {
    let bias = Tensor {
        name: "blk.0.attn_q.bias".to_owned(),
        sizes: vec![64],
        kind: 0,
        bytes: vec![0; 256],
    };
    let check = |change: &dyn Fn(&mut GgufWriter), words: &[&str]| {
        let folder = TempDir::new().expect("a folder");
        let mut gguf = tiny_gguf();
        change(&mut gguf);
        assert_refused(&written(&folder, &gguf.bytes()), words);
    };
    check(&|gguf| gguf.tensors.push(bias.clone()), &["blk.0.attn_q.bias"]);
    check(&|gguf| gguf.tensor("output_norm.weight").kind = 12, &["Q4_K", "supported: F32"]);
    check(&|gguf| gguf.tensor("output_norm.weight").sizes = vec![32, 2], &["[2, 32]"]);
    check(&|gguf| gguf.tensor("output_norm.weight").sizes = vec![], &["0 dimensions"]);
    check(&|gguf| gguf.tensor("output_norm.weight").sizes = vec![0], &["impossible size"]);
    check(
        &|gguf| gguf.tensors.retain(|tensor| tensor.name != "blk.1.ffn_up.weight"),
        &["lacks tensors: model.layers.1.mlp.up_proj.weight"],
    );
    let again = |gguf: &mut GgufWriter| {
        let norm = gguf.tensor("output_norm.weight").clone();
        gguf.tensors.push(norm);
    };
    check(&again, &["output_norm.weight", "twice"]);
}

#[test]
fn a_value_that_is_not_finite_is_refused_when_read() {
    let folder = TempDir::new().expect("a folder");
    let mut gguf = tiny_gguf();
    gguf.tensor("output_norm.weight").bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let checkpoint = model::open(&written(&folder, &gguf.bytes())).expect("the header is fine");
    let error = checkpoint.tensors.tensor("model.norm.weight").expect_err("NaN is refused");
    assert!(error.to_string().contains("not finite"), "{error}");
}

#[test]
fn paths_that_are_no_model_are_refused() {
    let folder = TempDir::new().expect("a folder");
    assert_refused(folder.path(), &["holds no model"]);
    assert_refused(&folder.path().join("missing"), &["does not exist", "twn model pull"]);
    assert_refused(&written(&folder, b""), &["is empty"]);
    let package = folder.path().join("x.whl");
    fs_err::write(&package, b"PK").expect("it is written");
    assert_refused(&package, &["--from"]);
    fs_err::write(folder.path().join("second.gguf"), b"GGUF").expect("it is written");
    assert_refused(folder.path(), &["2 .gguf files"]);
    assert_refused(Path::new("/dev/null"), &["regular file"]);
}
