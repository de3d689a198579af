//! The model thread's rounds.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use twn_encoder::{Embedder, EncodeTimings};

use super::{
    Shares,
    direct::DirectQueue,
    job::{DirectPass, Job, Task, fail_all},
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

    fn embed_one_batch(&mut self) {
        let may_think = self.thoughts.waiting_documents() < self.shares.thoughts;
        let jobs = self.queue.next_batch(&self.shares, may_think);
        let must_think = |job: &Job| job.must_think() && self.embedder.room(&job.prompt) > 0;
        let (thinking, embedding): (Vec<_>, Vec<_>) = jobs.into_iter().partition(must_think);
        self.embed(embedding);
        self.begin(thinking);
    }

    /// Lets inputs wait to think without their direct embedding.
    fn begin(&mut self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let started = Instant::now();
        let prompts: Vec<_> = jobs.iter().map(|job| &job.prompt).collect();
        let begun = match self.embedder.begin(&prompts) {
            Ok(begun) => begun,
            Err(error) => return fail_all(jobs.into_iter(), &error),
        };
        let prefill = started.elapsed();
        for (job, begun) in jobs.into_iter().zip(begun) {
            let (pass, context) = DirectPass::split_begun(begun);
            self.route(job, pass, context, started, prefill);
        }
    }

    /// Embeds inputs directly, and lets those wait that go on to think.
    fn embed(&mut self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let started = Instant::now();
        let prompts: Vec<_> = jobs.iter().map(|job| &job.prompt).collect();
        let embedded = self.embedder.direct(&prompts);
        let prefill = started.elapsed();

        let embedded = match embedded {
            Ok(embedded) => embedded,
            Err(error) => return fail_all(jobs.into_iter(), &error),
        };
        for (job, direct) in jobs.into_iter().zip(embedded) {
            let (pass, context) = DirectPass::split(direct);
            self.route(job, pass, context, started, prefill);
        }
    }

    /// Answers an input after a pass of `prefill` that `started` then, or lets it wait to think.
    fn route(
        &mut self,
        job: Job,
        pass: DirectPass,
        context: E::Context,
        started: Instant,
        prefill: Duration,
    ) {
        let timings = EncodeTimings {
            queue: started - job.queued_at,
            prepare: job.prepare,
            prefill,
            ..EncodeTimings::default()
        };
        let task = Task { job, timings };
        let fingerprint = &self.embedder.info().fingerprint;
        self.thoughts.route(task, pass, context, self.queue.search_tokens(), fingerprint);
    }
}
