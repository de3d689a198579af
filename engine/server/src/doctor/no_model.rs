//! The encoder of an engine that only opens its collections: loading a real one would take
//! seconds and a gigabyte, and nothing is encoded.

use std::sync::Arc;

use twn_encoder::{
    Begun, Direct, Embedder, EncodeInput, EncoderError, EncoderInfo, Prepare, Prompt, Reasoned,
    StopReason, Thought, ThoughtOptions,
};

/// Refuses whatever it is asked.
pub(super) struct NoModel(EncoderInfo);

impl NoModel {
    pub(super) fn new() -> Self {
        Self(EncoderInfo {
            model: String::new(),
            fingerprint: String::new(),
            dimension: 2,
            context_tokens: 1,
            trained: false,
            note: String::new(),
            device: String::new(),
            interface: "none",
            pooling: "none",
            embedding_queries: 0,
            gate_threshold: 1.0,
            gate_curve: Vec::new(),
            token_budget: 1,
            backbone_parameters: 0,
            adapter_parameters: 0,
        })
    }
}

fn refused<T>() -> Result<T, EncoderError> {
    Err(EncoderError::Internal { problem: "no model is loaded".to_owned() })
}

/// What a refusing encoder never makes.
pub(super) enum Never {}

impl Thought for Never {
    fn tokens(&self) -> u32 {
        match *self {}
    }

    fn stop_reason(&self) -> Option<StopReason> {
        match *self {}
    }

    fn stop(&mut self, _: StopReason) {
        match *self {}
    }

    fn behind(&self) -> usize {
        match *self {}
    }
}

struct NoPrompter;

impl Prepare for NoPrompter {
    fn prepare(&self, _: &EncodeInput) -> Result<Prompt, EncoderError> {
        refused()
    }
}

impl Embedder for NoModel {
    type Context = Never;
    type Thought = Never;

    fn info(&self) -> &EncoderInfo {
        &self.0
    }

    fn prompter(&self) -> Arc<dyn Prepare> {
        Arc::new(NoPrompter)
    }

    fn direct(&mut self, _: &[&Prompt]) -> Result<Vec<Direct<Never>>, EncoderError> {
        refused()
    }

    fn room(&self, _: &Prompt) -> u32 {
        0
    }

    fn begin(&mut self, _: &[&Prompt]) -> Result<Vec<Begun<Never>>, EncoderError> {
        refused()
    }

    fn open(&mut self, _: Vec<(Never, ThoughtOptions)>) -> Result<Vec<Never>, EncoderError> {
        refused()
    }

    fn step(&mut self, _: &mut [&mut Never]) -> Result<(), EncoderError> {
        refused()
    }

    fn catch_up(&mut self, _: &mut [&mut Never]) -> Result<bool, EncoderError> {
        refused()
    }

    fn finish(&mut self, _: Vec<Never>) -> Result<Vec<Reasoned>, EncoderError> {
        refused()
    }
}
