//! Inputs that think or wait to.
//!
//! 1. Searches have all the places. Documents have those that searches leave, and are
//!    parked, not ended, when a search wants one back; on every [`DOCUMENTS_EVERY`]-th
//!    round they go first, so that they advance under any load.
//! 2. Whether an input thinks, and for how long, is decided when its thought is opened,
//!    not when it begins to wait: the pressure of that moment counts.
//! 3. A thought's deadline is its call's, less a margin, less the time to embed after all
//!    thoughts that must be answered no later. A thought that meets it is stopped; an
//!    input that still waits then, and that no policy forces to think, is answered with
//!    its direct embedding, and otherwise after a thought of no tokens.
//! 4. Thoughts are opened and ended together where their tokens fit into one piece of
//!    work of [`PIECE_TOKENS`], which bounds the time that others wait for it. Those that are
//!    opened run their prompts in the same pass in which the others decode a token, as chunked
//!    prefill does ("Sarathi-Serve", arXiv 2403.02310): the weights are read once for both.
//! 5. Documents, and searches whose policy is fixed, feel no pressure and have no such
//!    deadline: what is stored must not depend on the load of the moment.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use twn_encoder::{Embedder, EncoderError, Route, StopReason, Thought, ThoughtOptions};

use super::{
    Shares,
    answer::{self, Ending, Verdict},
    job::{FirstPass, Job, Task, fail_all},
    pace::Pace,
};
use crate::{
    gate_curve::GateCurve,
    pressure::{Grant, Load},
};

/// Documents' thoughts go first on every round of this number.
pub(super) const DOCUMENTS_EVERY: u64 = 8;

/// Tokens that run at once for thoughts that open, or to embed after them; one alone may have
/// more.
pub(super) const PIECE_TOKENS: usize = 64;

/// Inputs that think or wait to.
pub(super) struct Thoughts<E: Embedder> {
    shares: Shares,
    /// What the gate's thresholds cost and give, if that is on record.
    curve: Option<GateCurve>,
    waiting: VecDeque<Pending<E::Context>>,
    /// Those that are just being opened; empty between calls.
    opening: Vec<Opening<E::Context>>,
    live: Vec<Thinking<E::Thought>>,
    pub(super) pace: Pace,
    rounds: u64,
}

/// An input whose direct embedding is made, waiting for a place.
struct Pending<C> {
    task: Task,
    pass: FirstPass,
    context: C,
}

/// An input that has a place, and what its thought is to be like.
struct Opening<C> {
    task: Task,
    pass: FirstPass,
    verdict: Verdict,
    context: C,
    options: ThoughtOptions,
    time_is_up: bool,
}

/// An input whose thought is being decoded.
struct Thinking<T> {
    task: Task,
    pass: FirstPass,
    verdict: Verdict,
    thought: T,
    opened: Instant,
}

impl<T: Thought> Thinking<T> {
    fn has_ended(&self) -> bool {
        self.thought.stop_reason().is_some()
    }
}

