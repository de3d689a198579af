//! Embeddings for an evaluation from an encoder in this process.

use twn_encoder::{Content, Embedder, EncodeInput, EncoderError, Prepare, Prompt};

use super::{
    encode::{BatchLimits, Schedule, cut_content, encode_all},
    error::EvalError,
    source::{EmbedOptions, Input, Pass, Source, SourceInfo},
};

/// How much an encoder does at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalOptions {
    /// Prompt tokens of one batch of direct embeddings, at least 1.
    pub batch_tokens: usize,
    /// Thoughts decoded together, at least 1.
    pub thoughts: usize,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self { batch_tokens: 2_048, thoughts: 16 }
    }
}

/// An encoder in this process.
pub struct LocalSource<'a, E> {
    encoder: &'a mut E,
    info: SourceInfo,
    limits: BatchLimits,
}

impl<'a, E: Embedder> LocalSource<'a, E> {
    /// Takes an encoder.
    ///
    /// # Errors
    /// Refuses options that are 0.
    pub fn new(encoder: &'a mut E, options: LocalOptions) -> Result<Self, EvalError> {
        let LocalOptions { batch_tokens, thoughts } = options;
        for (option, value) in [("batch_tokens", batch_tokens), ("thoughts", thoughts)] {
            if value == 0 {
                let problem = "is 0, at least 1 is needed".into();
                return Err(EvalError::Option { option, problem });
            }
        }
        let info = encoder.info();
        let info = SourceInfo {
            system: info.model.clone(),
            fingerprint: info.fingerprint.clone(),
            dimension: info.dimension,
            trained: info.trained,
            gate_threshold: info.gate_threshold,
            token_budget: info.token_budget,
        };
        Ok(Self { encoder, info, limits: BatchLimits { tokens: batch_tokens, thoughts } })
    }
}

impl<E: Embedder> Source for LocalSource<'_, E> {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn embed(
        &mut self,
        inputs: &[Input],
        options: &EmbedOptions,
        done: &mut dyn FnMut(usize),
    ) -> Result<Pass, EvalError> {
        let prompter = self.encoder.prompter();
        let prompts = inputs
            .iter()
            .map(|input| prepare(&*prompter, input, options))
            .collect::<Result<Vec<Prompt>, EvalError>>()?;
        let schedule = Schedule {
            think: options.think,
            token_budget: options.token_budget,
            limits: self.limits,
        };
        let batch = |source: EncoderError| {
            let name = |input: Option<&Input>| input.map_or_else(String::new, |i| i.name.clone());
            let what = format!("a batch from {} to {}", name(inputs.first()), name(inputs.last()));
            EvalError::Encode { what, source }
        };
        encode_all(self.encoder, &prompts, &schedule, done).map_err(batch)
    }
}

fn prepare(
    prompter: &dyn Prepare,
    input: &Input,
    options: &EmbedOptions,
) -> Result<Prompt, EvalError> {
    let request = EncodeInput {
        content: Content::text(input.text.clone()),
        instruction: options.instruction.clone(),
        kind: options.kind,
    };
    let named = |source| EvalError::Encode { what: input.name.clone(), source };
    let mut prompt = prompter.prepare(&request).map_err(named)?;
    cut_content(&mut prompt, options.max_content_tokens.unwrap_or(usize::MAX));
    Ok(prompt)
}
