//! Thoughts under way.

use std::ops::Range;

use tokenizers::Tokenizer;

use crate::{
    adapter::Interface,
    convergence::ConvergenceWatch,
    embedder::{Thought, ThoughtOptions},
    encoder::{Sequence, Start},
    error::EncoderError,
    policy::StopReason,
    sampler::Sampler,
};

/// How thoughts begin and end, in the words of one tokenizer.
#[derive(Debug)]
pub(crate) struct Markers {
    /// Tokens put before a thought; not counted as decoded.
    pub(crate) open: Vec<u32>,
    /// Tokens put after a thought that did not close itself; not counted as decoded.
    pub(crate) close: Vec<u32>,
    /// Text by which the model closes a thought. The model may spell it in other tokens
    /// than `close`, so it is looked for in the text.
    close_text: String,
    eos_ids: Vec<u32>,
}

/// A thought of the model.
#[derive(Debug)]
pub struct ModelThought {
    /// Prompt, opening marker and what was decoded, end-of-turn token excluded.
    pub(crate) sequence: Sequence,
    /// Prompt and thought run under the embedding adapter too: the interface is `reencode`.
    runs_again: bool,
    /// The same under the embedding adapter, as far as it has run there; `None` before it
    /// has, and where `sequence` serves both.
    pub(crate) again: Option<Sequence>,
    /// Where the prompt's content lies.
    pub(crate) content: Range<usize>,
    /// Where the decoded tokens begin.
    begin: usize,
    decoded: u32,
    budget: u32,
    room: u32,
    sampler: Sampler,
    /// Watches probes of the embedding, if the thought may end by convergence.
    watch: Option<ConvergenceWatch>,
    /// Embedding-query tokens that probes have run.
    pub(crate) probe_tokens: u32,
    stop_reason: Option<StopReason>,
}

impl Markers {
    /// Tokenises the markers.
    ///
    /// # Errors
    /// Fails when the tokenizer cannot.
    pub(crate) fn new(
        tokenizer: &Tokenizer,
        open: &str,
        close: &str,
        eos_ids: &[u32],
    ) -> Result<Self, EncoderError> {
        let ids = |text: &str| {
            let encoding = tokenizer.encode(text, false).map_err(tokenizer_failed)?;
            Ok::<_, EncoderError>(encoding.get_ids().to_vec())
        };
        Ok(Self {
            open: ids(open)?,
            close: ids(close)?,
            close_text: close.to_owned(),
            eos_ids: eos_ids.to_vec(),
        })
    }

    /// Tokens that both markers need.
    pub(crate) fn tokens(&self) -> usize {
        self.open.len() + self.close.len()
    }

    /// Tells whether the last of `tokens` completed the closing marker.
    fn closed(&self, tokens: &[u32], tokenizer: &Tokenizer) -> Result<bool, EncoderError> {
        // Every token of the marker has at least one of its bytes.
        let tail = &tokens[tokens.len().saturating_sub(self.close_text.len())..];
        Ok(decode(tokenizer, tail)?.contains(&self.close_text))
    }
}

impl ModelThought {
    /// Opens a thought after the prompt that `sequence` holds, with room in the context
    /// for `room` decoded tokens beside both markers. Without any room it has ended.
    pub(crate) fn new(
        mut sequence: Sequence,
        content: Range<usize>,
        options: &ThoughtOptions,
        markers: &Markers,
        room: u32,
        interface: Interface,
    ) -> Self {
        if room > 0 {
            sequence.tokens.extend(&markers.open);
        }
        let begin = sequence.tokens.len();
        // Whatever is decoded is pooled; `finish` draws the line.
        sequence.pooled[1] = begin..usize::MAX;
        let mut thought = Self {
            sequence,
            runs_again: interface == Interface::Reencode,
            again: None,
            content,
            begin,
            decoded: 0,
            budget: options.token_budget,
            room,
            sampler: Sampler::new(options.temperature, options.seed),
            watch: options.convergence.map(ConvergenceWatch::new),
            probe_tokens: 0,
            stop_reason: None,
        };
        thought.stop_at_limits();
        thought
    }

