//! The flags about the model, which several commands share.

use std::path::PathBuf;

use clap::Args;
use twn_encoder::{Activations, Precision};

use super::model;
use crate::config::Flag;

/// Which model runs, and how.
#[derive(Debug, Clone, Default, Args)]
pub struct ModelArgs {
    /// Name of a pulled model, a GGUF file, or a Hugging Face folder
    #[arg(long, value_name = "NAME or PATH")]
    pub model: Option<String>,
    /// Adapter folder; without one the default model has `twn-mini`'s, and any other fresh,
    /// untrained ones
    #[arg(long, value_name = "FOLDER")]
    pub adapters: Option<PathBuf>,
    /// `cpu` (fast), `flex` (the portable module on the CPU, f32), or `cuda:0` in a build
    /// that has it
    #[arg(long)]
    pub device: Option<String>,
    /// Weights on `cpu`: `auto` keeps blocks of 4 and 8 bits as stored and takes 8 bits for
    /// the rest; or `q4`, `q8`, `f32`
    #[arg(long)]
    pub precision: Option<Precision>,
    /// Activations before quantised weights on `cpu`: `auto` embeds in 8 bits and thinks in
    /// 16; or `int8`, `int16` for both
    #[arg(long)]
    pub activations: Option<Activations>,
    /// Threads of the model on `cpu`; 0 takes one for each core
    #[arg(long, value_name = "THREADS")]
    pub model_threads: Option<usize>,
    /// Tokens that prompt, thought and queries may have together
    #[arg(long, value_name = "TOKENS")]
    pub context_tokens: Option<usize>,
}

impl ModelArgs {
    /// The settings that the flags change.
    pub fn flags(&self) -> Vec<Flag> {
        let mut flags: Vec<Flag> = self.model.iter().flat_map(|name| model::flags(name)).collect();
        if let Some(adapters) = &self.adapters {
            let path = adapters.to_string_lossy().into_owned();
            flags.push(Flag::new("model.adapters", "--adapters", path));
        }
        if let Some(device) = &self.device {
            flags.push(Flag::new("model.device", "--device", device.as_str()));
        }
        if let Some(precision) = self.precision {
            flags.push(Flag::new("model.precision", "--precision", precision.name()));
        }
        if let Some(activations) = self.activations {
            flags.push(Flag::new("model.activations", "--activations", activations.name()));
        }
        if let Some(threads) = self.model_threads {
            flags.push(Flag::new("model.threads", "--model-threads", threads));
        }
        if let Some(tokens) = self.context_tokens {
            flags.push(Flag::new("model.context_tokens", "--context-tokens", tokens));
        }
        flags
    }
}
