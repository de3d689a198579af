//! How exactly the weights are kept.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::EncoderError;

/// How exactly the fused pass keeps the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 4-bit and 8-bit blocks stay as the file has them; f16, bf16 and f32 become 8-bit.
    #[default]
    Auto,
    /// 4 bits in blocks of 32 with a scale and an offset; the embedding table in 8 bits.
    Q4,
    /// 8 bits in blocks of 32 with a scale.
    Q8,
    /// f32, with f32 activations, keys and values.
    F32,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Q4, Self::Q8, Self::F32];

    /// Names it as options do.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Q4 => "q4",
            Self::Q8 => "q8",
            Self::F32 => "f32",
        }
    }

    /// How the layers' matrices are packed.
    pub(super) fn layers(self) -> twn_kernels::Precision {
        match self {
            Self::Auto => twn_kernels::Precision::AsStored,
            Self::Q4 => twn_kernels::Precision::Four,
            Self::Q8 => twn_kernels::Precision::Eight,
            Self::F32 => twn_kernels::Precision::Dense,
        }
    }

    /// How the embedding table and the output head are packed: never newly in 4 bits,
    /// which costs quality and saves little.
    pub(super) fn tables(self) -> twn_kernels::Precision {
        match self {
            Self::Q4 => twn_kernels::Precision::Eight,
            other => other.layers(),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = EncoderError;

    fn from_str(text: &str) -> Result<Self, EncoderError> {
        Self::ALL.into_iter().find(|precision| precision.name() == text).ok_or_else(|| {
            let problem = format!("`{text}` is none of auto, q4, q8, f32");
            EncoderError::Option { option: "precision", problem }
        })
    }
}
