//! A Hugging Face folder: configuration, tokenizer, chat template, safetensors.

use std::path::Path;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;
use tokenizers::Tokenizer;

use super::{
    check_tokenizer, cursor::Problem, limits::check_config, model_file, read_bounded, read_json,
    safetensors_files::SafetensorsFiles,
};
use crate::{backbone::BackboneConfig, checkpoint::Checkpoint, error::EncoderError};

const TOKENIZER_BYTES_MAX: u64 = 256 << 20;

/// The part of `config.json` that this decoder understands, and what it must refuse.
#[derive(Debug, Deserialize)]
struct LlamaConfig {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    #[serde(default = "default_positions")]
    max_position_embeddings: usize,
    #[serde(default = "default_epsilon")]
    rms_norm_eps: f32,
    rope_theta: Option<f32>,
    rope_parameters: Option<Rope>,
    rope_scaling: Option<Rope>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    hidden_act: Option<String>,
    partial_rotary_factor: Option<f32>,
    sliding_window: Option<IgnoredAny>,
    quantization_config: Option<IgnoredAny>,
    #[serde(default)]
    tie_word_embeddings: bool,
    eos_token_id: Option<Ids>,
}

/// Rotary settings under either of their names.
#[derive(Debug, Deserialize)]
struct Rope {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f32>,
    partial_rotary_factor: Option<f32>,
}

/// One id or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Many(Vec<u32>),
}

/// The part of `generation_config.json` that is of use.
#[derive(Debug, Default, Deserialize)]
struct GenerationConfig {
    eos_token_id: Option<Ids>,
}

/// The part of `tokenizer_config.json` that is of use.
#[derive(Debug, Default, Deserialize)]
struct TokenizerConfig {
    bos_token: Option<Token>,
    eos_token: Option<Token>,
    chat_template: Option<Templates>,
}

/// A token as its text or as a description with the text in it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Token {
    Text(String),
    Described { content: String },
}

/// One template, or several with names, of which one is the default.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Debug, Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

/// Opens a folder.
pub(super) fn open(folder: &Path) -> Result<Checkpoint, EncoderError> {
    let path = folder.join("config.json");
    let parsed = parse_config(&path)?;
    let config = backbone_config(&parsed).map_err(|problem| model_file(&path, problem))?;
    let tensors = SafetensorsFiles::open(folder, &config)?;
    let tokenizer = read_tokenizer(&folder.join("tokenizer.json"))?;
    check_tokenizer(&folder.join("tokenizer.json"), &tokenizer, config.vocab_size)?;
    let tokens: TokenizerConfig = read_json_if_there(&folder.join("tokenizer_config.json"))?;
    let generation: GenerationConfig = read_json_if_there(&folder.join("generation_config.json"))?;
    let eos = end_tokens(&tokenizer, &tokens, &generation, &parsed, config.vocab_size)
        .map_err(|problem| model_file(folder, problem))?;
    Ok(Checkpoint {
        name: name_of(folder)?,
        chat_template: chat_template(folder, &tokens)?,
        weights_sha256: tensors.sha256(),
        config,
        tensors: Box::new(tensors),
        tokenizer,
        bos_token: tokens.bos_token.map(Token::into_text),
        eos_token: eos.0,
        eos_ids: eos.1,
    })
}

fn parse_config(path: &Path) -> Result<LlamaConfig, EncoderError> {
    // The type is looked at first: another architecture lacks fields, and the message about a
    // missing field would hide the reason.
    let value: Value = read_json(path)?;
    let model_type = value.get("model_type").and_then(Value::as_str).unwrap_or("(none)");
    if model_type != "llama" {
        let problem = format!("has the architecture `{model_type}`; supported: llama");
        return Err(model_file(path, problem));
    }
    serde_json::from_value(value).map_err(|error| model_file(path, error.to_string()))
}

fn backbone_config(parsed: &LlamaConfig) -> Result<BackboneConfig, Problem> {
    refuse_variants(parsed)?;
    let heads = parsed.num_attention_heads;
    let rope_theta = parsed.rope_parameters.as_ref().and_then(|rope| rope.rope_theta);
    let config = BackboneConfig {
        vocab_size: parsed.vocab_size,
        hidden_size: parsed.hidden_size,
        intermediate_size: parsed.intermediate_size,
        layers: parsed.num_hidden_layers,
        heads,
        kv_heads: parsed.num_key_value_heads.unwrap_or(heads),
        head_dim: match parsed.head_dim {
            Some(width) => width,
            None => parsed.hidden_size.checked_div(heads).unwrap_or(0),
        },
        rope_theta: rope_theta.or(parsed.rope_theta).unwrap_or(10_000.0),
        rms_norm_eps: parsed.rms_norm_eps,
        max_positions: parsed.max_position_embeddings,
        tied_embeddings: parsed.tie_word_embeddings,
    };
    check_config(&config)?;
    Ok(config)
}

