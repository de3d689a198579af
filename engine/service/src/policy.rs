//! A request's wish about thinking, and what the server makes of it.

use serde::{Deserialize, Serialize};
use twn_encoder::{Convergence, EncoderInfo, ReasoningMode, ReasoningPolicy};

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
    /// When a thought may end early.
    pub convergence: Option<ConvergenceRequest>,
    /// Keep to threshold and budget whatever the load and the deadline.
    pub fixed: bool,
    /// Return the thought's text.
    pub include_thought: bool,
}

/// A request's wish about ending thoughts early.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ConvergenceRequest {
    /// Never, whatever the server's default.
    Off,
    /// By this rule.
    By(Convergence),
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
    /// When a thought may end early.
    pub convergence: Option<Convergence>,
}

const MAX_TEMPERATURE: f32 = 2.0;

impl PolicyRequest {
    /// Fills in the defaults and checks the bounds.
    ///
    /// # Errors
    /// Refuses a threshold or a similarity outside [0, 1], a budget or probes' distance
    /// outside 1 to the limit and a temperature outside 0 to 2.
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

        let convergence = match self.convergence {
            None => defaults.convergence,
            Some(ConvergenceRequest::Off) => None,
            Some(ConvergenceRequest::By(rule)) => Some(rule),
        };
        if let Some(rule) = &convergence {
            let blame =
                |(field, problem)| ServiceError::invalid(format!("reasoning.{field}"), problem);
            check_convergence(rule, max_budget).map_err(blame)?;
        }

        Ok(ReasoningPolicy {
            mode: self.mode.unwrap_or(defaults.mode),
            threshold,
            token_budget,
            temperature,
            seed: self.seed.unwrap_or(0),
            convergence,
        })
    }
}

impl PolicyDefaults {
    /// Finds a default that a request could not ask for. Fields are named as in the
    /// configuration.
    ///
    /// # Errors
    /// Names the field and what is wrong with it.
    pub fn validate(&self, limits: &Limits) -> Result<(), (&'static str, String)> {
        let max_budget = limits.max_token_budget;
        if let Some(threshold) = self.threshold.filter(|share| !(0.0..=1.0).contains(share)) {
            return Err(("threshold", format!("{threshold} is outside 0 to 1")));
        }
        if let Some(budget) = self.token_budget.filter(|budget| !(1..=max_budget).contains(budget))
        {
            return Err(("token_budget", format!("{budget} is outside 1 to {max_budget}")));
        }
        self.convergence.iter().try_for_each(|rule| check_convergence(rule, max_budget))
    }
}

fn check_convergence(rule: &Convergence, max_budget: u32) -> Result<(), (&'static str, String)> {
    let Convergence { every, similarity } = *rule;
    if !(1..=max_budget).contains(&every) {
        return Err(("convergence.every", format!("{every} is outside 1 to {max_budget}")));
    }
    if !(0.0..=1.0).contains(&similarity) {
        return Err(("convergence.similarity", format!("{similarity} is outside 0 to 1")));
    }
    Ok(())
}
