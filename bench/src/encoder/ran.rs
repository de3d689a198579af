//! What requests that think have run, and in what time the machine's limits would let them.

use std::iter::Sum;

use super::contestant::Cost;
use crate::floor::Limits;

/// Tokens that ran, of one request or of several together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ran {
    /// For embeddings: of prompts, of thoughts and queries.
    pub(crate) embedded: u64,
    /// Of prompts, before thoughts.
    pub(crate) read: u64,
    /// Of thoughts, one a step.
    pub(crate) thought: u64,
}

impl Ran {
    /// Seconds that it takes at the least when as many thoughts as `together` share a step:
    /// int8 arithmetic for what is embedded, int16 arithmetic for what is read, and for a step
    /// the longer of its arithmetic and the reading of the weights.
    pub(crate) fn least_seconds(&self, together: f64, cost: &Cost, limits: &Limits) -> f64 {
        let operations = 2.0 * cost.multiply_adds_per_token as f64;
        let head = 2.0 * cost.head_multiply_adds as f64;
        let embedding = self.embedded as f64 * operations / limits.int8_operations_per_s;
        let reading = self.read as f64 * operations / limits.int16_operations_per_s;
        let arithmetic = (operations + head) / limits.int16_operations_per_s;
        let weights = cost.weight_bytes_per_step as f64 / limits.read_bytes_per_s / together;
        embedding + reading + self.thought as f64 * arithmetic.max(weights)
    }
}

impl Sum for Ran {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            embedded: sum.embedded + one.embedded,
            read: sum.read + one.read,
            thought: sum.thought + one.thought,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{encoder::contestant::Arithmetic, floor::EXAMPLE};

    #[test]
    fn steps_are_bound_by_reading_alone_and_by_arithmetic_together() {
        let cost = Cost {
            multiply_adds_per_token: 100_000_000,
            head_multiply_adds: 20_000_000,
            weight_bytes_per_step: 80_000_000,
            cache_bytes_per_position: 50_000,
            arithmetic: Arithmetic::Int8,
        };
        let ran = Ran { embedded: 40, read: 20, thought: 10 };
        // 10 ms of int8, 10 ms of int16, and ten steps of 4 ms alone, of 0.6 ms among many.
        assert!((ran.least_seconds(1.0, &cost, &EXAMPLE) - 0.060).abs() < 1e-9);
        assert!((ran.least_seconds(8.0, &cost, &EXAMPLE) - 0.026).abs() < 1e-9);
        let twice: Ran = [ran, ran].into_iter().sum();
        assert_eq!(twice, Ran { embedded: 80, read: 40, thought: 20 });
    }
}
