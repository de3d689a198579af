//! Released checkpoints: `gate_mlp.pt` and `queries.pt` beside the two adapters.
//!
//! The files say shapes and values. What they do not say (how the adapters meet, what is
//! pooled, when the gate is high enough, prompts and markers) `twn.json` may say; what it
//! leaves out is TWN's inference, and listed as such.

use burn::tensor::Device;

use super::{
    HostTensors, Manifest,
    files::Files,
    layout::{MANIFEST, Released},
    manifest::QUERIES_MAX,
    parameter,
    released_gate::{GateParts, layers},
    released_manifest::{Facts, ReleasedManifest},
    tensor_file::parse_tensors,
};
use crate::{
    checkpoint::{Checkpoint, HostTensor},
    error::EncoderError,
    gate::Gate,
    model::TorchFile,
    queries::Queries,
};

/// What a released checkpoint adds beside its adapters.
pub(super) struct ReleasedHead {
    pub(super) manifest: Manifest,
    /// Keys of the manifest that no file gave.
    pub(super) assumed: Vec<&'static str>,
    pub(super) queries: Queries,
    pub(super) gate: Gate,
}

/// Reads the gate, the queries and the manifest, and checks them against each other and
/// the backbone.
pub(super) fn read(
    files: &Files<'_>,
    parts: &Released,
    checkpoint: &Checkpoint,
    device: &Device,
) -> Result<ReleasedHead, EncoderError> {
    let hidden = checkpoint.config.hidden_size;
    let refuse = |file: &str, problem: String| {
        let path = files.path(file);
        EncoderError::ModelFile { path, problem }
    };
    let rows = queries(ordered(files, parts.queries)?, hidden)
        .map_err(|problem| refuse(parts.queries, problem))?;
    let count = rows.shape[0];
    let layers = layers(ordered(files, parts.gate)?).map_err(|p| refuse(parts.gate, p))?;

    let text = if files.has(MANIFEST) { Some(files.text(MANIFEST)?) } else { None };
    let given = ReleasedManifest::parse(text.as_deref()).map_err(|p| refuse(MANIFEST, p))?;
    let facts = Facts { checkpoint, queries: count, gate_layers: &layers };
    let (manifest, assumed) = given.complete(&facts).map_err(|p| refuse(MANIFEST, p))?;
    let input = manifest.gate_input.width(count, hidden);
    let gate = GateParts::new(layers, input)
        .map_err(|problem| refuse(parts.gate, problem))?
        .load(manifest.gate_form(), device);
    Ok(ReleasedHead { manifest, assumed, queries: Queries { rows: parameter(rows, device) }, gate })
}

/// Reads a file's tensors: in its own order, and by the numbers in their names where it has
/// none.
pub(super) fn ordered(
    files: &Files<'_>,
    file: &str,
) -> Result<Vec<(String, HostTensor)>, EncoderError> {
    let (path, bytes) = (files.path(file), files.read(file)?);
    if !file.ends_with(".pt") {
        let tensors: HostTensors = parse_tensors(&path, &bytes)?;
        let mut tensors: Vec<_> = tensors.into_iter().collect();
        tensors.sort_by_cached_key(|(name, _)| numbered(name));
        return Ok(tensors);
    }
    let read = TorchFile::parse(&path, &bytes)?;
    if !read.others.is_empty() {
        tracing::warn!(file = %path.display(), entries = ?read.others, "entries are not tensors");
    }
    Ok(read.tensors.into_iter().map(|one| (one.name, one.tensor)).collect())
}

/// Takes the one tensor that the queries are: `[K, hidden]`, or that within one more size
/// of 1.
pub(super) fn queries(
    tensors: Vec<(String, HostTensor)>,
    hidden: usize,
) -> Result<HostTensor, String> {
    let count = tensors.len();
    let (Some((name, mut tensor)), 1) = (tensors.into_iter().next(), count) else {
        return Err(format!("holds {count} tensors, expected one of shape [K, {hidden}]"));
    };
    if let [1, _, _] = tensor.shape[..] {
        tensor.shape.remove(0);
    }
    match tensor.shape[..] {
        [count, width] if width == hidden && (1..=QUERIES_MAX).contains(&count) => Ok(tensor),
        _ => Err(format!(
            "tensor `{name}` has shape {:?}, expected [K, {hidden}] with K from 1 to {QUERIES_MAX}",
            tensor.shape
        )),
    }
}

/// A name with its numbers as numbers, so that layer 10 comes after layer 9.
fn numbered(name: &str) -> Vec<(u64, String)> {
    let part = |part: &str| match part.parse() {
        Ok(number) => (number, String::new()),
        Err(_) => (0, part.to_owned()),
    };
    name.split('.').map(part).collect()
}
