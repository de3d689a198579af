//! Provenance: how an embedding was made and what it cost.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::{Route, RouteReason, StopReason};

/// Why a thought was granted less than the policy asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pressure {
    /// It was not: threshold and budget are the policy's.
    #[default]
    None,
    /// The model had much to do.
    Load,
    /// The request's deadline was near.
    Deadline,
}

/// Who set the threshold that a gate's score was compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdSource {
    /// The policy.
    Policy,
    /// Pressure, by a formula: no curve of the gate is on record.
    Formula,
    /// Pressure, moving along the curve that the gate's fit left on record.
    Curve,
}

/// Tokens that ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenCost {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Of these, tokens whose keys and values were reused from an earlier prompt.
    pub cached_prompt_tokens: u32,
    /// Of the prompt's, tokens that stand for pixels.
    pub vision_tokens: u32,
    /// Thought tokens decoded, markers included.
    pub reasoning_tokens: u32,
    /// Embedding-query tokens run.
    pub query_tokens: u32,
}

/// How an embedding was made and what it cost. Stored with every document.
///
/// The token counts are of what ran for this answer. They are all 0 when nothing was
/// encoded, and when the answer came from a cache: then `original` has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Which way the input took.
    pub route: Route,
    /// Why.
    pub route_reason: RouteReason,
    /// The gate's P(thinking helps), in [0, 1]; `None` when nothing was encoded.
    pub gate_score: Option<f32>,
    /// The threshold the score was compared with; `None` unless the gate decided.
    pub gate_threshold: Option<f32>,
    /// The policy's threshold, which pressure may have raised; `None` unless the gate decided.
    #[serde(default)]
    pub base_threshold: Option<f32>,
    /// Who set `gate_threshold`; `None` unless the gate decided.
    #[serde(default)]
    pub threshold_source: Option<ThresholdSource>,
    /// The thought tokens that the policy allows; `None` when it allows no thought.
    #[serde(default)]
    pub token_budget: Option<u32>,
    /// The thought tokens that were granted; `None` without a thought.
    #[serde(default)]
    pub granted_budget: Option<u32>,
    /// Why threshold or budget are not the policy's.
    #[serde(default)]
    pub pressure: Pressure,
    /// Tokens of the prompt: template, instruction and content.
    pub prompt_tokens: u32,
    /// Of these, tokens whose keys and values were reused from an earlier prompt.
    pub cached_prompt_tokens: u32,
    /// Of these, tokens that stand for pixels.
    pub vision_tokens: u32,
    /// Thought tokens decoded, markers included.
    pub reasoning_tokens: u32,
    /// Embedding-query tokens run, over both embeddings if two were made, and over the
    /// probes of a thought that was watched for convergence.
    pub query_tokens: u32,
    /// Why the thought ended; `None` without a thought.
    pub stop_reason: Option<StopReason>,
    /// The content was longer than the context and was cut.
    pub truncated: bool,
    /// Identifies backbone, adapters, queries, gate and template together.
    pub encoder_fingerprint: String,
    /// What the embedding cost when it was made, if it came from a cache now.
    #[serde(default)]
    pub original: Option<TokenCost>,
}

impl Usage {
    /// Describes a vector that came without encoding, for `reason`.
    pub fn not_encoded(reason: RouteReason, encoder_fingerprint: impl Into<String>) -> Self {
        Self {
            route: Route::None,
            route_reason: reason,
            gate_score: None,
            gate_threshold: None,
            base_threshold: None,
            threshold_source: None,
            token_budget: None,
            granted_budget: None,
            pressure: Pressure::None,
            prompt_tokens: 0,
            cached_prompt_tokens: 0,
            vision_tokens: 0,
            reasoning_tokens: 0,
            query_tokens: 0,
            stop_reason: None,
            truncated: false,
            encoder_fingerprint: encoder_fingerprint.into(),
            original: None,
        }
    }

    /// The tokens that ran.
    pub fn cost(&self) -> TokenCost {
        TokenCost {
            prompt_tokens: self.prompt_tokens,
            cached_prompt_tokens: self.cached_prompt_tokens,
            vision_tokens: self.vision_tokens,
            reasoning_tokens: self.reasoning_tokens,
            query_tokens: self.query_tokens,
        }
    }

    /// Describes the same embedding when it is answered again without running anything.
    #[must_use]
    pub fn recalled(self) -> Self {
        Self {
            original: Some(self.original.unwrap_or_else(|| self.cost())),
            prompt_tokens: 0,
            cached_prompt_tokens: 0,
            vision_tokens: 0,
            reasoning_tokens: 0,
            query_tokens: 0,
            ..self
        }
    }
}

/// Where the encoder's time for one input went. Batched work is counted in full
/// for each input of the batch: these are latencies, not shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EncodeTimings {
    /// Waiting for the model.
    pub queue: Duration,
    /// Template, tokenizer and media decoding.
    pub prepare: Duration,
    /// Prompt, embedding queries and gate.
    pub prefill: Duration,
    /// Decoding the thought.
    pub reasoning: Duration,
    /// The embedding queries after the thought.
    pub reembed: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recalled_runs_nothing_and_remembers_its_cost() {
        let made = Usage {
            prompt_tokens: 9,
            cached_prompt_tokens: 3,
            vision_tokens: 1,
            reasoning_tokens: 5,
            query_tokens: 8,
            ..Usage::not_encoded(RouteReason::PolicyAlways, "f")
        };
        let recalled = made.clone().recalled();
        assert_eq!(recalled.cost(), TokenCost::default());
        assert_eq!(recalled.original, Some(made.cost()));
        assert_eq!(recalled.clone().recalled(), recalled, "recalling again changes nothing");
    }

    #[test]
    fn provenance_of_earlier_versions_is_read() {
        let earlier = r#"{"route":"direct","route_reason":"policy_never","gate_score":0.5,
            "gate_threshold":null,"prompt_tokens":3,"cached_prompt_tokens":0,"vision_tokens":0,
            "reasoning_tokens":0,"query_tokens":8,"stop_reason":null,"truncated":false,
            "encoder_fingerprint":"f"}"#;
        let usage: Usage = serde_json::from_str(earlier).expect("is read");
        assert_eq!((usage.prompt_tokens, usage.pressure), (3, Pressure::None));
        assert_eq!((usage.original, usage.token_budget), (None, None));
    }
}
