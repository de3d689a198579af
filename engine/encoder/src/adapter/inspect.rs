//! What an adapter folder holds, by headers and small files.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::{
    Manifest,
    files::Files,
    folder::{EMBEDDING, REASONING},
    inspect_lora::inspect_lora,
    layout::{HEAD, Layout, MANIFEST, Released},
    mini,
    released::{ordered, queries},
    released_gate::{GateParts, layers},
    released_manifest::{Facts, ReleasedManifest},
};
use crate::{checkpoint::Checkpoint, error::EncoderError, model::DEFAULT};

/// What is added to a backbone.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct AdaptersInspection {
    /// `folder`, `embedded`, or `fresh`: there are none, and untrained ones would be made.
    pub source: String,
    /// The folder.
    pub path: Option<PathBuf>,
    /// `twn`, with `head.safetensors`, or `released`, with a gate and queries of their own.
    pub layout: Option<&'static str>,
    /// The two adapters.
    pub lora: Vec<LoraInspection>,
    /// Gate, queries and projections.
    pub head: HeadInspection,
    /// Numbers in all of these.
    pub parameters: u64,
    /// That, in per cent of the backbone's.
    pub percent_of_backbone: Option<f64>,
    /// How they work together, and where each setting is from.
    pub settings: Vec<Setting>,
    /// Files that are not read.
    pub ignored: Vec<String>,
}

/// One LoRA adapter.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct LoraInspection {
    /// `reasoning` or `embedding`.
    pub name: &'static str,
    /// Ranks that occur.
    pub ranks: Vec<usize>,
    /// `lora_alpha`.
    pub alpha: Value,
    /// Modules of a layer that it adds to.
    pub targets: Vec<String>,
    /// Layers that it adds to.
    pub layers: usize,
    /// How it is stored.
    pub stored: Vec<String>,
    /// Numbers in it.
    pub parameters: u64,
    /// That, in per cent of the backbone's.
    pub percent_of_backbone: Option<f64>,
}

/// Gate, queries and projections.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct HeadInspection {
    /// Number of embedding queries.
    pub queries: Option<usize>,
    /// All tensors, with the files that they are in.
    pub tensors: Vec<TensorShape>,
}

/// A tensor and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorShape {
    /// The file.
    pub file: String,
    /// Its name in it; may be empty.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
}

/// One key of the manifest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// `twn.json`; `default`: TWN's, not the word of whoever trained the adapters; or
    /// `files`: it follows from the shapes of the others.
    pub from: &'static str,
}

/// Looks at a folder, or at what the backbone would have without one; adds to `problems`.
pub fn inspect_adapters(
    folder: Option<&Path>,
    checkpoint: Option<&Checkpoint>,
    backbone_parameters: u64,
    problems: &mut Vec<String>,
) -> AdaptersInspection {
    let is_default = checkpoint.is_some_and(|opened| opened.weights_sha256 == DEFAULT.sha256);
    let mut seen = AdaptersInspection { path: folder.map(Path::to_owned), ..Default::default() };
    let files = match folder {
        Some(folder) => {
            seen.source = "folder".to_owned();
            Files::Folder(folder)
        }
        None if is_default => {
            seen.source = "embedded".to_owned();
            mini::FILES
        }
        None => {
            seen.source = "fresh".to_owned();
            return seen;
        }
    };
    for name in [REASONING, EMBEDDING] {
        match inspect_lora(&files, name, checkpoint, problems) {
            Ok(lora) => seen.lora.push(lora),
            Err(error) => problems.push(error.to_string()),
        }
    }
    let mut used = Vec::new();
    match Layout::find(&files) {
        Ok(layout) => {
            used.extend(layout.files());
            let looked = match layout {
                Layout::House => seen.look_at_head(&files, checkpoint),
                Layout::Released(parts) => seen.look_at_released(&files, &parts, checkpoint),
            };
            problems.extend(looked.err().map(|error| error.to_string()));
        }
        Err(error) => problems.push(error.to_string()),
    }
    match files.list() {
        Ok(names) => seen.ignored = names.into_iter().filter(|n| !is_read(n, &used)).collect(),
        Err(error) => problems.push(error.to_string()),
    }
    let sizes = seen.head.tensors.iter().map(|tensor| product(&tensor.shape));
    seen.parameters = seen.lora.iter().map(|lora| lora.parameters).chain(sizes).sum();
    let percent = |part: u64| {
        (backbone_parameters > 0).then(|| 100.0 * part as f64 / backbone_parameters as f64)
    };
    seen.percent_of_backbone = percent(seen.parameters);
    for lora in &mut seen.lora {
        lora.percent_of_backbone = percent(lora.parameters);
    }
    seen
}

