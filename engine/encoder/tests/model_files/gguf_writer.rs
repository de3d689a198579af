//! Writes GGUF files, right ones and wrong ones.

use std::path::Path;

use serde_json::Value as Json;
use twn_encoder::Checkpoint;

const ALIGNMENT: usize = 32;

/// A metadata value.
#[derive(Clone)]
pub(crate) enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Numbers(Vec<i32>),
}

/// A tensor with its bytes.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    /// Innermost first, as the file has it.
    pub(crate) sizes: Vec<u64>,
    pub(crate) kind: u32,
    pub(crate) bytes: Vec<u8>,
}

/// A file in the making.
#[derive(Clone)]
pub(crate) struct GgufWriter {
    pub(crate) values: Vec<(String, Value)>,
    pub(crate) tensors: Vec<Tensor>,
}

impl GgufWriter {
    /// Converts the small model, in f32, as llama.cpp's converter would.
    pub(crate) fn of(checkpoint: &Checkpoint, folder: &Path) -> Self {
        let config = &checkpoint.config;
        let number = |name: &str, value: usize| (format!("llama.{name}"), Value::U32(value as u32));
        let float = |name: &str, value: f32| (format!("llama.{name}"), Value::F32(value));
        let mut values = vec![
            ("general.architecture".to_owned(), Value::Text("llama".to_owned())),
            number("vocab_size", config.vocab_size),
            number("embedding_length", config.hidden_size),
            number("feed_forward_length", config.intermediate_size),
            number("block_count", config.layers),
            number("attention.head_count", config.heads),
            number("attention.head_count_kv", config.kv_heads),
            number("rope.dimension_count", config.head_dim),
            number("context_length", config.max_positions),
            float("rope.freq_base", config.rope_theta),
            float("attention.layer_norm_rms_epsilon", config.rms_norm_eps),
        ];
        values.extend(tokenizer_values(folder, &checkpoint.chat_template));
        let names = checkpoint.tensors.names();
        let tensors = names.iter().map(|name| tensor_of(checkpoint, name)).collect();
        Self { values, tensors }
    }

    /// Replaces a value, or removes it when there is none.
    pub(crate) fn set(&mut self, key: &str, value: Option<Value>) {
        self.values.retain(|(name, _)| name != key);
        self.values.extend(value.map(|value| (key.to_owned(), value)));
    }

    pub(crate) fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).expect("the tensor is there")
    }

    /// The bytes before the data.
    pub(crate) fn header(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.values.len() as u64).to_le_bytes());
        for (key, value) in &self.values {
            put_text(&mut out, key);
            put_value(&mut out, value);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            put_text(&mut out, &tensor.name);
            out.extend((tensor.sizes.len() as u32).to_le_bytes());
            out.extend(tensor.sizes.iter().flat_map(|size| size.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend((offset as u64).to_le_bytes());
            offset += tensor.bytes.len().next_multiple_of(ALIGNMENT);
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        out
    }

    /// The whole file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = self.header();
        for tensor in &self.tensors {
            out.extend(&tensor.bytes);
            out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        }
        out
    }
}

fn tokenizer_values(folder: &Path, template: &str) -> Vec<(String, Value)> {
    let text = fs_err::read(folder.join("tokenizer.json")).expect("the fixture has a tokenizer");
    let json: Json = serde_json::from_slice(&text).expect("it is JSON");
    let vocabulary = json["model"]["vocab"].as_object().expect("it has a vocabulary");
    let mut tokens: Vec<(u64, String)> =
        vocabulary.iter().map(|(token, id)| (id.as_u64().expect("an id"), token.clone())).collect();
    tokens.sort();
    let types = tokens.iter().map(|(id, _)| if *id < 3 { 3 } else { 1 }).collect();
    let merges = json["model"]["merges"].as_array().expect("it has merges").iter();
    let part = |merge: &Json, at: usize| merge[at].as_str().expect("a pair").to_owned();
    let merges = merges.map(|merge| format!("{} {}", part(merge, 0), part(merge, 1))).collect();
    let text = |text: &str| Value::Text(text.to_owned());
    let values = [
        ("ggml.model", text("gpt2")),
        ("ggml.pre", text("smollm")),
        ("ggml.tokens", Value::Texts(tokens.into_iter().map(|(_, token)| token).collect())),
        ("ggml.token_type", Value::Numbers(types)),
        ("ggml.merges", Value::Texts(merges)),
        ("ggml.bos_token_id", Value::U32(1)),
        ("ggml.eos_token_id", Value::U32(2)),
        ("ggml.add_bos_token", Value::Bool(false)),
        ("chat_template", text(template)),
    ];
    values.into_iter().map(|(key, value)| (format!("tokenizer.{key}"), value)).collect()
}

/// Renames and, for queries and keys, interleaves: the inverse of what the reader does.
fn tensor_of(checkpoint: &Checkpoint, name: &str) -> Tensor {
    let tensor = checkpoint.tensors.tensor(name).expect("the tensor is there");
    let columns = *tensor.shape.last().expect("a shape");
    let mut rows: Vec<&[f32]> = tensor.values.chunks(columns).collect();
    if name.contains("q_proj") || name.contains("k_proj") {
        let half = checkpoint.config.head_dim / 2;
        let heads = rows.chunks(half * 2);
        rows = heads.flat_map(|head| (0..half).flat_map(|i| [head[i], head[half + i]])).collect();
    }
    Tensor {
        name: gguf_name(name),
        sizes: tensor.shape.iter().rev().map(|&size| size as u64).collect(),
        kind: 0,
        bytes: rows.concat().iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

fn gguf_name(name: &str) -> String {
    let parts = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("model.layers", "blk"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.", "attn_"),
        ("mlp.", "ffn_"),
        ("_proj", ""),
    ];
    parts.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U32(value) => {
            out.extend(4u32.to_le_bytes());
            out.extend(value.to_le_bytes());
        }
        Value::F32(value) => {
            out.extend(6u32.to_le_bytes());
            out.extend(value.to_le_bytes());
        }
        Value::Bool(value) => {
            out.extend(7u32.to_le_bytes());
            out.push(u8::from(*value));
        }
        Value::Text(text) => {
            out.extend(8u32.to_le_bytes());
            put_text(out, text);
        }
        Value::Texts(texts) => {
            put_list(out, 8, texts.len());
            texts.iter().for_each(|text| put_text(out, text));
        }
        Value::Numbers(numbers) => {
            put_list(out, 5, numbers.len());
            out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
    }
}

fn put_list(out: &mut Vec<u8>, kind: u32, count: usize) {
    out.extend(9u32.to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend((count as u64).to_le_bytes());
}
