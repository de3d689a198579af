//! Random numbers and weights for tests.

use half::f16;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Random numbers from a seed.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Draws values from -1 to 1.
    pub(crate) fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.0.random_range(-1.0..1.0)).collect()
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }
}

/// Makes rows in the Q4_1 format, and the values that they mean.
pub(crate) fn q4_1_rows(random: &mut Random, rows: usize, columns: usize) -> (Vec<u8>, Vec<f32>) {
    let (mut bytes, mut values) = (Vec::new(), Vec::new());
    for _ in 0..rows * columns / 32 {
        // About as large as trained weights: a product keeps the size of its input.
        let scale = (0.5 + random.values(1)[0].abs()) * 0.2 / (columns as f32).sqrt();
        let offset = f16::from_f32(-scale * (7.5 + random.values(1)[0]));
        let scale = f16::from_f32(scale);
        bytes.extend(scale.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        let nibbles: Vec<u8> = (0..16).map(|_| random.below(256) as u8).collect();
        let value = |q: u8| f32::from(q) * scale.to_f32() + offset.to_f32();
        values.extend(nibbles.iter().map(|byte| value(byte & 15)));
        values.extend(nibbles.iter().map(|byte| value(byte >> 4)));
        bytes.extend(nibbles);
    }
    (bytes, values)
}
