//! From files to a working encoder.

use std::{path::PathBuf, sync::Arc};

use burn::tensor::Device;
use twn_kernels::Isa;

use super::{Encoder, fingerprint::fingerprint, model::Model, prefix::PrefixCache};
use crate::{
    adapter::Adapters,
    backbone::{Activations, Backbone, FusedOptions, Precision},
    checkpoint::Checkpoint,
    device::{FUSED, describe_device, open_device},
    embedder::EncoderInfo,
    error::EncoderError,
    model,
    prompter::{Eye, Prompter},
    thought::Markers,
};

/// The least room that a context must leave for the prompt.
const PROMPT_TOKENS_MIN: usize = 64;

/// What to load, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// The backbone: a GGUF file or a Hugging Face folder.
    pub model: PathBuf,
    /// An adapter folder; `None` takes what this build carries for the backbone, and fresh,
    /// untrained adapters for any other.
    pub adapters: Option<PathBuf>,
    /// `cpu` runs the fused pass; `flex` the portable module on the CPU, `cuda:N` on a GPU.
    pub device: String,
    /// How exactly the fused pass keeps the weights; the portable module has f32.
    pub precision: Precision,
    /// How finely the fused pass rounds activations before quantised weights.
    pub activations: Activations,
    /// Threads of the fused pass; 0 takes one for each core.
    pub threads: usize,
    /// Vector instructions of the fused pass; `None` takes the best that the machine has.
    pub isa: Option<Isa>,
    /// The most tokens that prompt, thought and queries may have together.
    pub context_tokens: usize,
    /// Seed of fresh adapters.
    pub seed: u64,
}

impl LoadOptions {
    /// Loads `model` with fresh adapters on the CPU, for contexts of 2048 tokens.
    pub fn new(model: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            adapters: None,
            device: "cpu".to_owned(),
            precision: Precision::Auto,
            activations: Activations::default(),
            threads: 0,
            isa: None,
            context_tokens: 2048,
            seed: 0,
        }
    }
}

impl Encoder {
    /// Loads an encoder. Takes seconds and, for a while, twice the backbone's memory.
    ///
    /// # Errors
    /// Fails when a file is missing, damaged or made for another backbone, when the device
    /// is not there, and when the context is longer than the backbone allows or too short.
    pub fn load(options: &LoadOptions) -> Result<Self, EncoderError> {
        let device = open_device(&options.device)?;
        let checkpoint = model::open(&options.model)?;
        let context_tokens = options.context_tokens;
        let refuse = |problem: String| EncoderError::Option { option: "context_tokens", problem };
        let max = checkpoint.config.max_positions;
        if context_tokens > max {
            return Err(refuse(format!(
                "is {context_tokens}, {} has at most {max}",
                checkpoint.name
            )));
        }
        let backbone = load_backbone(&checkpoint, options, &device)?;
        let adapters = match &options.adapters {
            Some(folder) => Adapters::read(folder, &checkpoint, &device)?,
            None => match Adapters::embedded(&checkpoint, &device)? {
                Some(mini) => mini,
                None => Adapters::fresh(&checkpoint, backbone.parameters(), options.seed, &device),
            },
        };
        let manifest = &adapters.manifest;
        let thought = &manifest.thought;
        let markers = Markers::new(
            &checkpoint.tokenizer,
            &thought.open,
            &thought.close,
            &checkpoint.eos_ids,
        )?;
        let min = PROMPT_TOKENS_MIN + manifest.queries;
        if context_tokens < min {
            return Err(refuse(format!("is {context_tokens}, must be at least {min}")));
        }
        let prompter = Prompter::of(&checkpoint, manifest, context_tokens - manifest.queries)?;
        let info = describe_encoder(&checkpoint, &backbone, &adapters, prompter.eye(), options);
        tracing::info!(
            model = %info.model,
            device = %info.device,
            trained = info.trained,
            dimension = info.dimension,
            "encoder loaded"
        );
        if !adapters.assumed().is_empty() {
            tracing::warn!(keys = ?adapters.assumed(), "twn.json does not say; defaults stand in");
        }
        Ok(Self {
            prompter: Arc::new(prompter),
            prefixes: PrefixCache::default(),
            markers,
            tokenizer: checkpoint.tokenizer,
            info,
            model: Model::new(backbone, adapters)?,
        })
    }
}

