//! Weights of no meaning, in any shape.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use twn_encoder::{
    EncoderError, HostTensor, TensorSource,
    backbone::BackboneConfig,
    model::{BlockKind, RawTensor},
};

/// Values that are drawn; tensors repeat them.
const DRAWN: usize = (1 << 20) + 7;
/// About the deviation that models of this size are initialised with.
const BOUND: f32 = 0.03;

/// Random tensors for a decoder without a vision tower: matrices in bf16, as files have them.
pub(super) struct RandomTensors {
    config: BackboneConfig,
    /// As many elements as the largest tensor has; all tensors begin here.
    bytes: Vec<u8>,
}

impl RandomTensors {
    pub(super) fn new(config: &BackboneConfig) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let drawn: Vec<u8> = (0..DRAWN)
            .flat_map(|_| {
                let [_, _, low, high] = rng.random_range(-BOUND..BOUND).to_le_bytes();
                [low, high]
            })
            .collect();
        let largest = config.vocab_size * config.hidden_size * 2;
        let bytes = drawn.iter().copied().cycle().take(largest).collect();
        Self { config: config.clone(), bytes }
    }

    /// The shape of a matrix by its name.
    fn shape(&self, name: &str) -> Option<[usize; 2]> {
        let config = &self.config;
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        match name.strip_suffix(".weight")?.rsplit('.').next()? {
            "embed_tokens" | "lm_head" => Some([config.vocab_size, hidden]),
            "q_proj" => Some([queries, hidden]),
            "k_proj" | "v_proj" => Some([keys, hidden]),
            "o_proj" => Some([hidden, queries]),
            "gate_proj" | "up_proj" => Some([inner, hidden]),
            "down_proj" => Some([hidden, inner]),
            _ => None,
        }
    }
}

impl TensorSource for RandomTensors {
    /// Makes the vectors, which all scale.
    fn tensor(&self, name: &str) -> Result<HostTensor, EncoderError> {
        let is_of_heads = name.contains("q_norm") || name.contains("k_norm");
        let width = if is_of_heads { self.config.head_dim } else { self.config.hidden_size };
        Ok(HostTensor { shape: vec![width], values: vec![1.0; width] })
    }

    fn raw(&self, name: &str) -> Result<Option<RawTensor<'_>>, EncoderError> {
        Ok(self.shape(name).map(|shape| {
            let bytes = &self.bytes[..shape[0] * shape[1] * 2];
            RawTensor::plain(BlockKind::Bf16, shape, bytes)
        }))
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}
