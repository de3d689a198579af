//! The model thread: owns the embedder and decides what it runs next.
//!
//! One round embeds one batch of direct inputs, searches before ingest, and then
//! decodes one token of every live thought. So a direct input waits for at most one
//! batch and one decoding step, however long the thoughts are. Prompts are laid end
//! to end without padding, so a batch is bounded by its tokens and needs no length
//! buckets. Before each round, inputs whose call has ended are dropped: cancellation
//! takes effect at every decoded token.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError, mpsc},
    thread::JoinHandle,
    time::Instant,
};

use twn_encoder::{
    Direct, Embedder, EncodeTimings, EncoderError, Route, RouteReason, Thought, ThoughtOptions,
    Usage,
};

use crate::{
    encoding::{Encoded, Job, Lane},
    error::ServiceError,
};

/// How much one batch may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchLimits {
    /// Prompt tokens of one batch of searches.
    pub(crate) search_tokens: usize,
    /// Prompt tokens of one batch of documents; a search may have to wait for it.
    pub(crate) ingest_tokens: usize,
    /// Thoughts decoded together; more wait.
    pub(crate) thoughts: usize,
}

/// The sending side of the model thread's queue.
pub(crate) struct Batcher {
    jobs: Mutex<Option<mpsc::SyncSender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Batcher {
    /// Starts the model thread. `queue` is at least the number of tickets admission gives out.
    pub(crate) fn start<E: Embedder>(
        embedder: E,
        limits: BatchLimits,
        queue: usize,
    ) -> std::io::Result<Self> {
        let (jobs, inbox) = mpsc::sync_channel(queue);
        let thread = std::thread::Builder::new().name("twn-model".into()).spawn(move || {
            ModelThread::new(embedder, limits).run(&inbox);
        })?;
        Ok(Self { jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    /// Queues a job. Never blocks: admission has counted it.
    pub(crate) fn send(&self, job: Job) -> Result<(), ServiceError> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let stopped = ServiceError::Unavailable { state: "shutting down" };
        let Some(sender) = jobs.as_ref() else { return Err(stopped) };
        sender.try_send(job).map_err(|error| match error {
            mpsc::TrySendError::Disconnected(_) => stopped,
            mpsc::TrySendError::Full(_) => {
                ServiceError::Internal { problem: "model queue is smaller than admission".into() }
            }
        })
    }

    /// Takes no more jobs, finishes those taken and waits for the thread to end.
    pub(crate) fn shut_down(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("model thread panicked");
        }
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.shut_down();
    }
}

struct ModelThread<E: Embedder> {
    embedder: E,
    limits: BatchLimits,
    searches: VecDeque<Job>,
    documents: VecDeque<Job>,
    /// Routed to a thought, waiting for one of the places.
    waiting: VecDeque<Pending<E::Context>>,
    thinking: Vec<Thinking<E::Thought>>,
}

/// An input whose direct embedding is made and which is to think.
struct Pending<C> {
    task: Task,
    direct: Direct<C>,
    reason: RouteReason,
}

/// An input whose thought is being decoded.
struct Thinking<T> {
    task: Task,
    thought: T,
    direct: DirectCost,
    reason: RouteReason,
    started: Instant,
}

/// A job with the times taken so far.
struct Task {
    job: Job,
    timings: EncodeTimings,
}

/// What the direct pass of a reasoned input cost.
#[derive(Clone, Copy)]
struct DirectCost {
    gate_score: f32,
    query_tokens: u32,
    cached_prompt_tokens: u32,
}

impl<E: Embedder> ModelThread<E> {
    fn new(embedder: E, limits: BatchLimits) -> Self {
        Self {
            embedder,
            limits,
            searches: VecDeque::new(),
            documents: VecDeque::new(),
            waiting: VecDeque::new(),
            thinking: Vec::new(),
        }
    }

    fn run(mut self, inbox: &mpsc::Receiver<Job>) {
        let mut open = true;
        while open || self.has_work() {
            if open && !self.has_work() {
                match inbox.recv() {
                    Ok(job) => self.enqueue(job),
                    Err(mpsc::RecvError) => open = false,
                }
            }
            loop {
                match inbox.try_recv() {
                    Ok(job) => self.enqueue(job),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => {
                        open = false;
                        break;
                    }
                }
            }
            self.drop_ended();
            self.embed_one_batch();
            self.open_thoughts();
            self.step_thoughts();
        }
    }

    fn has_work(&self) -> bool {
        !(self.searches.is_empty()
            && self.documents.is_empty()
            && self.waiting.is_empty()
            && self.thinking.is_empty())
    }

    fn enqueue(&mut self, job: Job) {
        match job.lane {
            Lane::Search => self.searches.push_back(job),
            Lane::Ingest => self.documents.push_back(job),
        }
    }

    /// Answers and forgets every input whose call has ended.
    fn drop_ended(&mut self) {
        for queue in [&mut self.searches, &mut self.documents] {
            for job in std::mem::take(queue) {
                match job.call.check("waiting for the model") {
                    Ok(()) => queue.push_back(job),
                    Err(error) => reply(job, Err(error)),
                }
            }
        }
        for pending in std::mem::take(&mut self.waiting) {
            match pending.task.job.call.check("waiting to think") {
                Ok(()) => self.waiting.push_back(pending),
                Err(error) => reply(pending.task.job, Err(error)),
            }
        }
        for thinking in std::mem::take(&mut self.thinking) {
            match thinking.task.job.call.check("thinking") {
                Ok(()) => self.thinking.push(thinking),
                Err(error) => reply(thinking.task.job, Err(error)),
            }
        }
    }

    fn embed_one_batch(&mut self) {
        let jobs = if self.searches.is_empty() {
            take_batch(&mut self.documents, self.limits.ingest_tokens)
        } else {
            take_batch(&mut self.searches, self.limits.search_tokens)
        };
        if jobs.is_empty() {
            return;
        }

        let started = Instant::now();
        let prompts: Vec<_> = jobs.iter().map(|job| &job.prompt).collect();
        let embedded = self.embedder.direct(&prompts);
        let prefill = started.elapsed();

        match embedded {
            Ok(direct) => {
                for (job, direct) in jobs.into_iter().zip(direct) {
                    let timings = EncodeTimings {
                        queue: started - job.queued_at,
                        prepare: job.prepare,
                        prefill,
                        ..EncodeTimings::default()
                    };
                    self.route(Task { job, timings }, direct);
                }
            }
            Err(error) => fail_all(jobs, &error),
        }
    }

    fn route(&mut self, task: Task, direct: Direct<E::Context>) {
        let (route, reason) = task.job.policy.route(direct.gate_score, direct.room > 0);
        match route {
            Route::Reasoned => self.waiting.push_back(Pending { task, direct, reason }),
            Route::Direct | Route::None => {
                let cost = DirectCost::of(&direct);
                let mut usage = self.usage(&task.job, cost, reason);
                usage.route = Route::Direct;
                let Task { job, timings } = task;
                let embedding = direct.embedding;
                reply(job, Ok(Encoded { embedding, thought: None, usage, timings }));
            }
        }
    }

    /// Gives free places to those who wait, searches first.
    fn open_thoughts(&mut self) {
        while self.thinking.len() < self.limits.thoughts {
            let search = self.waiting.iter().position(|p| p.task.job.lane == Lane::Search);
            let Some(Pending { task, direct, reason }) = self.waiting.remove(search.unwrap_or(0))
            else {
                return;
            };
            let cost = DirectCost::of(&direct);
            let policy = task.job.policy;
            let options = ThoughtOptions {
                token_budget: policy.token_budget.min(direct.room),
                temperature: policy.temperature,
                seed: policy.seed,
            };
            let started = Instant::now();
            match self.embedder.think(direct.context, &options) {
                Ok(thought) => {
                    self.thinking.push(Thinking { task, thought, direct: cost, reason, started });
                }
                Err(error) => fail_all(vec![task.job], &error),
            }
        }
    }

    /// Decodes one token of every thought and embeds those that have ended.
    fn step_thoughts(&mut self) {
        if self.thinking.is_empty() {
            return;
        }
        let mut live: Vec<_> = self.thinking.iter_mut().map(|t| &mut t.thought).collect();
        if let Err(error) = self.embedder.step(&mut live) {
            let jobs = self.thinking.drain(..).map(|thinking| thinking.task.job).collect();
            fail_all(jobs, &error);
            return;
        }
        let ended = |t: &mut Thinking<E::Thought>| t.thought.stop_reason().is_some();
        let done: Vec<_> = self.thinking.extract_if(.., ended).collect();
        for thinking in done {
            self.finish(thinking);
        }
    }

    fn finish(&mut self, thinking: Thinking<E::Thought>) {
        let Thinking { task: Task { job, mut timings }, thought, direct, reason, started } =
            thinking;
        timings.reasoning = started.elapsed();
        let reembedding = Instant::now();
        match self.embedder.reasoned(thought) {
            Ok(reasoned) => {
                timings.reembed = reembedding.elapsed();
                let mut usage = self.usage(&job, direct, reason);
                usage.route = Route::Reasoned;
                usage.reasoning_tokens = reasoned.reasoning_tokens;
                usage.query_tokens += reasoned.query_tokens;
                usage.stop_reason = Some(reasoned.stop_reason);
                let thought = Some(reasoned.thought);
                let embedding = reasoned.embedding;
                reply(job, Ok(Encoded { embedding, thought, usage, timings }));
            }
            Err(error) => fail_all(vec![job], &error),
        }
    }

    fn usage(&self, job: &Job, direct: DirectCost, reason: RouteReason) -> Usage {
        let gate_decided =
            matches!(reason, RouteReason::GateAboveThreshold | RouteReason::GateBelowThreshold);
        let fingerprint = self.embedder.info().fingerprint.clone();
        Usage {
            gate_score: Some(direct.gate_score),
            gate_threshold: gate_decided.then_some(job.policy.threshold),
            prompt_tokens: u32::try_from(job.prompt.tokens.len()).unwrap_or(u32::MAX),
            cached_prompt_tokens: direct.cached_prompt_tokens,
            query_tokens: direct.query_tokens,
            truncated: job.prompt.truncated,
            ..Usage::not_encoded(reason, fingerprint)
        }
    }
}

impl DirectCost {
    fn of<C>(direct: &Direct<C>) -> Self {
        Self {
            gate_score: direct.gate_score,
            query_tokens: direct.query_tokens,
            cached_prompt_tokens: direct.cached_prompt_tokens,
        }
    }
}

/// Takes jobs from the front until their tokens fill the batch; always takes one.
fn take_batch(queue: &mut VecDeque<Job>, max_tokens: usize) -> Vec<Job> {
    let mut batch = Vec::new();
    let mut tokens = 0;
    while let Some(job) = queue.front() {
        tokens += job.prompt.tokens.len();
        if !batch.is_empty() && tokens > max_tokens {
            break;
        }
        batch.extend(queue.pop_front());
    }
    batch
}

fn fail_all(jobs: Vec<Job>, error: &EncoderError) {
    tracing::error!(%error, inputs = jobs.len(), "encoder failed");
    for job in jobs {
        reply(job, Err(ServiceError::Internal { problem: error.to_string() }));
    }
}

/// Sends an answer; a caller who has gone away needs none.
fn reply(job: Job, result: Result<Encoded, ServiceError>) {
    let Job { answer, ticket, .. } = job;
    drop(ticket);
    let _ = answer.send(result);
}
