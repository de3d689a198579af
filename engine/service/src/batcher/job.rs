//! An input on its way through the model thread.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use twn_encoder::{
    Begun, Direct, EncodeTimings, EncoderError, Prompt, ReasoningMode, ReasoningPolicy,
};

use crate::{admission::Ticket, call::Call, encoding::Encoded, error::ServiceError};

/// Which queue an input waits in. Searches go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Someone waits for the answer: refused when the queue is full.
    Search,
    /// Bulk work: waits for room.
    Ingest,
}

/// An input on its way through the model thread.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) prompt: Prompt,
    pub(crate) policy: ReasoningPolicy,
    pub(crate) lane: Lane,
    /// Load and deadline may raise the threshold and shrink the budget.
    pub(crate) adapts: bool,
    /// Make both embeddings, whatever the route.
    pub(crate) explain: bool,
    pub(crate) call: Call,
    pub(crate) prepare: Duration,
    pub(crate) queued_at: Instant,
    /// Held until the answer is sent: it is the input's place in the queue.
    pub(crate) ticket: Ticket,
    pub(crate) answer: oneshot::Sender<Result<Encoded, ServiceError>>,
}

/// A job with the times taken so far.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) job: Job,
    pub(super) timings: EncodeTimings,
}

/// What the pass of an input before any thought made and cost.
#[derive(Debug)]
pub(super) struct FirstPass {
    /// `None` where only the embedding after a thought is wanted, as is the next.
    pub(super) embedding: Option<Vec<f32>>,
    pub(super) gate_score: Option<f32>,
    pub(super) query_tokens: u32,
    pub(super) cached_prompt_tokens: u32,
    /// The context has room for a thought.
    pub(super) has_room: bool,
}

impl Job {
    pub(super) fn is_search(&self) -> bool {
        self.lane == Lane::Search
    }

    /// Only the embedding after a thought is wanted, if there is room for a thought.
    pub(super) fn must_think(&self) -> bool {
        self.policy.mode == ReasoningMode::Always && !self.explain
    }

    pub(super) fn tokens(&self) -> usize {
        self.prompt.tokens.len()
    }

    /// Sends the answer; a caller who has gone away needs none.
    pub(super) fn reply(self, result: Result<Encoded, ServiceError>) {
        let Self { answer, ticket, .. } = self;
        drop(ticket);
        let _ = answer.send(result);
    }

    /// Keeps the job, or answers it if its call has ended.
    pub(super) fn keep(self, stage: &'static str) -> Option<Self> {
        match self.call.check(stage) {
            Ok(()) => Some(self),
            Err(error) => {
                self.reply(Err(error));
                None
            }
        }
    }
}

impl FirstPass {
    /// Takes the pass apart from what a thought would continue from.
    pub(super) fn split<C>(direct: Direct<C>) -> (Self, C) {
        let Direct { embedding, gate_score, query_tokens, cached_prompt_tokens, room, context } =
            direct;
        let (embedding, gate_score) = (Some(embedding), Some(gate_score));
        let has_room = room > 0;
        (Self { embedding, gate_score, query_tokens, cached_prompt_tokens, has_room }, context)
    }

    /// The same of a prompt that has only begun, since there is room for its thought.
    pub(super) fn split_begun<C>(begun: Begun<C>) -> (Self, C) {
        let Begun { cached_prompt_tokens, context } = begun;
        let (embedding, gate_score, query_tokens, has_room) = (None, None, 0, true);
        (Self { embedding, gate_score, query_tokens, cached_prompt_tokens, has_room }, context)
    }
}

/// Answers jobs that the encoder has failed.
pub(super) fn fail_all(jobs: impl ExactSizeIterator<Item = Job>, error: &EncoderError) {
    tracing::error!(%error, inputs = jobs.len(), "encoder failed");
    for job in jobs {
        job.reply(Err(ServiceError::Internal { problem: error.to_string() }));
    }
}