impl AdaptersInspection {
    fn look_at_head(
        &mut self,
        files: &Files<'_>,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<(), EncoderError> {
        let text = files.text(MANIFEST)?;
        let refuse = |problem| EncoderError::ModelFile { path: files.path(MANIFEST), problem };
        let manifest = Manifest::parse(&text).map_err(refuse)?;
        self.layout = Some("twn");
        for tensor in files.header(HEAD)? {
            let (name, shape) = (tensor.name, tensor.shape);
            self.head.tensors.push(TensorShape { file: HEAD.to_owned(), name, shape });
        }
        self.head.queries = Some(manifest.queries);
        self.settings = settings(&manifest, Some(&text), &[]);
        let Some(opened) = checkpoint else { return Ok(()) };
        if manifest.backbone.weights_sha256 != opened.weights_sha256 {
            let made_for = &manifest.backbone;
            let problem = format!(
                "adapters were made for {} with weights sha256 {}, the model is {} with {}",
                made_for.name, made_for.weights_sha256, opened.name, opened.weights_sha256
            );
            return Err(refuse(problem));
        }
        let (hidden, queries) = (opened.config.hidden_size, manifest.queries);
        let input = manifest.gate_input.width(queries, hidden);
        let expected = [("queries", [queries, hidden]), ("gate.inner.weight", [0, input])];
        for (name, want) in expected {
            let found = self.head.tensors.iter().find(|tensor| tensor.name == name);
            let shape = found.map(|tensor| tensor.shape.clone()).unwrap_or_default();
            let fits = shape.len() == 2 && shape[1] == want[1];
            if !fits || (want[0] > 0 && shape[0] != want[0]) {
                let want = format!("[{}, {}]", name_size(want[0]), want[1]);
                return Err(EncoderError::ModelFile {
                    path: files.path(HEAD),
                    problem: format!("tensor {name} has shape {shape:?}, expected {want}"),
                });
            }
        }
        Ok(())
    }

    fn look_at_released(
        &mut self,
        files: &Files<'_>,
        parts: &Released,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<(), EncoderError> {
        self.layout = Some("released");
        let refuse = |file: &str, problem| {
            let path = files.path(file);
            EncoderError::ModelFile { path, problem }
        };
        let (gate, rows) = (ordered(files, parts.gate), ordered(files, parts.queries));
        for (file, tensors) in [(parts.gate, &gate), (parts.queries, &rows)] {
            for (name, tensor) in tensors.iter().flatten() {
                let (name, shape) = (name.clone(), tensor.shape.clone());
                self.head.tensors.push(TensorShape { file: file.to_owned(), name, shape });
            }
        }
        let text = if files.has(MANIFEST) { Some(files.text(MANIFEST)?) } else { None };
        let given = ReleasedManifest::parse(text.as_deref()).map_err(|p| refuse(MANIFEST, p))?;
        let (gate, rows) = (gate?, rows?);
        let Some(opened) = checkpoint else { return Ok(()) };
        let hidden = opened.config.hidden_size;
        let rows = queries(rows, hidden).map_err(|problem| refuse(parts.queries, problem))?;
        self.head.queries = Some(rows.shape[0]);
        let layers = layers(gate).map_err(|problem| refuse(parts.gate, problem))?;
        let facts = Facts { checkpoint: opened, queries: rows.shape[0], gate_layers: &layers };
        let (manifest, assumed) = given.complete(&facts).map_err(|p| refuse(MANIFEST, p))?;
        self.settings = settings(&manifest, text.as_deref(), &assumed);
        if manifest.backbone.weights_sha256 != opened.weights_sha256 {
            let problem = format!("adapters were made for {}", manifest.backbone.name);
            return Err(refuse(MANIFEST, problem));
        }
        let input = manifest.gate_input.width(rows.shape[0], hidden);
        let checked = GateParts::new(layers, input);
        checked.map(drop).map_err(|problem| refuse(parts.gate, problem))
    }
}

/// The manifest's keys, with what stands in the file and what does not.
fn settings(manifest: &Manifest, text: Option<&str>, assumed: &[&str]) -> Vec<Setting> {
    let written: Value = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let all = serde_json::to_value(manifest).unwrap_or_default();
    let mut all = all.as_object().cloned().unwrap_or_default();
    // Left out of the file where they are as usual.
    for (key, name) in [
        ("gate_input", manifest.gate_input.name()),
        ("gate_activation", manifest.gate_activation.name()),
        ("capitals", manifest.capitals.name()),
    ] {
        all.entry(key).or_insert_with(|| name.into());
    }
    let from = |key: &str| match (written.get(key).is_some(), assumed.contains(&key)) {
        (true, _) => MANIFEST,
        // How many there are is their file's shape.
        (false, false) if key == "queries" => "files",
        (false, _) => "default",
    };
    all.into_iter().map(|(key, value)| Setting { from: from(&key), key, value }).collect()
}

fn is_read(name: &str, head: &[&str]) -> bool {
    let adapter = ["adapter_config.json", "adapter_model.safetensors"];
    let in_adapter = name.split_once('/').is_some_and(|(folder, file)| {
        [REASONING, EMBEDDING].contains(&folder) && adapter.contains(&file)
    });
    in_adapter || name == MANIFEST || head.contains(&name)
}

fn name_size(size: usize) -> String {
    if size == 0 { "width".to_owned() } else { size.to_string() }
}

/// How many numbers a tensor of this shape has.
pub(super) fn product(shape: &[usize]) -> u64 {
    shape.iter().fold(1, |count: u64, &size| count.saturating_mul(size as u64))
}
