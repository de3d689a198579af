//! Weights in one or several safetensors files.

use std::{collections::BTreeMap, path::Path};

use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::{
    block::{BlockKind, dequantise},
    digest,
    gguf_tensors::RawTensor,
    mapped::MappedFile,
    model_file, read_json, tensor_names,
};
use crate::{
    backbone::BackboneConfig,
    checkpoint::{HostTensor, TensorSource},
    error::EncoderError,
};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const SHARDS_MAX: usize = 1024;
/// Elements converted by one thread at a time.
const CHUNK: usize = 1 << 16;

/// The weights of a Hugging Face folder, converted on demand.
#[derive(Debug)]
pub(super) struct SafetensorsFiles {
    files: Vec<MappedFile>,
    tensors: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    file: usize,
    kind: BlockKind,
    shape: Vec<usize>,
    bytes: std::ops::Range<usize>,
}

/// The part of the index file that is of use.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl SafetensorsFiles {
    /// Maps the weight files of a folder and checks them against its configuration.
    pub(super) fn open(folder: &Path, config: &BackboneConfig) -> Result<Self, EncoderError> {
        let mut source = Self { files: Vec::new(), tensors: BTreeMap::new() };
        for name in shard_names(folder)? {
            source.add(MappedFile::open(&folder.join(name))?)?;
        }
        source.drop_redundant(config);
        let shapes = source.tensors.iter().map(|(name, entry)| (name.clone(), entry.shape.clone()));
        tensor_names::check_inventory(config, &shapes.collect())
            .map_err(|problem| model_file(folder, problem))?;
        Ok(source)
    }

    /// Hashes the weight files, in the order of their names.
    pub(super) fn sha256(&self) -> String {
        digest::of_files(&self.files)
    }

    fn add(&mut self, file: MappedFile) -> Result<(), EncoderError> {
        let refuse = |problem: String| model_file(file.path(), problem);
        let (header, metadata) = SafeTensors::read_metadata(file.bytes())
            .map_err(|error| refuse(format!("is no whole safetensors file: {error}")))?;
        // Eight bytes of header length come before the header.
        let data_start = header + 8;
        for (stored, tensor) in metadata.tensors() {
            let name = tensor_names::from_huggingface(&stored);
            let kind = match tensor.dtype {
                Dtype::F32 => BlockKind::F32,
                Dtype::F16 => BlockKind::F16,
                Dtype::BF16 => BlockKind::Bf16,
                other => {
                    return Err(refuse(format!(
                        "tensor `{name}` is stored as {other:?}; supported: F32, F16, BF16"
                    )));
                }
            };
            let (start, end) = tensor.data_offsets;
            let bytes = data_start + start..data_start + end;
            if bytes.end > file.bytes().len() {
                return Err(refuse(format!("is cut short in tensor `{name}`; fetch it again")));
            }
            let entry = Entry { file: self.files.len(), kind, shape: tensor.shape.clone(), bytes };
            if self.tensors.insert(name.clone(), entry).is_some() {
                return Err(refuse(format!("has tensor `{name}`, as another file has")));
            }
        }
        self.files.push(file);
        Ok(())
    }

    /// Forgets what some writers store although it follows from the rest: the head when it is
    /// tied, and the rotary frequencies.
    fn drop_redundant(&mut self, config: &BackboneConfig) {
        self.tensors.retain(|name, _| {
            let is_tied_head = config.tied_embeddings && name == tensor_names::HEAD;
            !is_tied_head && !name.ends_with(".rotary_emb.inv_freq")
        });
    }
}

impl TensorSource for SafetensorsFiles {
    fn tensor(&self, name: &str) -> Result<HostTensor, EncoderError> {
        let Some(entry) = self.tensors.get(name) else {
            let folder = self.files.first().and_then(|file| file.path().parent());
            let problem = format!("has no tensor `{name}`");
            return Err(model_file(folder.unwrap_or(Path::new(SINGLE)), problem));
        };
        let file = &self.files[entry.file];
        let bytes = &file.bytes()[entry.bytes.clone()];
        let width = entry.kind.block_bytes();
        let mut values = vec![0.0; bytes.len() / width];
        let all_finite = values.par_chunks_mut(CHUNK).zip(bytes.par_chunks(CHUNK * width)).all(
            |(out, bytes)| {
                dequantise(entry.kind, bytes, out);
                out.iter().all(|value| value.is_finite())
            },
        );
        if !all_finite {
            let problem = format!("tensor `{name}` holds a value that is not finite");
            return Err(model_file(file.path(), problem));
        }
        Ok(HostTensor { shape: entry.shape.clone(), values })
    }

    fn raw(&self, name: &str) -> Result<Option<RawTensor<'_>>, EncoderError> {
        // A tensor that is not there is named by `tensor`, which is asked next.
        let Some(entry) = self.tensors.get(name) else { return Ok(None) };
        let bytes = &self.files[entry.file].bytes()[entry.bytes.clone()];
        Ok(match entry.shape.as_slice() {
            &[rows, columns] if entry.kind.matrix_bytes(rows, columns) == Some(bytes.len()) => {
                Some(RawTensor::plain(entry.kind, [rows, columns], bytes))
            }
            _ => None,
        })
    }

    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }
}

/// Lists the weight files of a folder, sorted.
pub(super) fn shard_names(folder: &Path) -> Result<Vec<String>, EncoderError> {
    if folder.join(SINGLE).is_file() {
        return Ok(vec![SINGLE.to_owned()]);
    }
    let index = folder.join(INDEX);
    if !index.is_file() {
        let problem =
            format!("has neither {SINGLE} nor {INDEX}; other weight formats are not read");
        return Err(model_file(folder, problem));
    }
    let parsed: Index = read_json(&index)?;
    let mut names: Vec<String> = parsed.weight_map.into_values().collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() || names.len() > SHARDS_MAX {
        let problem = format!("names {} files; supported: 1 to {SHARDS_MAX}", names.len());
        return Err(model_file(&index, problem));
    }
    // An index is data from elsewhere: it may name files beside it and none outside the folder.
    if let Some(name) = names.iter().find(|name| Path::new(name).file_name() != Some(name.as_ref()))
    {
        return Err(model_file(&index, format!("names `{name}`, which is not in its folder")));
    }
    Ok(names)
}
