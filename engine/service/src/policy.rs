//! A request's wish about thinking, and what the server makes of it.

use serde::{Deserialize, Serialize};
use twn_encoder::{EncoderInfo, ReasoningMode, ReasoningPolicy};

use crate::{error::ServiceError, limits::Limits};

/// A request's wish about thinking. Absent fields take the server's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PolicyRequest {
    /// Who decides.
    pub mode: Option<ReasoningMode>,
    /// The gate's threshold, in [0, 1].
    pub threshold: Option<f32>,
    /// The most thought tokens.
    pub token_budget: Option<u32>,
    /// Decoding temperature; 0 is greedy.
    pub temperature: Option<f32>,
    /// Seed of the sampling.
    pub seed: Option<u64>,
    /// Return the thought's text.
    pub include_thought: bool,
}

/// The server's defaults; absent fields take the encoder manifest's.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyDefaults {
    /// Who decides when the request does not say.
    pub mode: ReasoningMode,
    /// The gate's threshold, in [0, 1].
    pub threshold: Option<f32>,
    /// The most thought tokens.
    pub token_budget: Option<u32>,
}

const MAX_TEMPERATURE: f32 = 2.0;

impl PolicyRequest {
    /// Fills in the defaults and checks the bounds.
    ///
    /// # Errors
    /// Refuses a threshold outside [0, 1], a budget outside 1 to the limit and a
    /// temperature outside 0 to 2.
    pub fn resolve(
        &self,
        defaults: &PolicyDefaults,
        info: &EncoderInfo,
        limits: &Limits,
    ) -> Result<ReasoningPolicy, ServiceError> {
        let threshold = self.threshold.or(defaults.threshold).unwrap_or(info.gate_threshold);
        if !(0.0..=1.0).contains(&threshold) {
            let problem = format!("{threshold} is outside 0 to 1");
            return Err(ServiceError::invalid("reasoning.threshold", problem));
        }

        let max_budget = limits.max_token_budget;
        let default_budget = defaults.token_budget.unwrap_or(info.token_budget).min(max_budget);
        let token_budget = self.token_budget.unwrap_or(default_budget);
        if !(1..=max_budget).contains(&token_budget) {
            let problem = format!("{token_budget} is outside 1 to {max_budget}");
            return Err(ServiceError::invalid("reasoning.token_budget", problem));
        }

        let temperature = self.temperature.unwrap_or(0.0);
        if !(0.0..=MAX_TEMPERATURE).contains(&temperature) {
            let problem = format!("{temperature} is outside 0 to {MAX_TEMPERATURE}");
            return Err(ServiceError::invalid("reasoning.temperature", problem));
        }

        Ok(ReasoningPolicy {
            mode: self.mode.unwrap_or(defaults.mode),
            threshold,
            token_budget,
            temperature,
            seed: self.seed.unwrap_or(0),
        })
    }
}