/// Refuses what a Llama configuration can say but this decoder does not compute.
fn refuse_variants(parsed: &LlamaConfig) -> Result<(), Problem> {
    debug_assert_eq!(parsed.model_type, "llama");
    for rope in [&parsed.rope_parameters, &parsed.rope_scaling].into_iter().flatten() {
        let kind = rope.rope_type.as_deref().unwrap_or("default");
        if kind != "default" {
            return Err(format!("scales its rotary positions ({kind}), which is not supported"));
        }
    }
    if parsed.hidden_act.as_deref().is_some_and(|name| name != "silu") {
        let name = parsed.hidden_act.as_deref().unwrap_or_default();
        return Err(format!("has the activation `{name}`; supported: silu"));
    }
    let in_rope = parsed.rope_parameters.as_ref().and_then(|rope| rope.partial_rotary_factor);
    let is_partial = in_rope.or(parsed.partial_rotary_factor).is_some_and(|factor| factor != 1.0);
    let refused = [
        ("attention_bias", parsed.attention_bias),
        ("mlp_bias", parsed.mlp_bias),
        ("partial_rotary_factor", is_partial),
        ("sliding_window", parsed.sliding_window.is_some()),
        ("quantization_config", parsed.quantization_config.is_some()),
    ];
    match refused.iter().find(|(_, is_set)| *is_set) {
        Some((name, _)) => Err(format!("sets `{name}`, which is not supported")),
        None => Ok(()),
    }
}

fn read_tokenizer(path: &Path) -> Result<Tokenizer, EncoderError> {
    let bytes = read_bounded(path, TOKENIZER_BYTES_MAX)?;
    let mut tokenizer = Tokenizer::from_bytes(bytes)
        .map_err(|error| model_file(path, format!("is no tokenizer: {error}")))?;
    // Some files carry the settings of their training; prompts are never padded or cut here.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|error| model_file(path, error.to_string()))?;
    Ok(tokenizer)
}

/// Finds the end-of-turn token and every id that ends decoding.
fn end_tokens(
    tokenizer: &Tokenizer,
    tokens: &TokenizerConfig,
    generation: &GenerationConfig,
    parsed: &LlamaConfig,
    vocabulary: usize,
) -> Result<(String, Vec<u32>), Problem> {
    let listed = generation.eos_token_id.as_ref().or(parsed.eos_token_id.as_ref());
    let mut ids = match listed {
        None => Vec::new(),
        Some(Ids::One(id)) => vec![*id],
        Some(Ids::Many(ids)) => ids.clone(),
    };
    let named = tokens.eos_token.as_ref().map(Token::text);
    if let Some(text) = named {
        let id = tokenizer
            .token_to_id(text)
            .ok_or_else(|| format!("names the end token `{text}`, which is no token"))?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary) {
        return Err(format!("ends at token {id}, the vocabulary has {vocabulary}"));
    }
    let first = ids.first().copied().ok_or("names no token that ends a turn")?;
    let text = named.map(str::to_owned).or_else(|| tokenizer.id_to_token(first));
    Ok((text.ok_or_else(|| format!("ends at {first}, which is no token"))?, ids))
}

/// Reads the template from its own file, or else from the tokenizer's configuration.
fn chat_template(folder: &Path, tokens: &TokenizerConfig) -> Result<String, EncoderError> {
    let path = folder.join("chat_template.jinja");
    if path.is_file() {
        let bytes = read_bounded(&path, super::JSON_BYTES_MAX)?;
        return String::from_utf8(bytes).map_err(|_| model_file(&path, "is not UTF-8"));
    }
    let template = match &tokens.chat_template {
        Some(Templates::One(template)) => Some(template),
        Some(Templates::Named(templates)) => {
            templates.iter().find(|named| named.name == "default").map(|named| &named.template)
        }
        None => None,
    };
    let missing = "has no chat template, in chat_template.jinja or tokenizer_config.json; \
                   an instruction-tuned model is needed";
    template.cloned().ok_or_else(|| model_file(folder, missing))
}

fn name_of(folder: &Path) -> Result<String, EncoderError> {
    let whole = fs_err::canonicalize(folder)?;
    let name = whole.file_name().unwrap_or(whole.as_os_str());
    Ok(name.to_string_lossy().into_owned())
}

fn read_json_if_there<T: Default + serde::de::DeserializeOwned>(
    path: &Path,
) -> Result<T, EncoderError> {
    if path.is_file() { read_json(path) } else { Ok(T::default()) }
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Text(content) | Self::Described { content } => content,
        }
    }

    fn into_text(self) -> String {
        match self {
            Self::Text(content) | Self::Described { content } => content,
        }
    }
}

fn default_positions() -> usize {
    2048
}

fn default_epsilon() -> f32 {
    1e-6
}
