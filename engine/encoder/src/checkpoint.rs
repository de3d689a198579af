//! A backbone as it lies on disk, whatever the format: configuration, tensors by
//! their Hugging Face names, tokenizer and chat template.

use crate::{
    backbone::BackboneConfig,
    error::EncoderError,
    model::{MediaSpecs, RawTensor},
};

/// A dense tensor on the host, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Values.
    pub values: Vec<f32>,
}

/// Reads tensors of a backbone by their Hugging Face names, for example
/// `model.layers.0.self_attn.q_proj.weight`, as `[out, in]` in the rotate-half layout.
pub trait TensorSource: Send + Sync {
    /// Reads one tensor and converts it to f32.
    ///
    /// # Errors
    /// Fails when the tensor is missing or damaged.
    fn tensor(&self, name: &str) -> Result<HostTensor, EncoderError>;

    /// Borrows a tensor as it is stored, where the format has blocks that kernels compute
    /// on; `None` elsewhere.
    ///
    /// # Errors
    /// Fails when the tensor is missing.
    fn raw(&self, _name: &str) -> Result<Option<RawTensor<'_>>, EncoderError> {
        Ok(None)
    }

    /// Names every tensor in the file, in Hugging Face terms, sorted.
    fn names(&self) -> Vec<String>;
}

/// An opened backbone.
pub struct Checkpoint {
    /// For example `SmolLM2-135M-Instruct`.
    pub name: String,
    /// Shapes and constants of the architecture.
    pub config: BackboneConfig,
    /// The weights.
    pub tensors: Box<dyn TensorSource>,
    /// Text to ids and back.
    pub tokenizer: tokenizers::Tokenizer,
    /// Jinja source of the chat template.
    pub chat_template: String,
    /// Content of the beginning-of-sequence token, for the template.
    pub bos_token: Option<String>,
    /// Content of the end-of-turn token, which ends decoding.
    pub eos_token: String,
    /// Ids that end decoding.
    pub eos_ids: Vec<u32>,
    /// How pixels are prepared, for a backbone that sees.
    pub media: Option<MediaSpecs>,
    /// Hex SHA-256 over the weight files' bytes.
    pub weights_sha256: String,
}