fn load_backbone(
    checkpoint: &Checkpoint,
    options: &LoadOptions,
    device: &Device,
) -> Result<Backbone, EncoderError> {
    let (config, tensors) = (&checkpoint.config, checkpoint.tensors.as_ref());
    if options.device == FUSED {
        let fused = FusedOptions {
            precision: options.precision,
            activations: options.activations,
            threads: options.threads,
            isa: options.isa,
            ..FusedOptions::new(options.context_tokens)
        };
        return Backbone::load_fused(config, tensors, &fused);
    }
    if !matches!(options.precision, Precision::Auto | Precision::F32) {
        let problem = format!(
            "is {}, but `{}` runs the portable module, which has f32; use device `{FUSED}`",
            options.precision, options.device
        );
        return Err(EncoderError::Option { option: "precision", problem });
    }
    Backbone::load(config, tensors, options.context_tokens, device)
}

fn describe_encoder(
    checkpoint: &Checkpoint,
    backbone: &Backbone,
    adapters: &Adapters,
    eye: Option<&Eye>,
    options: &LoadOptions,
) -> EncoderInfo {
    let manifest = &adapters.manifest;
    EncoderInfo {
        model: checkpoint.name.clone(),
        fingerprint: fingerprint(checkpoint, adapters, &execution(backbone, options), eye),
        dimension: adapters.pooler.dimension(checkpoint.config.hidden_size),
        context_tokens: options.context_tokens,
        trained: manifest.trained,
        note: note(adapters, options.adapters.is_some()),
        device: describe_execution(options, backbone),
        interface: manifest.interface.name(),
        pooling: adapters.pooler.describe(manifest.pooling),
        embedding_queries: manifest.queries,
        gate_threshold: manifest.gate_threshold,
        gate_curve: manifest.gate_curve.clone(),
        token_budget: manifest.thought.token_budget,
        backbone_parameters: backbone.parameters(),
        adapter_parameters: adapters.parameters(),
    }
}

fn note(adapters: &Adapters, from_folder: bool) -> String {
    let manifest = &adapters.manifest;
    if !adapters.assumed().is_empty() {
        return format!(
            "released adapters, queries and gate; neither the files nor a twn.json say {}, so \
             TWN's defaults stand in",
            adapters.assumed().join(", ")
        );
    }
    match (manifest.trained, from_folder) {
        (true, _) if manifest.gate_curve.is_empty() => "trained adapters and queries; no fit of \
                                                        the gate is on record"
            .to_owned(),
        (true, _) => "trained adapters, queries and gate".to_owned(),
        (false, true) => "untrained: the adapter folder's manifest says that its adapters, \
                          queries and gate have not been trained"
            .to_owned(),
        (false, false) => "untrained: adapters, queries and gate are freshly initialised; \
                           embeddings are mean-pooled states of the bare backbone, and the \
                           gate scores every input 0.5, so AUTO embeds directly"
            .to_owned(),
    }
}

/// What of the execution changes embeddings by more than the order of sums.
fn execution(backbone: &Backbone, options: &LoadOptions) -> String {
    match options.precision {
        Precision::Auto | Precision::Q4 | Precision::Q8 if backbone.decoder().is_some() => {
            format!("{}, {} activations", options.precision, options.activations)
        }
        _ => Precision::F32.name().to_owned(),
    }
}

/// Describes the execution for people, for example `cpu, fused, AVX2, 2 threads, auto`.
fn describe_execution(options: &LoadOptions, backbone: &Backbone) -> String {
    let Some(decoder) = backbone.decoder() else { return describe_device(&options.device) };
    let running = decoder.options();
    format!(
        "CPU, fused pass on {}, {} threads, {} weights ({} MiB){}",
        running.isa.name(),
        running.threads,
        options.precision,
        decoder.weight_bytes() >> 20,
        match options.precision {
            Precision::F32 => String::new(),
            _ => format!(", {} activations", options.activations),
        }
    )
}
