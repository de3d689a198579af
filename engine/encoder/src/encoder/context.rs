//! What a prompt leaves behind for a thought.

use std::ops::Range;

use super::Sequence;

/// What a prompt leaves behind for a thought.
#[derive(Debug)]
pub struct Context {
    /// Where the prompt's content lies.
    pub(super) content: Range<usize>,
    pub(super) state: State,
}

/// How far the prompt has run under the reasoning adapter.
#[derive(Debug)]
pub(super) enum State {
    /// Keys and values are there.
    Warm(Sequence),
    /// The prompt has to run if a thought follows: the interface is `reencode`, or the
    /// batch was so large that its keys and values were let go.
    Cold(Vec<u32>),
}

impl Context {
    /// The prompt's length in tokens.
    pub(super) fn prompt_tokens(&self) -> usize {
        match &self.state {
            State::Warm(sequence) => sequence.tokens.len(),
            State::Cold(tokens) => tokens.len(),
        }
    }

    /// Lets keys and values go; they are computed again if a thought follows.
    pub(super) fn cool(&mut self) {
        if let State::Warm(sequence) = &mut self.state {
            self.state = State::Cold(std::mem::take(&mut sequence.tokens));
        }
    }
}
