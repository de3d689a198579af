//! `twn-mini`: the adapters that this build carries for its default model.

use burn::tensor::Device;

use super::{Adapters, files::Files};
use crate::{checkpoint::Checkpoint, error::EncoderError, model::DEFAULT};

macro_rules! mini {
    ($($file:literal),+ $(,)?) => {
        Files::Embedded {
            name: "twn-mini",
            files: &[$(($file, include_bytes!(concat!("../../twn-mini/", $file)))),+],
        }
    };
}

pub(super) const FILES: Files<'static> = mini![
    "twn.json",
    "head.safetensors",
    "reasoning/adapter_config.json",
    "reasoning/adapter_model.safetensors",
    "embedding/adapter_config.json",
    "embedding/adapter_model.safetensors",
];

impl Adapters {
    /// The adapters that this build carries for a backbone: `twn-mini` for the default
    /// model, none for any other.
    ///
    /// # Errors
    /// Fails when the embedded files are damaged.
    pub fn embedded(
        checkpoint: &Checkpoint,
        device: &Device,
    ) -> Result<Option<Self>, EncoderError> {
        if checkpoint.weights_sha256 != DEFAULT.sha256 {
            return Ok(None);
        }
        Self::read_files(&FILES, checkpoint, device).map(Some)
    }
}
