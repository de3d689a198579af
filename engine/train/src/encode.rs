//! Drives an encoder over many prompts: direct embeddings in batches, thoughts side by side.
//!
//! The route of each prompt is the policy's and the gate's, as in the running engine.

use std::collections::VecDeque;

use twn_encoder::{
    Direct, Embedder, EncoderError, Prompt, ReasoningPolicy, Route, Thought, ThoughtOptions,
};

/// How much runs at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchLimits {
    /// Prompt tokens of one batch of direct embeddings.
    pub(crate) tokens: usize,
    /// Thoughts decoded together.
    pub(crate) thoughts: usize,
}

/// What became of one prompt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Encoded {
    pub(crate) embedding: Vec<f32>,
    pub(crate) route: Route,
    pub(crate) prompt_tokens: u32,
    pub(crate) reasoning_tokens: u32,
}

/// Encodes prompts and gives the results in their order. `done` is told each time how many
/// prompts are finished.
pub(crate) fn encode_all<E: Embedder>(
    encoder: &mut E,
    prompts: &[Prompt],
    policy: &ReasoningPolicy,
    limits: BatchLimits,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<Encoded>, EncoderError> {
    let mut run = Run {
        encoder,
        prompts,
        policy,
        next: 0,
        waiting: VecDeque::new(),
        thinking: Vec::new(),
        results: prompts.iter().map(|_| None).collect(),
        finished: 0,
    };
    while run.finished < prompts.len() {
        run.open_thoughts(limits.thoughts)?;
        let idle_place = run.thinking.len() < limits.thoughts;
        if idle_place && run.next < prompts.len() {
            run.embed_batch(limits)?;
        } else {
            run.step()?;
        }
        done(run.finished);
    }
    run.results.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| EncoderError::Internal {
        problem: "a prompt was finished without a result".into(),
    })
}

struct Run<'a, E: Embedder> {
    encoder: &'a mut E,
    prompts: &'a [Prompt],
    policy: &'a ReasoningPolicy,
    /// The first prompt that has no direct embedding yet.
    next: usize,
    /// Prompts routed to a thought, by position, waiting for a place.
    waiting: VecDeque<(usize, Direct<E::Context>)>,
    thinking: Vec<(usize, E::Thought)>,
    results: Vec<Option<Encoded>>,
    finished: usize,
}

impl<E: Embedder> Run<'_, E> {
    fn open_thoughts(&mut self, places: usize) -> Result<(), EncoderError> {
        while self.thinking.len() < places {
            let Some((position, direct)) = self.waiting.pop_front() else { break };
            let options = ThoughtOptions {
                token_budget: self.policy.token_budget.min(direct.room),
                temperature: self.policy.temperature,
                seed: self.policy.seed,
                convergence: self.policy.convergence,
            };
            let thought = self.encoder.think(direct.context, &options)?;
            self.thinking.push((position, thought));
        }
        Ok(())
    }

    fn embed_batch(&mut self, limits: BatchLimits) -> Result<(), EncoderError> {
        let start = self.next;
        // Prompts that wait to think keep their keys and values, so few may wait.
        let most = if self.policy.mode == twn_encoder::ReasoningMode::Never {
            usize::MAX
        } else {
            limits.thoughts
        };
        let taken = batch_len(&self.prompts[start..], limits.tokens, most);
        let batch: Vec<&Prompt> = self.prompts[start..start + taken].iter().collect();
        let embedded = self.encoder.direct(&batch)?;
        if embedded.len() != taken {
            let problem = format!("{taken} prompts gave {} embeddings", embedded.len());
            return Err(EncoderError::Internal { problem });
        }
        self.next += taken;
        for (position, direct) in (start..).zip(embedded) {
            let (route, _) = self.policy.route(direct.gate_score, direct.room > 0);
            match route {
                Route::Reasoned => self.waiting.push_back((position, direct)),
                Route::Direct | Route::None => self.finish(position, direct.embedding, None),
            }
        }
        Ok(())
    }

    /// Decodes one token of every thought and embeds those that have ended.
    fn step(&mut self) -> Result<(), EncoderError> {
        let mut live: Vec<&mut E::Thought> = self.thinking.iter_mut().map(|(_, t)| t).collect();
        self.encoder.step(&mut live)?;
        let ended = |entry: &mut (usize, E::Thought)| entry.1.stop_reason().is_some();
        let done: Vec<_> = self.thinking.extract_if(.., ended).collect();
        for (position, thought) in done {
            let reasoned = self.encoder.reasoned(thought)?;
            self.finish(position, reasoned.embedding, Some(reasoned.reasoning_tokens));
        }
        Ok(())
    }

    fn finish(&mut self, position: usize, embedding: Vec<f32>, reasoning_tokens: Option<u32>) {
        let route = if reasoning_tokens.is_some() { Route::Reasoned } else { Route::Direct };
        let prompt_tokens = self.prompts[position].tokens.len();
        self.results[position] = Some(Encoded {
            embedding,
            route,
            prompt_tokens: u32::try_from(prompt_tokens).unwrap_or(u32::MAX),
            reasoning_tokens: reasoning_tokens.unwrap_or(0),
        });
        self.finished += 1;
    }
}

/// How many prompts from the front fill a batch; at least one.
fn batch_len(prompts: &[Prompt], max_tokens: usize, max_prompts: usize) -> usize {
    let mut tokens = 0;
    let fitting = prompts.iter().take(max_prompts).take_while(|prompt| {
        tokens += prompt.tokens.len();
        tokens <= max_tokens
    });
    fitting.count().max(1)
}

/// Cuts a prompt's content to `max_tokens` tokens; the template around it stays whole.
pub(crate) fn cut_content(prompt: &mut Prompt, max_tokens: usize) {
    let range = prompt.content.clone();
    let is_inside = range.start <= range.end && range.end <= prompt.tokens.len();
    if !is_inside || range.len() <= max_tokens {
        return;
    }
    let end = range.start + max_tokens;
    prompt.tokens.drain(end..range.end);
    prompt.content = range.start..end;
    prompt.truncated = true;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(tokens: usize) -> Prompt {
        let content = 2..tokens - 1;
        let tokens = (0..tokens as u32).collect();
        Prompt { tokens, truncated: false, content, vision_tokens: 0 }
    }

    #[test]
    fn content_is_cut_inside_its_template() {
        let mut cut = prompt(10);
        cut_content(&mut cut, 3);
        assert_eq!(cut.tokens, [0, 1, 2, 3, 4, 9]);
        assert_eq!((cut.content.clone(), cut.truncated), (2..5, true));
        let mut whole = prompt(6);
        cut_content(&mut whole, 3);
        assert_eq!(whole, prompt(6));
    }

    #[test]
    fn a_batch_is_bounded_by_tokens_and_takes_at_least_one() {
        let prompts = [prompt(10), prompt(10), prompt(10)];
        assert_eq!(batch_len(&prompts, 20, 9), 2);
        assert_eq!(batch_len(&prompts, 5, 9), 1);
        assert_eq!(batch_len(&prompts, 100, 2), 2);
        assert_eq!(batch_len(&prompts, 100, 9), 3);
    }
}
