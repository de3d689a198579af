//! Logits along a thought that is given, for comparing executions.

use super::{Encoder, model::Role, sequence::host_values};
use crate::{backbone::Span, embedder::Prompt, error::EncoderError};

impl Encoder {
    /// The logits of each token of a thought and of the one that would follow it, after `prompt`
    /// and the opening marker: `[thought + 1, vocabulary]`. Greedy decoding takes the largest
    /// of a row as long as the tokens before it are those that it took.
    ///
    /// # Errors
    /// Refuses a prompt with pictures, and a thought for which the context has no room; fails by
    /// the encoder's fault.
    pub fn thought_logits(
        &mut self,
        prompt: &Prompt,
        thought: &[u32],
    ) -> Result<Vec<Vec<f32>>, EncoderError> {
        self.check(prompt)?;
        let refuse = |problem: String| EncoderError::Internal { problem };
        if prompt.pictures.is_some() {
            return Err(refuse("logits are given after texts only".to_owned()));
        }
        if let Some(id) = thought.iter().find(|&&id| id as usize >= self.vocabulary()) {
            return Err(refuse(format!("a thought has token {id}, the vocabulary has fewer")));
        }
        let room = self.room_after(prompt.tokens.len()) as usize;
        if thought.len() > room {
            let problem = format!("a thought has {} tokens, {room} fit", thought.len());
            return Err(refuse(problem));
        }
        let tokens = [&prompt.tokens, &self.markers.open, thought].concat();
        let mut cache = self.model.new_cache(Role::Reasoning, tokens.len());
        let backbone = &self.model.backbone;
        let mut spans = [Span { len: tokens.len(), cache: &mut cache }];
        let lora = self.model.lora(Role::Reasoning);
        let states = backbone.forward(backbone.embed(&tokens), &mut spans, lora);
        let states = states.slice(tokens.len() - thought.len() - 1..tokens.len());
        let logits = host_values(backbone.logits(states))?;
        Ok(logits.chunks_exact(self.vocabulary()).map(<[f32]>::to_vec).collect())
    }
}
