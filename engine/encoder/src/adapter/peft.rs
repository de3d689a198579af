//! LoRA adapters as folders in PEFT format.

use std::{collections::BTreeMap, path::Path};

use burn::tensor::Device;

use super::{
    Lora, LoraLayer, LoraPair, Target,
    files::Files,
    lora::to_host,
    peft_config::{PeftConfig, write_config},
    tensor_file::{HostTensors, StoredType, parse_tensors, write_tensors},
};
use crate::{backbone::BackboneConfig, checkpoint::HostTensor, error::EncoderError};

pub(super) const CONFIG: &str = "adapter_config.json";
pub(super) const WEIGHTS: &str = "adapter_model.safetensors";
/// What `peft` puts before a module's own path.
const PREFIX: &str = "base_model.model.";

/// Reads the adapter in `folder` for a backbone.
///
/// # Errors
/// Fails when a file is missing or damaged, when the configuration asks for what is not
/// implemented, and when a tensor is missing, has another shape, or belongs nowhere: a
/// tensor that is left out silently would be an adapter that silently does nothing.
pub fn read_peft(
    folder: &Path,
    backbone: &BackboneConfig,
    device: &Device,
) -> Result<Lora, EncoderError> {
    read_peft_files(&Files::Folder(folder), None, backbone, device)
}

/// Reads the adapter in `part` of an adapter folder, or in the folder itself.
pub(super) fn read_peft_files(
    files: &Files<'_>,
    part: Option<&str>,
    backbone: &BackboneConfig,
    device: &Device,
) -> Result<Lora, EncoderError> {
    let name = |file: &str| part.map_or_else(|| file.to_owned(), |part| format!("{part}/{file}"));
    let config = PeftConfig::parse(&files.text(&name(CONFIG))?)
        .map_err(|problem| EncoderError::ModelFile { path: files.path(&name(CONFIG)), problem })?;
    let path = files.path(&name(WEIGHTS));
    let refuse = |problem: String| EncoderError::ModelFile { path: path.clone(), problem };
    let read = parse_tensors(&path, &files.read(&name(WEIGHTS))?)?;
    let mut tensors = by_module(read).map_err(refuse)?;

    let mut targeted = 0;
    let mut pair = |index: usize, target: Target| {
        let module = format!("model.layers.{index}.{}", target.module());
        // In a model that sees, the decoder has a path of its own; which of the two a pattern
        // means depends on the version of transformers that it was written for.
        let paths = [&module, &format!("model.language_model.layers.{index}.{}", target.module())];
        if !paths.iter().any(|path| config.targets(path)) {
            return Ok(None);
        }
        targeted += 1;
        let (input, output) = target.shape(backbone);
        let rank = config.rank(paths);
        let mut take = |which: char, shape: [usize; 2]| {
            let name = format!("{module}.lora_{which}.weight");
            match tensors.remove(&name) {
                Some(tensor) if tensor.shape == shape => Ok(tensor),
                Some(tensor) => Err(refuse(format!(
                    "tensor {name} has shape {:?}, expected {shape:?}",
                    tensor.shape
                ))),
                None => Err(refuse(format!("tensor {name} is missing"))),
            }
        };
        let a = take('A', [rank, input])?;
        let b = take('B', [output, rank])?;
        Ok(Some(LoraPair::new(a, b, config.scale(paths), device)))
    };
    let layers = (0..backbone.layers)
        .map(|index| LoraLayer::from_targets(|target| pair(index, target)))
        .collect::<Result<Vec<_>, EncoderError>>()?;

    if let Some(name) = tensors.keys().next() {
        return Err(refuse(format!(
            "tensor {name} and {} others match no module that the adapter targets",
            tensors.len() - 1
        )));
    }
    if targeted == 0 {
        return Err(refuse("`target_modules` matches no module of the backbone".to_owned()));
    }
    Ok(Lora { layers })
}

/// Writes an adapter of one rank and scale as `folder`, which is made if it is missing.
///
/// # Errors
/// Fails when a file cannot be written, and when ranks, scales or targets differ from
/// layer to layer.
pub fn write_peft(
    folder: &Path,
    lora: &Lora,
    base_model: &str,
    stored: StoredType,
) -> Result<(), EncoderError> {
    let mut shapes: Vec<(usize, f64)> =
        lora.pairs().map(|(_, _, pair)| (pair.rank(), pair.scale)).collect();
    shapes.dedup();
    let modules: Vec<&str> = Target::ALL
        .into_iter()
        .filter(|&target| lora.layers.iter().any(|layer| layer.pair(target).is_some()))
        .map(Target::module)
        .collect();
    let complete = lora.pairs().count() == modules.len() * lora.layers.len();
    let ([(rank, scale)], true) = (shapes.as_slice(), complete) else {
        return Err(EncoderError::Internal {
            problem: "only adapters with one rank, one scale and the same targets in every \
                      layer can be written"
                .to_owned(),
        });
    };
    fs_err::create_dir_all(folder)?;
    write_config(&folder.join(CONFIG), base_model, &modules, *rank, scale * *rank as f64)?;
    let tensors: HostTensors = lora
        .pairs()
        .flat_map(|(index, target, pair)| {
            let module = format!("{PREFIX}model.layers.{index}.{}", target.module());
            [
                (format!("{module}.lora_A.weight"), to_host(&pair.a)),
                (format!("{module}.lora_B.weight"), to_host(&pair.b)),
            ]
        })
        .collect();
    write_tensors(&folder.join(WEIGHTS), &tensors, stored)
}

/// Strips what differs between versions of `peft` and of model wrappers from a name.
pub(super) fn module_path(name: &str) -> Result<String, String> {
    let path = name
        .strip_prefix(PREFIX)
        .ok_or_else(|| format!("tensor {name} does not begin with {PREFIX}"))?
        .replacen("model.language_model.", "model.", 1)
        .replace(".lora_A.default.", ".lora_A.")
        .replace(".lora_B.default.", ".lora_B.");
    Ok(path)
}

fn by_module(tensors: HostTensors) -> Result<BTreeMap<String, HostTensor>, String> {
    let mut named = BTreeMap::new();
    for (name, tensor) in tensors {
        if named.insert(module_path(&name)?, tensor).is_some() {
            return Err(format!("tensor {name} is there twice under different names"));
        }
    }
    Ok(named)
}
