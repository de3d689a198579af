//! The shapes of published models.

use clap::ValueEnum;
use twn_encoder::{Precision, backbone::BackboneConfig};

/// A text side of Qwen3-VL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shape {
    /// Qwen3-VL-2B
    #[value(name = "2b")]
    TwoB,
    /// Qwen3-VL-4B
    #[value(name = "4b")]
    FourB,
    /// Qwen3-VL-8B
    #[value(name = "8b")]
    EightB,
}

impl Shape {
    /// The name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TwoB => "2b",
            Self::FourB => "4b",
            Self::EightB => "8b",
        }
    }

    /// The shapes as the models' `config.json` has them; the vision tower is left out.
    pub(super) fn config(self) -> BackboneConfig {
        let (hidden_size, intermediate_size, layers, heads) = match self {
            Self::TwoB => (2048, 6144, 28, 16),
            Self::FourB => (2560, 9728, 36, 32),
            Self::EightB => (4096, 12_288, 36, 32),
        };
        BackboneConfig {
            vocab_size: 151_936,
            hidden_size,
            intermediate_size,
            layers,
            heads,
            kv_heads: 8,
            head_dim: 128,
            rope_theta: 5e6,
            rms_norm_eps: 1e-6,
            max_positions: 262_144,
            tied_embeddings: self != Self::EightB,
            head_norms: true,
            rope_axes: None,
            vision: None,
        }
    }

    /// Bytes that packing and running take, estimated: the weights, the random
    /// table that all tensors are taken from, and a gibibyte for the rest.
    pub(super) fn bytes(self, precision: Precision) -> u64 {
        let config = self.config();
        let table = (config.vocab_size * config.hidden_size) as u64;
        let tables = if config.tied_embeddings { table } else { 2 * table };
        // A block of 32 has 2 bytes of scale, in 4 bits 4 of scale and offset.
        let layer_bits = match precision {
            Precision::Q4 => 40,
            Precision::Auto | Precision::Q8 => 68,
            Precision::F32 => 256,
        };
        let layers = config.parameters() - tables;
        (layers * layer_bits + tables * 68) / 64 + table * 2 + (1 << 30)
    }
}
