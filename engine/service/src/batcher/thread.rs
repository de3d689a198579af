//! The model thread's rounds.

use std::{sync::mpsc, time::Instant};

use twn_encoder::{Embedder, EncodeTimings, EncoderError, Prompt};

use super::{
    Shares,
    direct::DirectQueue,
    job::{FirstPass, Job, Task, fail_all},
    thoughts::Thoughts,
};
use crate::gate_curve::GateCurve;

/// The embedder and everything that waits for it.
pub(super) struct ModelThread<E: Embedder> {
    pub(super) embedder: E,
    shares: Shares,
    /// Where inputs come from; `None` when no more will come.
    inbox: Option<mpsc::Receiver<Job>>,
    pub(super) queue: DirectQueue,
    pub(super) thoughts: Thoughts<E>,
}

impl<E: Embedder> ModelThread<E> {
    pub(super) fn new(embedder: E, shares: Shares) -> Self {
        let curve = GateCurve::new(&embedder.info().gate_curve);
        let thoughts = Thoughts::new(shares, curve);
        Self { embedder, shares, inbox: None, queue: DirectQueue::default(), thoughts }
    }

    /// Works until the other side is closed and nothing is left to do.
    pub(super) fn run(mut self, inbox: mpsc::Receiver<Job>) {
        self.inbox = Some(inbox);
        loop {
            if !self.has_work() {
                match self.inbox.as_ref().map(mpsc::Receiver::recv) {
                    Some(Ok(job)) => self.queue.push(job),
                    Some(Err(mpsc::RecvError)) | None => return,
                }
            }
            self.round();
        }
    }

    pub(super) fn has_work(&self) -> bool {
        !(self.queue.is_empty() && self.thoughts.is_empty())
    }

    /// Does a bounded amount of everything that there is to do.
    pub(super) fn round(&mut self) {
        let started = Instant::now();
        self.take_arrivals();
        self.thoughts.drop_ended();
        self.embed_one_batch();
        self.thoughts.stop_late();
        self.thoughts.open(&mut self.embedder, self.queue.search_tokens());
        let is_decoding = self.thoughts.step(&mut self.embedder);
        if is_decoding {
            self.let_searches_pass();
        }
        if self.thoughts.catch_up(&mut self.embedder) {
            self.let_searches_pass();
        }
        self.thoughts.finish(&mut self.embedder);
        if is_decoding {
            self.thoughts.pace.round.add(started.elapsed());
        }
    }

    /// Queues what has come in, and drops from the queue whose call has ended.
    fn take_arrivals(&mut self) {
        while let Some(inbox) = &self.inbox {
            match inbox.try_recv() {
                Ok(job) => self.queue.push(job),
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => self.inbox = None,
            }
        }
        self.queue.drop_ended();
    }

    /// Between two pieces of thought work: embeds a batch if a search waits for it.
    fn let_searches_pass(&mut self) {
        self.take_arrivals();
        if self.queue.search_tokens() > 0 {
            self.embed_one_batch();
        }
    }

    /// Embeds one batch directly, but for those that must think, which only begin.
    fn embed_one_batch(&mut self) {
        let may_think = self.thoughts.waiting_documents() < self.shares.thoughts;
        let jobs = self.queue.next_batch(&self.shares, may_think);
        if jobs.is_empty() {
            return;
        }
        let started = Instant::now();
        let passes = self.first_passes(&jobs);
        let prefill = started.elapsed();

        let passes = match passes {
            Ok(passes) => passes,
            Err(error) => return fail_all(jobs.into_iter(), &error),
        };
        let queue_tokens = self.queue.search_tokens();
        let fingerprint = &self.embedder.info().fingerprint;
        for (job, (pass, context)) in jobs.into_iter().zip(passes) {
            let timings = EncodeTimings {
                queue: started - job.queued_at,
                prepare: job.prepare,
                prefill,
                ..EncodeTimings::default()
            };
            let task = Task { job, timings };
            self.thoughts.route(task, pass, context, queue_tokens, fingerprint);
        }
    }

    /// Runs what comes before any thought, in the order of the jobs.
    fn first_passes(&mut self, jobs: &[Job]) -> Result<Vec<(FirstPass, E::Context)>, EncoderError> {
        let must_think: Vec<bool> = jobs
            .iter()
            .map(|job| job.must_think() && self.embedder.room(&job.prompt) > 0)
            .collect();
        let of = |thinks: bool| -> Vec<_> {
            let chosen = jobs.iter().zip(&must_think).filter(|(_, must)| **must == thinks);
            chosen.map(|(job, _)| &job.prompt).collect()
        };
        let mut direct = unless_empty(&of(false), |prompts| self.embedder.direct(prompts))?;
        let mut begun = unless_empty(&of(true), |prompts| self.embedder.begin(prompts))?;
        let pass = |must_think: bool| match must_think {
            true => begun.next().map(FirstPass::split_begun),
            false => direct.next().map(FirstPass::split),
        };
        must_think.into_iter().map(pass).collect::<Option<_>>().ok_or_else(|| {
            let problem = "the encoder gave fewer answers than prompts".to_owned();
            EncoderError::Internal { problem }
        })
    }
}

/// Runs prompts, if there are any.
fn unless_empty<T>(
    prompts: &[&Prompt],
    run: impl FnOnce(&[&Prompt]) -> Result<Vec<T>, EncoderError>,
) -> Result<std::vec::IntoIter<T>, EncoderError> {
    Ok(if prompts.is_empty() { Vec::new() } else { run(prompts)? }.into_iter())
}
