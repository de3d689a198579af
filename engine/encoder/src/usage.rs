//! Provenance: how an embedding was made and what it cost.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::{Route, RouteReason, StopReason};

/// How an embedding was made and what it cost. Stored with every document.
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
    /// Tokens of the prompt: template, instruction and content.
    pub prompt_tokens: u32,
    /// Of these, tokens whose keys and values were reused from an earlier prompt.
    pub cached_prompt_tokens: u32,
    /// Of these, tokens that stand for pixels.
    pub vision_tokens: u32,
    /// Thought tokens decoded, markers included.
    pub reasoning_tokens: u32,
    /// Embedding-query tokens run, over both embeddings if two were made.
    pub query_tokens: u32,
    /// Why the thought ended; `None` without a thought.
    pub stop_reason: Option<StopReason>,
    /// The content was longer than the context and was cut.
    pub truncated: bool,
    /// Identifies backbone, adapters, queries, gate and template together.
    pub encoder_fingerprint: String,
}

impl Usage {
    /// Describes a vector that came without encoding, for `reason`.
    pub fn not_encoded(reason: RouteReason, encoder_fingerprint: impl Into<String>) -> Self {
        Self {
            route: Route::None,
            route_reason: reason,
            gate_score: None,
            gate_threshold: None,
            prompt_tokens: 0,
            cached_prompt_tokens: 0,
            vision_tokens: 0,
            reasoning_tokens: 0,
            query_tokens: 0,
            stop_reason: None,
            truncated: false,
            encoder_fingerprint: encoder_fingerprint.into(),
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
