//! How finely products with quantised weights round their inputs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use twn_kernels::ActivationBits;

use crate::error::EncoderError;

/// How finely the fused pass rounds activations before products with quantised weights.
/// Beside f32 weights activations are f32.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Activations {
    /// Embeddings in 8 bits, which moves them by less than the weights' own rounding and
    /// reads prompts fastest; thoughts, where one token leads to the next, in 16.
    #[default]
    Auto,
    /// 8 bits in blocks of 32: greedy thoughts part from f32's sooner.
    Int8,
    /// 16 bits in blocks of 32: what the weights' own rounding leaves stays as it is.
    Int16,
}

impl Activations {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Int8, Self::Int16];

    /// Names it as options do.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
        }
    }

    /// For sequences that go on to a thought.
    pub(super) fn thoughts(self) -> ActivationBits {
        match self {
            Self::Int8 => ActivationBits::Eight,
            Self::Auto | Self::Int16 => ActivationBits::Sixteen,
        }
    }

    /// For sequences that only an embedding is made of.
    pub(super) fn embeddings(self) -> ActivationBits {
        match self {
            Self::Auto | Self::Int8 => ActivationBits::Eight,
            Self::Int16 => ActivationBits::Sixteen,
        }
    }
}

impl fmt::Display for Activations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Activations {
    type Err = EncoderError;

    fn from_str(text: &str) -> Result<Self, EncoderError> {
        Self::ALL.into_iter().find(|activations| activations.name() == text).ok_or_else(|| {
            let problem = format!("`{text}` is none of auto, int8, int16");
            EncoderError::Option { option: "activations", problem }
        })
    }
}