impl<E: Embedder> Thoughts<E> {
    pub(super) fn new(shares: Shares, curve: Option<GateCurve>) -> Self {
        let (waiting, opening, live) = (VecDeque::new(), Vec::new(), Vec::new());
        Self { shares, curve, waiting, opening, live, pace: Pace::default(), rounds: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.live.is_empty()
    }

    /// Documents that wait for a place.
    pub(super) fn waiting_documents(&self) -> usize {
        self.waiting.iter().filter(|pending| !pending.task.job.is_search()).count()
    }

    /// Answers an input that was embedded directly, or lets it wait for a place.
    /// `queue_tokens` wait in the search lane.
    pub(super) fn route(
        &mut self,
        task: Task,
        pass: FirstPass,
        context: E::Context,
        queue_tokens: usize,
        fingerprint: &str,
    ) {
        let verdict = self.verdict(&task.job, &pass, queue_tokens);
        let thinks = verdict.route == Route::Reasoned || (task.job.explain && pass.has_room);
        if thinks {
            self.waiting.push_back(Pending { task, pass, context });
        } else {
            answer::direct(task, pass, verdict, None, fingerprint);
        }
    }

    /// Answers and forgets every input whose call has ended.
    pub(super) fn drop_ended(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting.extend(waiting.into_iter().filter_map(|Pending { task, pass, context }| {
            let job = task.job.keep("waiting to think")?;
            Some(Pending { task: Task { job, ..task }, pass, context })
        }));
        let live = std::mem::take(&mut self.live);
        self.live.extend(live.into_iter().filter_map(|thinking| {
            let job = thinking.task.job.keep("thinking")?;
            Some(Thinking { task: Task { job, ..thinking.task }, ..thinking })
        }));
    }

    /// Stops the thoughts whose time is up.
    pub(super) fn stop_late(&mut self) {
        for index in 0..self.live.len() {
            if self.time_left(&self.live[index].task.job).is_some_and(|left| left.is_zero()) {
                self.live[index].thought.stop(StopReason::Deadline);
            }
        }
    }

    /// Opens one piece of thoughts, whose prompts run with the next step.
    pub(super) fn open(&mut self, embedder: &mut E, queue_tokens: usize) {
        let mut tokens = 0;
        while let Some(next) = self.next_to_open() {
            tokens += self.waiting[next].task.job.tokens();
            if tokens > PIECE_TOKENS && !self.opening.is_empty() {
                break;
            }
            let Some(pending) = self.waiting.remove(next) else { break };
            self.admit(pending, queue_tokens, &embedder.info().fingerprint);
        }
        let opening = std::mem::take(&mut self.opening);
        if opening.is_empty() {
            return;
        }
        let (mut inputs, mut prompts) = (Vec::new(), Vec::new());
        for Opening { task, pass, verdict, context, options, time_is_up } in opening {
            inputs.push((task, pass, verdict, time_is_up));
            prompts.push((context, options));
        }
        let opened = Instant::now();
        match embedder.open(prompts) {
            Ok(thoughts) => {
                for ((task, pass, verdict, time_is_up), mut thought) in
                    inputs.into_iter().zip(thoughts)
                {
                    if time_is_up {
                        thought.stop(StopReason::Deadline);
                    }
                    self.live.push(Thinking { task, pass, verdict, thought, opened });
                }
            }
            Err(error) => fail_all(inputs.into_iter().map(|(task, ..)| task.job), &error),
        }
    }

    /// Decides anew about an input that has waited: answers it, or gives it a place.
    fn admit(&mut self, pending: Pending<E::Context>, queue_tokens: usize, fingerprint: &str) {
        let Pending { task, pass, context } = pending;
        let verdict = self.verdict(&task.job, &pass, queue_tokens);
        if verdict.route == Route::Direct && !task.job.explain {
            return answer::direct(task, pass, verdict, None, fingerprint);
        }
        let time_is_up = self.time_left(&task.job).is_some_and(|left| left.is_zero());
        let policy = task.job.policy;
        let options = ThoughtOptions {
            token_budget: verdict.grant.token_budget,
            temperature: policy.temperature,
            seed: policy.seed,
            // Probes that could not end the thought are not worth their tokens.
            convergence: policy.convergence.filter(|rule| rule.can_end(verdict.grant.token_budget)),
        };
        self.opening.push(Opening { task, pass, verdict, context, options, time_is_up });
    }

    /// Finds the input whose thought is to be opened next, if there is a place for it.
    fn next_to_open(&self) -> Option<usize> {
        let is_search = |pending: &Pending<E::Context>| pending.task.job.is_search();
        let pressed = self.waiting.iter().position(|pending| {
            self.time_left(&pending.task.job).is_some_and(|left| left.is_zero())
        });
        let live = self.live.iter().map(|thinking| &thinking.task.job);
        let opening = self.opening.iter().map(|opening| &opening.task.job);
        let thinking = self.live.len() + self.opening.len();
        let searches = live.chain(opening).filter(|job| job.is_search()).count();
        pressed
            .or_else(|| {
                let has_place = searches < self.shares.thoughts;
                self.waiting.iter().position(is_search).filter(|_| has_place)
            })
            .or_else(|| {
                let has_place = thinking < self.shares.thoughts;
                self.waiting.iter().position(|p| !is_search(p)).filter(|_| has_place)
            })
    }

    /// Decodes one token of the live thoughts that have the places. Tells whether there
    /// were any.
    pub(super) fn step(&mut self, embedder: &mut E) -> bool {
        self.rounds += 1;
        let documents_first = self.rounds.is_multiple_of(DOCUMENTS_EVERY);
        let mut decoding: Vec<usize> =
            (0..self.live.len()).filter(|&index| !self.live[index].has_ended()).collect();
        decoding.sort_by_key(|&index| self.live[index].task.job.is_search() == documents_first);
        decoding.truncate(self.shares.thoughts);
        if decoding.is_empty() {
            return false;
        }

        let chosen = |index: usize| decoding.contains(&index);
        let mut thoughts: Vec<&mut E::Thought> = self
            .live
            .iter_mut()
            .enumerate()
            .filter(|(index, _)| chosen(*index))
            .map(|(_, thinking)| &mut thinking.thought)
            .collect();
        if let Err(error) = embedder.step(&mut thoughts) {
            self.fail(chosen, &error);
        }
        true
    }

    /// Does a part of what the embeddings after live thoughts will need, if it is time.
    /// Tells whether it was.
    pub(super) fn catch_up(&mut self, embedder: &mut E) -> bool {
        let live = self.live.iter_mut().filter(|thinking| !thinking.has_ended());
        let mut thoughts: Vec<&mut E::Thought> =
            live.map(|thinking| &mut thinking.thought).collect();
        if thoughts.is_empty() {
            return false;
        }
        embedder.catch_up(&mut thoughts).unwrap_or_else(|error| {
            let live: Vec<bool> = self.live.iter().map(|thinking| !thinking.has_ended()).collect();
            self.fail(|index| live[index], &error);
            true
        })
    }

    /// Embeds after one piece of the thoughts that have ended: searches first, then by
    /// deadline.
    pub(super) fn finish(&mut self, embedder: &mut E) {
        let mut ended: Vec<usize> =
            (0..self.live.len()).filter(|&index| self.live[index].has_ended()).collect();
        ended.sort_by_key(|&index| {
            let job = &self.live[index].task.job;
            (!job.is_search(), job.call.deadline())
        });
        let mut tokens = 0;
        let piece = ended.iter().enumerate().take_while(|&(place, &index)| {
            tokens += self.live[index].thought.behind();
            place == 0 || tokens <= PIECE_TOKENS
        });
        let piece: Vec<usize> = piece.map(|(_, &index)| index).collect();
        if piece.is_empty() {
            return;
        }
        let (mut inputs, mut thoughts) = (Vec::new(), Vec::new());
        for Thinking { task, pass, verdict, thought, opened } in self.take(|i| piece.contains(&i)) {
            inputs.push((task, pass, verdict, opened.elapsed()));
            thoughts.push(thought);
        }
        let started = Instant::now();
        let made = match embedder.finish(thoughts) {
            Ok(made) => made,
            Err(error) => {
                return fail_all(inputs.into_iter().map(|(task, ..)| task.job), &error);
            }
        };
        let reembed = started.elapsed();
        self.pace.reembed.add(reembed);
        let fingerprint = &embedder.info().fingerprint;
        for ((task, pass, verdict, reasoning), reasoned) in inputs.into_iter().zip(made) {
            let ending = Ending { reasoned, reasoning, reembed };
            if verdict.route == Route::Reasoned {
                answer::reasoned(task, pass, verdict, ending, fingerprint);
            } else {
                answer::direct(task, pass, verdict, Some(ending), fingerprint);
            }
        }
    }

    /// Takes live thoughts out by their positions.
    fn take(&mut self, chosen: impl Fn(usize) -> bool) -> Vec<Thinking<E::Thought>> {
        let live = std::mem::take(&mut self.live).into_iter().enumerate();
        let (taken, left): (Vec<_>, Vec<_>) = live.partition(|(index, _)| chosen(*index));
        self.live = left.into_iter().map(|(_, thinking)| thinking).collect();
        taken.into_iter().map(|(_, thinking)| thinking).collect()
    }

    /// Answers inputs whose thoughts the encoder has failed, by their positions.
    fn fail(&mut self, chosen: impl Fn(usize) -> bool, error: &EncoderError) {
        let failed = self.take(chosen);
        fail_all(failed.into_iter().map(|thinking| thinking.task.job), error);
    }

    /// Decides about an input by its policy and the pressure of this moment.
    fn verdict(&self, job: &Job, pass: &FirstPass, queue_tokens: usize) -> Verdict {
        let grant = match self.time_left(job) {
            None => Grant::in_full(&job.policy),
            Some(left) => {
                let load = Load {
                    queue_tokens,
                    max_queue_tokens: self.shares.max_queue_tokens,
                    thoughts: self.jobs().filter(|job| job.is_search()).count(),
                    places: self.shares.thoughts,
                };
                let affordable = self.pace.tokens_in(left);
                let options = &self.shares.pressure;
                Grant::under(&job.policy, load, affordable, options, self.curve.as_ref())
            }
        };
        Verdict::new(job, pass, grant)
    }

    /// Time that a thought has until it must stop; `None` when it feels no pressure.
    fn time_left(&self, job: &Job) -> Option<Duration> {
        if !(job.is_search() && job.adapts) {
            return None;
        }
        let deadline = job.call.deadline();
        // Counts the job itself where it is among them, and no less than one.
        let rivals = self.jobs().filter(|other| other.call.deadline() <= deadline).count().max(1);
        let reserve = self.pace.reserve(rivals) + self.shares.pressure.deadline_margin();
        Some(deadline.saturating_duration_since(Instant::now()).saturating_sub(reserve))
    }

    /// All inputs that think or wait to.
    fn jobs(&self) -> impl Iterator<Item = &Job> {
        let waiting = self.waiting.iter().map(|pending| &pending.task.job);
        let opening = self.opening.iter().map(|opening| &opening.task.job);
        waiting.chain(opening).chain(self.live.iter().map(|thinking| &thinking.task.job))
    }
}

#[cfg(test)]
impl<E: Embedder> Thoughts<E> {
    /// How many wait and how many live.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.waiting.len(), self.live.len())
    }
}
