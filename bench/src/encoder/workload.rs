//! What contestants are timed at.

use std::{fmt, time::Duration};

use super::contestant::{Arithmetic, Contestant, Cost};
use crate::floor::Limits;

/// One kind of work, the same for everyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Workload {
    Prefill { batch: usize, tokens: usize },
    Decode { batch: usize, prompt: usize, steps: usize },
}

impl Workload {
    /// Has it done once.
    pub(crate) fn run(self, contestant: &mut dyn Contestant) -> anyhow::Result<Duration> {
        match self {
            Self::Prefill { batch, tokens } => contestant.prefill(batch, tokens),
            Self::Decode { batch, prompt, steps } => contestant.decode(batch, prompt, steps),
        }
    }

    /// Tokens read or written in the time that is measured.
    pub(crate) fn tokens(self) -> usize {
        match self {
            Self::Prefill { batch, tokens } => batch * tokens,
            Self::Decode { batch, steps, .. } => batch * steps,
        }
    }

    /// Tokens a second.
    pub(crate) fn speed(self, time: Duration) -> f64 {
        self.tokens() as f64 / time.as_secs_f64()
    }

    /// Tokens a second that the machine's limits allow: arithmetic bounds a prefill, the
    /// reading of weights and cache a decode. Real work has to do both, and more.
    pub(crate) fn speed_limit(self, cost: &Cost, limits: &Limits) -> f64 {
        match self {
            Self::Prefill { .. } => {
                let operations_per_s = match cost.arithmetic {
                    Arithmetic::F32 => limits.f32_operations_per_s,
                    Arithmetic::Int16 => limits.int16_operations_per_s,
                    Arithmetic::Int8 => limits.int8_operations_per_s,
                };
                operations_per_s / (2.0 * cost.multiply_adds_per_token as f64)
            }
            Self::Decode { batch, prompt, steps } => {
                let positions = prompt as f64 + steps as f64 / 2.0;
                let cache = batch as f64 * positions * cost.cache_bytes_per_position as f64;
                let bytes_per_step = cost.weight_bytes_per_step as f64 + cache;
                batch as f64 * limits.read_bytes_per_s / bytes_per_step
            }
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefill { batch, tokens } => write!(f, "prefill {batch}x{tokens}"),
            Self::Decode { batch, .. } => write!(f, "decode batch {batch}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::EXAMPLE;

    #[test]
    fn speed_counts_the_timed_tokens() {
        let prefill = Workload::Prefill { batch: 8, tokens: 128 };
        assert_eq!(prefill.speed(Duration::from_secs(2)), 512.0);
        let decode = Workload::Decode { batch: 8, prompt: 128, steps: 32 };
        assert_eq!(decode.speed(Duration::from_millis(500)), 512.0);
    }

    #[test]
    fn limits_follow_from_the_least_work() {
        let mut cost = Cost {
            multiply_adds_per_token: 100_000_000,
            head_multiply_adds: 0,
            weight_bytes_per_step: 80_000_000,
            cache_bytes_per_position: 50_000,
            arithmetic: Arithmetic::Int8,
        };
        let prefill = Workload::Prefill { batch: 1, tokens: 128 };
        assert_eq!(prefill.speed_limit(&cost, &EXAMPLE), 4_000.0);
        cost.arithmetic = Arithmetic::Int16;
        assert_eq!(prefill.speed_limit(&cost, &EXAMPLE), 2_000.0);
        cost.arithmetic = Arithmetic::F32;
        assert_eq!(prefill.speed_limit(&cost, &EXAMPLE), 1_000.0);
        // 400 positions of 50 kB are 20 MB for each sequence, beside 80 MB of weights.
        let one = Workload::Decode { batch: 1, prompt: 384, steps: 32 };
        assert_eq!(one.speed_limit(&cost, &EXAMPLE), 200.0);
        let four = Workload::Decode { batch: 4, prompt: 384, steps: 32 };
        assert_eq!(four.speed_limit(&cost, &EXAMPLE), 500.0);
    }
}
