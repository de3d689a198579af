//! What a model's weight files hold, by their headers alone.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

use super::{
    FolderKind, folder_kind, gguf::Header, mapped::MappedFile, model_file, read_json,
    safetensors_files::shard_names,
};
use crate::error::EncoderError;

/// A header of more would name millions of tensors.
const HEADER_BYTES_MAX: u64 = 64 << 20;

/// One tensor of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TensorHeader {
    /// As the file has it.
    pub(crate) name: String,
    /// For example `BF16` or `Q4_1`.
    pub(crate) stored: String,
    /// Sizes, outermost first.
    pub(crate) shape: Vec<usize>,
    /// Bytes of its values.
    pub(crate) bytes: u64,
}

/// The weight files of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inventory {
    /// `gguf` or `safetensors`.
    pub(crate) format: &'static str,
    /// What the model calls its architecture, for example `llama`.
    pub(crate) family: Option<String>,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) tensors: Vec<TensorHeader>,
}

impl Inventory {
    /// Reads the headers of the model at `path`.
    ///
    /// # Errors
    /// Fails when there is no model or a header is damaged.
    pub(crate) fn read(path: &Path) -> Result<Self, EncoderError> {
        if !path.is_dir() {
            return Self::gguf(path);
        }
        match folder_kind(path)? {
            FolderKind::Gguf(file) => Self::gguf(&file),
            FolderKind::HuggingFace => Self::safetensors(path),
        }
    }

    fn gguf(path: &Path) -> Result<Self, EncoderError> {
        let refuse = |problem: String| model_file(path, problem);
        let file = MappedFile::open(path)?;
        let header = Header::parse(file.bytes()).map_err(refuse)?;
        let family = header.text("general.architecture").map_err(refuse)?.map(str::to_owned);
        let tensors = header.tensors.into_iter().map(|tensor| TensorHeader {
            stored: format!("{:?}", tensor.kind).to_ascii_uppercase(),
            bytes: tensor.bytes.len() as u64,
            name: tensor.name,
            shape: tensor.shape,
        });
        let (files, tensors) = (vec![path.to_owned()], tensors.collect());
        Ok(Self { format: "gguf", family, files, tensors })
    }

    fn safetensors(folder: &Path) -> Result<Self, EncoderError> {
        let config: Value = read_json(&folder.join("config.json"))?;
        let family = config.get("model_type").and_then(Value::as_str).map(str::to_owned);
        let files: Vec<PathBuf> =
            shard_names(folder)?.into_iter().map(|name| folder.join(name)).collect();
        let mut tensors = Vec::new();
        for file in &files {
            tensors.extend(safetensors_header(file, &mut fs_err::File::open(file)?)?);
        }
        Ok(Self { format: "safetensors", family, files, tensors })
    }
}

/// Reads the header of a safetensors file; `path` names it in errors.
///
/// # Errors
/// Fails when it is damaged or too long.
pub(crate) fn safetensors_header(
    path: &Path,
    from: &mut dyn Read,
) -> Result<Vec<TensorHeader>, EncoderError> {
    #[derive(Deserialize)]
    struct Entry {
        dtype: String,
        shape: Vec<usize>,
        data_offsets: [u64; 2],
    }
    let damaged = |problem: String| model_file(path, format!("has no whole header: {problem}"));
    let mut length = [0; 8];
    from.read_exact(&mut length).map_err(|error| damaged(error.to_string()))?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_BYTES_MAX {
        return Err(damaged(format!("{length} bytes, at most {HEADER_BYTES_MAX} are read")));
    }
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes)?;
    let entries: BTreeMap<String, Value> =
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    let mut tensors = Vec::new();
    for (name, value) in entries {
        if name == "__metadata__" {
            continue;
        }
        let entry: Entry = serde_json::from_value(value)
            .map_err(|error| damaged(format!("tensor `{name}`: {error}")))?;
        let [start, end] = entry.data_offsets;
        let bytes = end.checked_sub(start);
        let bytes = bytes.ok_or_else(|| damaged(format!("tensor `{name}` ends early")))?;
        tensors.push(TensorHeader { name, stored: entry.dtype, shape: entry.shape, bytes });
    }
    Ok(tensors)
}
