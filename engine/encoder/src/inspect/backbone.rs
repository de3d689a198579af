//! The backbone's part.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    backbone::BackboneConfig,
    checkpoint::Checkpoint,
    model::{Inventory, TensorHeader},
};

/// Files of a Hugging Face folder that are read, beside the weights.
const READ: [&str; 9] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
];

/// What a model's files hold.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ModelInspection {
    /// Where it is.
    pub path: PathBuf,
    /// What it would be called.
    pub name: Option<String>,
    /// `gguf` or `safetensors`; empty when there is no model.
    pub format: String,
    /// What it calls its architecture.
    pub family: Option<String>,
    /// Weight files and their bytes.
    pub files: BTreeMap<String, u64>,
    /// Tensors in them.
    pub tensors: usize,
    /// Numbers in them.
    pub parameters: u64,
    /// Of these, those of a vision tower.
    pub vision_parameters: u64,
    /// How they are stored.
    pub stored: Vec<StoredAs>,
    /// Hex SHA-256 over the weight files.
    pub weights_sha256: Option<String>,
    /// Shapes and constants; `None` when the model would not load.
    pub shape: Option<ShapeInspection>,
    /// Files that are not read.
    pub ignored: Vec<String>,
}

/// Tensors of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredAs {
    /// For example `BF16` or `Q4_1`.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many.
    pub tensors: usize,
    /// Numbers in them.
    pub parameters: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// A decoder as it would be built, and its texts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShapeInspection {
    /// Shapes and constants, those of a vision tower included.
    #[serde(flatten)]
    pub config: BackboneConfig,
    /// Tokens of the tokenizer.
    pub tokenizer_tokens: usize,
    /// The token that begins a text.
    pub bos_token: Option<String>,
    /// The token that ends a turn.
    pub eos_token: String,
    /// Ids that end decoding.
    pub eos_ids: Vec<u32>,
    /// Jinja source.
    pub chat_template: String,
}

impl ModelInspection {
    /// Looks at the files at `path`, which gave `checkpoint` if they would load.
    pub(super) fn new(
        path: &Path,
        checkpoint: Option<&Checkpoint>,
        problems: &mut Vec<String>,
    ) -> Self {
        let mut seen = Self { path: path.to_owned(), ..Self::default() };
        match Inventory::read(path) {
            Ok(inventory) => seen.count(inventory),
            Err(error) => problems.push(error.to_string()),
        }
        if path.is_dir() {
            seen.ignored = ignored(path, &seen.files);
        }
        if let Some(checkpoint) = checkpoint {
            seen.name = Some(checkpoint.name.clone());
            seen.weights_sha256 = Some(checkpoint.weights_sha256.clone());
            seen.shape = Some(ShapeInspection::of(checkpoint));
        }
        seen
    }

    fn count(&mut self, inventory: Inventory) {
        self.format = inventory.format.to_owned();
        self.family = inventory.family;
        for file in &inventory.files {
            let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
            let bytes = fs_err::metadata(file).map_or(0, |metadata| metadata.len());
            self.files.insert(name.into_owned(), bytes);
        }
        self.tensors = inventory.tensors.len();
        let mut stored: BTreeMap<String, StoredAs> = BTreeMap::new();
        for tensor in &inventory.tensors {
            let numbers = numbers(tensor);
            self.parameters += numbers;
            if tensor.name.starts_with("model.visual.") || tensor.name.starts_with("visual.") {
                self.vision_parameters += numbers;
            }
            let kind = tensor.stored.clone();
            let empty = StoredAs { kind, tensors: 0, parameters: 0, bytes: 0 };
            let entry = stored.entry(tensor.stored.clone()).or_insert(empty);
            entry.tensors += 1;
            entry.parameters += numbers;
            entry.bytes += tensor.bytes;
        }
        self.stored = stored.into_values().collect();
    }
}

impl ShapeInspection {
    fn of(checkpoint: &Checkpoint) -> Self {
        Self {
            config: checkpoint.config.clone(),
            tokenizer_tokens: checkpoint.tokenizer.get_vocab_size(true),
            bos_token: checkpoint.bos_token.clone(),
            eos_token: checkpoint.eos_token.clone(),
            eos_ids: checkpoint.eos_ids.clone(),
            chat_template: checkpoint.chat_template.clone(),
        }
    }
}

fn numbers(tensor: &TensorHeader) -> u64 {
    tensor.shape.iter().fold(1, |count: u64, &size| count.saturating_mul(size as u64))
}

/// The folder's files that are neither weights nor known to be read.
fn ignored(folder: &Path, weights: &BTreeMap<String, u64>) -> Vec<String> {
    let entries = fs_err::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_read = |name: &String| READ.contains(&name.as_str()) || weights.contains_key(name);
    let mut names: Vec<String> = names.filter(|name| !is_read(name)).collect();
    names.sort_unstable();
    names
}
