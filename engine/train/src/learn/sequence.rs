//! From texts to token sequences, exactly as the encoder makes them.

use std::ops::Range;

use twn_encoder::{
    Checkpoint, Content, EmbedKind, EncodeInput, Prepare, Prompter, adapter::Manifest,
};

use super::TrainError;

/// A prompt, or a prompt with its thought.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sequence {
    /// Token ids: the prompt, then the opening marker and the thought if there is one, and
    /// the closing marker behind a thought that did not close itself.
    pub tokens: Vec<u32>,
    /// Where the content lies.
    pub content: Range<usize>,
    /// Where the thought lies, a closing marker of its own included; empty without one.
    pub thought: Range<usize>,
}

impl Sequence {
    /// Tells whether the hidden state at `position` is part of the mean: content and
    /// thought are, and never the first position, whose activations are extreme.
    pub fn is_pooled(&self, position: usize) -> bool {
        position > 0 && (self.content.contains(&position) || self.thought.contains(&position))
    }

    /// The tokens that are pooled.
    pub fn words(&self) -> Vec<u32> {
        let pooled = (0..self.tokens.len()).filter(|&position| self.is_pooled(position));
        pooled.map(|position| self.tokens[position]).collect()
    }
}

/// A thought as it was decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// Its tokens, a closing marker of its own included.
    pub tokens: Vec<u32>,
    /// Whether it closed itself.
    pub closed: bool,
}

/// Turns text into token ids, without special tokens.
type Tokenize = Box<dyn Fn(&str) -> Result<Vec<u32>, String> + Send + Sync>;

/// Makes sequences for one backbone with one manifest.
pub struct Sequencer {
    prompter: Prompter,
    tokenizer: Tokenize,
    open: Vec<u32>,
    close: String,
    close_tokens: Vec<u32>,
    limits: SequenceLimits,
    thought_tokens_max: usize,
}

/// The most tokens of a sequence's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceLimits {
    /// Of a content; longer ones are cut.
    pub content: usize,
    /// Of template, instruction and markers; longer ones are refused.
    pub frame: usize,
}

impl std::fmt::Debug for Sequencer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sequencer").field("close", &self.close).finish_non_exhaustive()
    }
}

impl Sequencer {
    /// Makes a sequencer that keeps to `limits`.
    ///
    /// # Errors
    /// Fails when the chat template or the tokenizer cannot be used.
    pub fn new(
        checkpoint: &Checkpoint,
        manifest: &Manifest,
        limits: SequenceLimits,
    ) -> Result<Self, TrainError> {
        let prompter = Prompter::of(checkpoint, manifest, checkpoint.config.max_positions)?;
        let tokenizer = checkpoint.tokenizer.clone();
        let tokenizer = move |text: &str| {
            let encoding = tokenizer.encode(text, false).map_err(|error| error.to_string())?;
            Ok(encoding.get_ids().to_vec())
        };
        let open = tokenizer(&manifest.thought.open).map_err(TrainError::tokenizer)?;
        let close_tokens = tokenizer(&manifest.thought.close).map_err(TrainError::tokenizer)?;
        Ok(Self {
            prompter,
            tokenizer: Box::new(tokenizer),
            open,
            close: manifest.thought.close.clone(),
            close_tokens,
            limits,
            thought_tokens_max: manifest.thought.token_budget as usize,
        })
    }

    /// Makes the prompt of a query.
    ///
    /// # Errors
    /// Fails when the encoder would refuse it.
    pub fn query(&self, text: &str, instruction: Option<&str>) -> Result<Sequence, TrainError> {
        self.prompt(text, instruction, EmbedKind::Query)
    }

    /// Makes the prompt of a document.
    ///
    /// # Errors
    /// Fails when the encoder would refuse it.
    pub fn document(&self, text: &str) -> Result<Sequence, TrainError> {
        self.prompt(text, None, EmbedKind::Document)
    }

    /// Puts a thought after a prompt, cut to the manifest's budget, as decoding it under
    /// that budget would leave it.
    ///
    /// # Errors
    /// Fails when the tokenizer fails.
    pub fn think(&self, prompt: &Sequence, thought: &str) -> Result<Sequence, TrainError> {
        let text = format!("{}{}", thought.trim(), self.close);
        let mut decoded = (self.tokenizer)(&text).map_err(TrainError::tokenizer)?;
        let closed = decoded.len() <= self.thought_tokens_max;
        decoded.truncate(self.thought_tokens_max);
        Ok(self.think_decoded(prompt, &Decoded { tokens: decoded, closed }))
    }

    /// Puts a decoded thought after a prompt as the encoder embeds it: one that did not
    /// close itself is closed, by a marker that is read and not pooled.
    pub fn think_decoded(&self, prompt: &Sequence, thought: &Decoded) -> Sequence {
        let mut sequence = self.think_tokens(prompt, &thought.tokens);
        if !thought.closed {
            sequence.tokens.extend(&self.close_tokens);
        }
        sequence
    }

    /// Puts a thought's tokens after a prompt.
    pub fn think_tokens(&self, prompt: &Sequence, thought: &[u32]) -> Sequence {
        let mut tokens = prompt.tokens.clone();
        tokens.extend(&self.open);
        let begin = tokens.len();
        tokens.extend(thought);
        Sequence { thought: begin..tokens.len(), tokens, content: prompt.content.clone() }
    }

    fn prompt(
        &self,
        text: &str,
        instruction: Option<&str>,
        kind: EmbedKind,
    ) -> Result<Sequence, TrainError> {
        let input = EncodeInput {
            content: Content::text(text),
            instruction: instruction.map(str::to_owned),
            kind,
        };
        let mut prompt = self.prompter.prepare(&input)?;
        let markers = self.open.len() + self.close_tokens.len();
        let frame = prompt.tokens.len() - prompt.content.len() + markers;
        if frame > self.limits.frame {
            return Err(TrainError::recipe(format!(
                "an example's instruction and the template have {frame} tokens, at most {}",
                self.limits.frame
            )));
        }
        let cut = prompt.content.len().saturating_sub(self.limits.content);
        if cut > 0 {
            let end = prompt.content.end;
            prompt.tokens.drain(end - cut..end);
            prompt.content.end -= cut;
        }
        Ok(Sequence { tokens: prompt.tokens, content: prompt.content, thought: 0..0 })
    }
}
