//! What one PEFT adapter holds, by its configuration and its header.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    LoraInspection, Target,
    files::Files,
    inspect::product,
    peft::{CONFIG, WEIGHTS, module_path},
    peft_config::PeftConfig,
};
use crate::{checkpoint::Checkpoint, error::EncoderError};

/// Shapes of a module's two matrices, as far as they are there.
type Pair = [Option<Vec<usize>>; 2];

/// Looks at an adapter; what does not fit the backbone is added to `problems`.
pub(super) fn inspect_lora(
    files: &Files<'_>,
    name: &'static str,
    checkpoint: Option<&Checkpoint>,
    problems: &mut Vec<String>,
) -> Result<LoraInspection, EncoderError> {
    let (config_file, weights_file) = (format!("{name}/{CONFIG}"), format!("{name}/{WEIGHTS}"));
    let text = files.text(&config_file)?;
    let refuse = |file: &str, problem: String| {
        let path = files.path(file);
        EncoderError::ModelFile { path, problem }
    };
    let config = PeftConfig::parse(&text).map_err(|problem| refuse(&config_file, problem))?;
    let written: Value = serde_json::from_str(&text).unwrap_or_default();
    let mut seen = LoraInspection {
        name,
        alpha: written.get("lora_alpha").cloned().unwrap_or_default(),
        ..LoraInspection::default()
    };
    let mut pairs: BTreeMap<String, Pair> = BTreeMap::new();
    let mut stored = BTreeSet::new();
    let mut stray = Vec::new();
    for tensor in files.header(&weights_file)? {
        seen.parameters += product(&tensor.shape);
        stored.insert(tensor.stored);
        let path = module_path(&tensor.name).map_err(|p| refuse(&weights_file, p))?;
        if let Some(module) = path.strip_suffix(".lora_A.weight") {
            pairs.entry(module.to_owned()).or_default()[0] = Some(tensor.shape);
        } else if let Some(module) = path.strip_suffix(".lora_B.weight") {
            pairs.entry(module.to_owned()).or_default()[1] = Some(tensor.shape);
        } else {
            stray.push(tensor.name);
        }
    }
    seen.stored = stored.into_iter().collect();
    let (mut ranks, mut targets) = (BTreeSet::new(), BTreeSet::new());
    let mut layers = BTreeSet::new();
    let allowed = allowed_ranks(&written);
    for (module, pair) in &pairs {
        let place = Place::find(module);
        if let Some(place) = &place {
            targets.insert(place.target.module().to_owned());
            layers.insert(place.layer);
        }
        let rank = pair[0].as_ref().and_then(|shape| shape.first().copied());
        ranks.extend(rank);
        let fault = match (place, checkpoint) {
            (None, _) => Some(format!("tensor {module}.lora_A.weight belongs to no known module")),
            (Some(place), Some(opened)) => place.check(module, pair, opened, &allowed),
            (Some(_), None) => None,
        };
        problems.extend(fault.map(|problem| refuse(&weights_file, problem).to_string()));
    }
    let is_targeted = |module: &String| {
        config.targets(module)
            || config.targets(&module.replacen("model.", "model.language_model.", 1))
    };
    stray.extend(pairs.keys().filter(|module| !is_targeted(module)).cloned());
    if let Some(first) = stray.first() {
        let problem = format!("tensor {first} matches no module that the adapter targets");
        problems.push(refuse(&weights_file, problem).to_string());
    }
    (seen.ranks, seen.targets) = (ranks.into_iter().collect(), targets.into_iter().collect());
    seen.layers = layers.len();
    Ok(seen)
}

/// A linear of the backbone.
struct Place {
    layer: usize,
    target: Target,
}

impl Place {
    fn find(module: &str) -> Option<Self> {
        let (layer, rest) = module.strip_prefix("model.layers.")?.split_once('.')?;
        let target = Target::ALL.into_iter().find(|target| target.module() == rest)?;
        Some(Self { layer: layer.parse().ok()?, target })
    }

    /// What is wrong with a pair's shapes.
    fn check(
        &self,
        module: &str,
        pair: &Pair,
        checkpoint: &Checkpoint,
        allowed: &[u64],
    ) -> Option<String> {
        let config = &checkpoint.config;
        if self.layer >= config.layers {
            return Some(format!("{module}: the backbone has {} layers", config.layers));
        }
        let (input, output) = self.target.shape(config);
        let rank = pair[0].as_ref().and_then(|shape| shape.first().copied()).unwrap_or(0);
        for (which, found, want) in
            [('A', &pair[0], [rank, input]), ('B', &pair[1], [output, rank])]
        {
            let name = format!("{module}.lora_{which}.weight");
            match found {
                None => return Some(format!("tensor {name} is missing")),
                Some(shape) if *shape != want => {
                    return Some(format!("tensor {name} has shape {shape:?}, expected {want:?}"));
                }
                Some(_) => {}
            }
        }
        let is_allowed = allowed.contains(&(rank as u64));
        (!is_allowed).then(|| {
            format!("tensor {module}.lora_A.weight has rank {rank}, {CONFIG} says {allowed:?}")
        })
    }
}

/// The ranks that a configuration names.
fn allowed_ranks(config: &Value) -> Vec<u64> {
    let patterns = config.get("rank_pattern").and_then(Value::as_object);
    let of_patterns = patterns.into_iter().flatten().filter_map(|(_, rank)| rank.as_u64());
    config.get("r").and_then(Value::as_u64).into_iter().chain(of_patterns).collect()
}
