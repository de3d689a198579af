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
//! 4. Documents, and searches whose policy is fixed, feel no pressure and have no such
//!    deadline: what is stored must not depend on the load of the moment.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use twn_encoder::{Embedder, Route, StopReason, Thought, ThoughtOptions};

use super::{
    Shares,
    answer::{self, Ending, Verdict},
    job::{DirectPass, Job, Task, fail_all},
    pace::Pace,
};
use crate::{
    gate_curve::GateCurve,
    pressure::{Grant, Load},
};

/// Documents' thoughts go first on every round of this number.
pub(super) const DOCUMENTS_EVERY: u64 = 8;

/// Inputs that think or wait to.
pub(super) struct Thoughts<E: Embedder> {
    shares: Shares,
    /// What the gate's thresholds cost and give, if that is on record.
    curve: Option<GateCurve>,
    waiting: VecDeque<Pending<E::Context>>,
    live: Vec<Thinking<E::Thought>>,
    pub(super) pace: Pace,
    rounds: u64,
}

/// An input whose direct embedding is made, waiting for a place.
struct Pending<C> {
    task: Task,
    pass: DirectPass,
    context: C,
}

/// An input whose thought is being decoded.
struct Thinking<T> {
    task: Task,
    pass: DirectPass,
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
        let (waiting, live) = (VecDeque::new(), Vec::new());
        Self { shares, curve, waiting, live, pace: Pace::default(), rounds: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.live.is_empty()
    }

    /// Documents that wait for a place.
    pub(super) fn waiting_documents(&self) -> usize {
        self.waiting.iter().filter(|pending| !pending.task.job.is_search()).count()
    }

    /// Tells whether there is a thought to decode.
    pub(super) fn is_decoding(&self) -> bool {
        self.live.iter().any(|thinking| !thinking.has_ended())
    }

    /// Answers an input that was embedded directly, or lets it wait for a place.
    /// `queue_tokens` wait in the search lane.
    pub(super) fn route(
        &mut self,
        task: Task,
        pass: DirectPass,
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

    /// Stops the thoughts whose time is up and opens at most one.
    pub(super) fn open(&mut self, embedder: &mut E, queue_tokens: usize) {
        for index in 0..self.live.len() {
            if self.time_left(&self.live[index].task.job).is_some_and(|left| left.is_zero()) {
                self.live[index].thought.stop(StopReason::Deadline);
            }
        }
        while let Some(pending) = self.next_to_open() {
            let Pending { task, pass, context } = pending;
            let verdict = self.verdict(&task.job, &pass, queue_tokens);
            if verdict.route == Route::Direct && !task.job.explain {
                answer::direct(task, pass, verdict, None, &embedder.info().fingerprint);
                continue;
            }
            let time_is_up = self.time_left(&task.job).is_some_and(|left| left.is_zero());
            let policy = task.job.policy;
            let options = ThoughtOptions {
                token_budget: verdict.grant.token_budget,
                temperature: policy.temperature,
                seed: policy.seed,
                // Probes that could not end the thought are not worth their tokens.
                convergence: policy
                    .convergence
                    .filter(|rule| rule.can_end(verdict.grant.token_budget)),
            };
            let opened = Instant::now();
            match embedder.think(context, &options) {
                Ok(mut thought) => {
                    if time_is_up {
                        thought.stop(StopReason::Deadline);
                    }
                    self.live.push(Thinking { task, pass, verdict, thought, opened });
                }
                Err(error) => fail_all(std::iter::once(task.job), &error),
            }
            return;
        }
    }

    /// Takes the input whose thought is to be opened next, if there is a place for it.
    fn next_to_open(&mut self) -> Option<Pending<E::Context>> {
        let is_search = |pending: &Pending<E::Context>| pending.task.job.is_search();
        let pressed = self.waiting.iter().position(|pending| {
            self.time_left(&pending.task.job).is_some_and(|left| left.is_zero())
        });
        let searches = self.live.iter().filter(|thinking| thinking.task.job.is_search()).count();
        let next = pressed
            .or_else(|| {
                let has_place = searches < self.shares.thoughts;
                self.waiting.iter().position(is_search).filter(|_| has_place)
            })
            .or_else(|| {
                let has_place = self.live.len() < self.shares.thoughts;
                self.waiting.iter().position(|p| !is_search(p)).filter(|_| has_place)
            })?;
        self.waiting.remove(next)
    }

    /// Decodes one token of the live thoughts that have the places.
    pub(super) fn step(&mut self, embedder: &mut E) {
        self.rounds += 1;
        let documents_first = self.rounds.is_multiple_of(DOCUMENTS_EVERY);
        let mut decoding: Vec<usize> =
            (0..self.live.len()).filter(|&index| !self.live[index].has_ended()).collect();
        decoding.sort_by_key(|&index| self.live[index].task.job.is_search() == documents_first);
        decoding.truncate(self.shares.thoughts);
        if decoding.is_empty() {
            return;
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
            let (failed, rest): (Vec<_>, Vec<_>) =
                self.live.drain(..).enumerate().partition(|(index, _)| decoding.contains(index));
            self.live = rest.into_iter().map(|(_, thinking)| thinking).collect();
            fail_all(failed.into_iter().map(|(_, thinking)| thinking.task.job), &error);
        }
    }

    /// Embeds after one thought that has ended: a search's first, then by deadline.
    pub(super) fn finish(&mut self, embedder: &mut E) {
        let ended = (0..self.live.len()).filter(|&index| self.live[index].has_ended());
        let next = ended.min_by_key(|&index| {
            let job = &self.live[index].task.job;
            (!job.is_search(), job.call.deadline())
        });
        let Some(next) = next else { return };
        let Thinking { task, pass, verdict, thought, opened } = self.live.remove(next);
        let (reasoning, embedding) = (opened.elapsed(), Instant::now());
        match embedder.reasoned(thought) {
            Ok(reasoned) => {
                let reembed = embedding.elapsed();
                self.pace.reembed.add(reembed);
                let ending = Ending { reasoned, reasoning, reembed };
                let fingerprint = &embedder.info().fingerprint;
                if verdict.route == Route::Reasoned {
                    answer::reasoned(task, pass, verdict, ending, fingerprint);
                } else {
                    answer::direct(task, pass, verdict, Some(ending), fingerprint);
                }
            }
            Err(error) => fail_all(std::iter::once(task.job), &error),
        }
    }

    /// Decides about an input by its policy and the pressure of this moment.
    fn verdict(&self, job: &Job, pass: &DirectPass, queue_tokens: usize) -> Verdict {
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
        waiting.chain(self.live.iter().map(|thinking| &thinking.task.job))
    }
}

#[cfg(test)]
impl<E: Embedder> Thoughts<E> {
    /// How many wait and how many live.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.waiting.len(), self.live.len())
    }
}
