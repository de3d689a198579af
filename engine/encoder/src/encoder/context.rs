//! What a prompt leaves behind for a thought.

use std::{ops::Range, sync::Arc};

use super::Sequence;
use crate::{backbone::Sight, pictures::Pictures};

/// What a prompt leaves behind for a thought.
#[derive(Debug)]
pub struct Context {
    /// Where the prompt's content lies.
    pub(super) content: Range<usize>,
    /// The prompt's pixels.
    pub(super) pictures: Option<Arc<Pictures>>,
    pub(super) state: State,
}

/// How the prompt has run; where it has only begun, as far as its shared prefix.
#[derive(Debug)]
pub(super) enum State {
    /// Under the reasoning adapter; a thought goes on from its keys and values.
    Warm(Sequence),
    /// Under the embedding adapter, as the interface `reencode` has it: a thought has to run
    /// it again, the embedding after the thought goes on from here.
    Embedded(Sequence),
    /// The batch was so large that its keys and values were let go.
    Cold {
        tokens: Vec<u32>,
        /// What the pixels put into the rows; `None` where there are none, or where they have
        /// to be looked at again.
        sight: Option<Arc<Sight>>,
    },
}

impl Context {
    /// The prompt's length in tokens.
    pub(super) fn prompt_tokens(&self) -> usize {
        match &self.state {
            State::Warm(sequence) | State::Embedded(sequence) => sequence.tokens.len(),
            State::Cold { tokens, .. } => tokens.len(),
        }
    }

    /// Lets keys, values and what was seen go; they are computed again if a thought follows.
    pub(super) fn cool(&mut self) {
        let tokens = match &mut self.state {
            State::Warm(sequence) | State::Embedded(sequence) => {
                std::mem::take(&mut sequence.tokens)
            }
            State::Cold { tokens, .. } => std::mem::take(tokens),
        };
        self.state = State::Cold { tokens, sight: None };
    }
}
