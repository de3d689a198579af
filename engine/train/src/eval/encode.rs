//! Drives an encoder over many prompts: direct embeddings in batches, thoughts side by side.
//!
//! A place that a finished thought leaves is filled at once, so that the decoding steps
//! stay full to the end. Prompts of a batch are laid end to end without padding, so their
//! order does not matter.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use twn_encoder::{
    Direct, Embedder, EncoderError, Prompt, ReasoningMode, ReasoningPolicy, Route, Thought,
    ThoughtOptions,
};

use super::source::{AfterThought, Embedded, Pass, Think};

/// Prompts that may wait to think, for each place: they keep their keys and values.
const WAITING_PER_PLACE: usize = 4;

/// How much runs at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchLimits {
    /// Prompt tokens of one batch of direct embeddings.
    pub(super) tokens: usize,
    /// Thoughts decoded together.
    pub(super) thoughts: usize,
}

/// What is to run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Schedule {
    pub(super) think: Think,
    pub(super) token_budget: u32,
    pub(super) limits: BatchLimits,
}

impl Schedule {
    /// The policy that gives the same routes in the running engine.
    fn policy(&self) -> ReasoningPolicy {
        let (mode, threshold) = match self.think {
            Think::Nobody => (ReasoningMode::Never, 0.0),
            Think::Above(threshold) => (ReasoningMode::Auto, threshold),
            Think::Everybody => (ReasoningMode::Always, 0.0),
        };
        ReasoningPolicy {
            mode,
            threshold,
            token_budget: self.token_budget,
            temperature: 0.0,
            seed: 0,
            convergence: None,
        }
    }
}

/// Encodes prompts and gives the results in their order. `done` is told each time how many
/// prompts are finished.
pub(super) fn encode_all<E: Embedder>(
    encoder: &mut E,
    prompts: &[Prompt],
    schedule: &Schedule,
    done: &mut dyn FnMut(usize),
) -> Result<Pass, EncoderError> {
    let mut run = Run {
        encoder,
        prompts,
        policy: schedule.policy(),
        next: 0,
        waiting: VecDeque::new(),
        thinking: Vec::new(),
        results: prompts.iter().map(|_| None).collect(),
        finished: 0,
        direct_time: Duration::ZERO,
        thought_time: Duration::ZERO,
    };
    let limits = schedule.limits;
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
    let unfinished =
        || EncoderError::Internal { problem: "a prompt was finished without a result".into() };
    Ok(Pass {
        embedded: run.results.into_iter().collect::<Option<Vec<_>>>().ok_or_else(unfinished)?,
        direct_seconds: run.direct_time.as_secs_f64(),
        thought_seconds: run.thought_time.as_secs_f64(),
        recalled: 0,
    })
}

struct Run<'a, E: Embedder> {
    encoder: &'a mut E,
    prompts: &'a [Prompt],
    policy: ReasoningPolicy,
    /// The first prompt that has no direct embedding yet.
    next: usize,
    /// Prompts routed to a thought, by position, waiting for a place.
    waiting: VecDeque<Waiting<E::Context>>,
    thinking: Vec<(usize, E::Thought)>,
    results: Vec<Option<Embedded>>,
    finished: usize,
    direct_time: Duration,
    thought_time: Duration,
}

/// A prompt that is to be thought about.
struct Waiting<C> {
    position: usize,
    room: u32,
    context: C,
}

impl<E: Embedder> Run<'_, E> {
    fn open_thoughts(&mut self, places: usize) -> Result<(), EncoderError> {
        let started = Instant::now();
        while self.thinking.len() < places {
            let Some(next) = self.waiting.pop_front() else { break };
            let options = ThoughtOptions {
                token_budget: self.policy.token_budget.min(next.room),
                temperature: self.policy.temperature,
                seed: self.policy.seed,
                convergence: self.policy.convergence,
            };
            let thought = self.encoder.think(next.context, &options)?;
            self.thinking.push((next.position, thought));
        }
        self.thought_time += started.elapsed();
        Ok(())
    }

    fn embed_batch(&mut self, limits: BatchLimits) -> Result<(), EncoderError> {
        let started = Instant::now();
        let start = self.next;
        let most = if self.policy.mode == ReasoningMode::Never {
            usize::MAX
        } else {
            limits.thoughts.saturating_mul(WAITING_PER_PLACE)
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
            self.take_direct(position, direct);
        }
        self.direct_time += started.elapsed();
        Ok(())
    }

    fn take_direct(&mut self, position: usize, direct: Direct<E::Context>) {
        let Direct { embedding, gate_score, room, context, .. } = direct;
        let prompt_tokens = self.prompts[position].tokens.len();
        self.results[position] = Some(Embedded {
            direct: embedding,
            gate_score,
            prompt_tokens: u32::try_from(prompt_tokens).unwrap_or(u32::MAX),
            reasoned: None,
        });
        match self.policy.route(gate_score, room > 0).0 {
            Route::Reasoned => self.waiting.push_back(Waiting { position, room, context }),
            Route::Direct | Route::None => self.finished += 1,
        }
    }

    /// Decodes one token of every thought and embeds those that have ended.
    fn step(&mut self) -> Result<(), EncoderError> {
        let started = Instant::now();
        let mut live: Vec<&mut E::Thought> = self.thinking.iter_mut().map(|(_, t)| t).collect();
        self.encoder.step(&mut live)?;
        let ended = |entry: &mut (usize, E::Thought)| entry.1.stop_reason().is_some();
        let done: Vec<_> = self.thinking.extract_if(.., ended).collect();
        for (position, thought) in done {
            let reasoned = self.encoder.reasoned(thought)?;
            if let Some(result) = &mut self.results[position] {
                result.reasoned = Some(AfterThought {
                    embedding: reasoned.embedding,
                    reasoning_tokens: reasoned.reasoning_tokens,
                });
            }
            self.finished += 1;
        }
        self.thought_time += started.elapsed();
        Ok(())
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
pub(super) fn cut_content(prompt: &mut Prompt, max_tokens: usize) {
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
        Prompt { tokens, truncated: false, content, vision_tokens: 0, pictures: None }
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
