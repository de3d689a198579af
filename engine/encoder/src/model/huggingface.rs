//! A Hugging Face folder: configuration, tokenizer, chat template, safetensors.

use std::path::Path;

use serde::Deserialize;
use tokenizers::Tokenizer;

use super::{
    check_tokenizer, cursor::Problem, huggingface_config, media_config, model_file, read_bounded,
    read_json, safetensors_files::SafetensorsFiles,
};
use crate::{checkpoint::Checkpoint, error::EncoderError};

const TOKENIZER_BYTES_MAX: u64 = 256 << 20;

/// One id or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Ids {
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
    let (config, config_eos) = huggingface_config::read(&folder.join("config.json"))?;
    let tensors = SafetensorsFiles::open(folder, &config)?;
    let tokenizer = read_tokenizer(&folder.join("tokenizer.json"))?;
    check_tokenizer(&folder.join("tokenizer.json"), &tokenizer, config.vocab_size)?;
    let tokens: TokenizerConfig = read_json_if_there(&folder.join("tokenizer_config.json"))?;
    let generation: GenerationConfig = read_json_if_there(&folder.join("generation_config.json"))?;
    let eos = end_tokens(&tokenizer, &tokens, &generation, config_eos.as_ref(), config.vocab_size)
        .map_err(|problem| model_file(folder, problem))?;
    Ok(Checkpoint {
        name: name_of(folder)?,
        chat_template: chat_template(folder, &tokens)?,
        weights_sha256: tensors.sha256(),
        media: config
            .vision
            .as_ref()
            .map(|vision| media_config::read(folder, vision))
            .transpose()?,
        config,
        tensors: Box::new(tensors),
        tokenizer,
        bos_token: tokens.bos_token.map(Token::into_text),
        eos_token: eos.0,
        eos_ids: eos.1,
    })
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
    from_config: Option<&Ids>,
    vocabulary: usize,
) -> Result<(String, Vec<u32>), Problem> {
    let listed = generation.eos_token_id.as_ref().or(from_config);
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