    /// Takes the next token by its logits.
    ///
    /// # Errors
    /// Fails when the logits are not finite or the tokenizer cannot decode.
    pub(crate) fn take(
        &mut self,
        logits: &[f32],
        markers: &Markers,
        tokenizer: &Tokenizer,
    ) -> Result<(), EncoderError> {
        let token = self.sampler.pick(logits).ok_or_else(|| EncoderError::Internal {
            problem: "the next token's logits are not finite".to_owned(),
        })?;
        self.decoded += 1;
        if markers.eos_ids.contains(&token) {
            self.stop(StopReason::EndOfTurn);
            return Ok(());
        }
        self.sequence.tokens.push(token);
        if markers.closed(&self.sequence.tokens[self.begin..], tokenizer)? {
            self.stop(StopReason::Closed);
        }
        self.stop_at_limits();
        Ok(())
    }

    /// The tokens decoded so far, the end of turn excluded.
    pub fn decoded(&self) -> &[u32] {
        &self.sequence.tokens[self.decoded_range()]
    }

    /// Tokens that it may still decode.
    pub(crate) fn left(&self) -> usize {
        self.budget.min(self.room).saturating_sub(self.decoded) as usize
    }

    /// Tells whether the embedding is to be probed where the thought stands.
    pub(crate) fn is_probe_due(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.is_due(self.decoded))
    }

    /// Where the tokens decoded so far lie.
    pub(crate) fn decoded_range(&self) -> Range<usize> {
        self.begin..self.sequence.tokens.len()
    }

    /// What runs under the embedding adapter before the first decoded token.
    pub(crate) fn start(&self) -> Start {
        let tokens = self.sequence.tokens[..self.begin].to_vec();
        Start { tokens, content: self.content.clone(), sight: self.sequence.sight.clone() }
    }

    /// Takes a probe of the embedding, which ran `query_tokens`, and ends the thought if
    /// it has converged.
    pub(crate) fn observe(&mut self, embedding: Vec<f32>, query_tokens: u32) {
        self.probe_tokens += query_tokens;
        if self.watch.as_mut().is_some_and(|watch| watch.observe(embedding)) {
            self.stop(StopReason::Converged);
        }
    }

    /// Ends the thought, closes it if it has not closed itself, and tells why it ended.
    pub(crate) fn finish(&mut self, markers: &Markers) -> StopReason {
        let reason = *self.stop_reason.get_or_insert(StopReason::Budget);
        self.sequence.pooled[1] = self.begin..self.sequence.tokens.len();
        if reason != StopReason::Closed && self.room > 0 {
            self.sequence.tokens.extend(&markers.close);
        }
        reason
    }

    /// The thought's text without its markers.
    ///
    /// # Errors
    /// Fails when the tokenizer cannot decode.
    pub(crate) fn text(
        &self,
        markers: &Markers,
        tokenizer: &Tokenizer,
    ) -> Result<String, EncoderError> {
        let end = self.sequence.pooled[1].end.min(self.sequence.tokens.len());
        let text = decode(tokenizer, &self.sequence.tokens[self.begin..end])?;
        let text = text.split(&markers.close_text).next().unwrap_or_default();
        // A cut can go through a character.
        Ok(text.trim_end_matches(char::REPLACEMENT_CHARACTER).trim().to_owned())
    }

    fn stop_at_limits(&mut self) {
        if self.decoded >= self.budget {
            self.stop(StopReason::Budget);
        } else if self.decoded >= self.room {
            self.stop(StopReason::ContextFull);
        }
    }
}

impl Thought for ModelThought {
    fn tokens(&self) -> u32 {
        self.decoded
    }

    fn stop_reason(&self) -> Option<StopReason> {
        self.stop_reason
    }

    fn stop(&mut self, reason: StopReason) {
        self.stop_reason.get_or_insert(reason);
    }

    fn behind(&self) -> usize {
        let run = match &self.again {
            Some(again) => again.cache.len(),
            None if self.runs_again => 0,
            None => self.sequence.cache.len(),
        };
        self.sequence.tokens.len() - run
    }
}

fn decode(tokenizer: &Tokenizer, tokens: &[u32]) -> Result<String, EncoderError> {
    tokenizer.decode(tokens, false).map_err(tokenizer_failed)
}

fn tokenizer_failed(error: tokenizers::Error) -> EncoderError {
    EncoderError::Internal { problem: format!("tokenizer: {error}") }
}
