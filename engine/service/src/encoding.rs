//! One input's way through the encoder: prepared here, queued, embedded on the model
//! thread, answered with its provenance.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use twn_encoder::{
    EncodeInput, EncodeTimings, EncoderInfo, Prepare, Prompt, ReasoningPolicy, Usage,
};

use crate::{
    admission::{Admission, Ticket},
    batcher::Batcher,
    call::Call,
    error::ServiceError,
};

/// Which queue an input waits in. Searches go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Someone waits for the answer: refused when the queue is full.
    Search,
    /// Bulk work: waits for room.
    Ingest,
}

/// An embedding and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// Unit vector.
    pub embedding: Vec<f32>,
    /// The thought, if there was one.
    pub thought: Option<String>,
    /// How it was made and what it cost.
    pub usage: Usage,
    /// Where the time went.
    pub timings: EncodeTimings,
}

/// An input on its way to the model thread.
pub(crate) struct Job {
    pub(crate) prompt: Prompt,
    pub(crate) policy: ReasoningPolicy,
    pub(crate) lane: Lane,
    pub(crate) call: Call,
    pub(crate) prepare: Duration,
    pub(crate) queued_at: Instant,
    /// Held until the answer is sent: it is the input's place in the queue.
    pub(crate) ticket: Ticket,
    pub(crate) answer: oneshot::Sender<Result<Encoded, ServiceError>>,
}

/// The encoder as the pipelines see it: prompts in, embeddings out.
pub(crate) struct EncoderHandle {
    info: EncoderInfo,
    prompter: Arc<dyn Prepare>,
    admission: Admission,
    batcher: Batcher,
}

impl EncoderHandle {
    pub(crate) fn new(
        info: EncoderInfo,
        prompter: Arc<dyn Prepare>,
        admission: Admission,
        batcher: Batcher,
    ) -> Self {
        Self { info, prompter, admission, batcher }
    }

    pub(crate) fn info(&self) -> &EncoderInfo {
        &self.info
    }

    /// Tokenises an input on a blocking thread. `field` is blamed for the caller's faults.
    pub(crate) async fn prepare(
        &self,
        input: EncodeInput,
        field: &str,
    ) -> Result<(Prompt, Duration), ServiceError> {
        let prompter = Arc::clone(&self.prompter);
        let started = Instant::now();
        let prompt = tokio::task::spawn_blocking(move || prompter.prepare(&input))
            .await
            .map_err(|error| ServiceError::Internal { problem: error.to_string() })?
            .map_err(|error| ServiceError::from_encoder(error, field))?;
        Ok((prompt, started.elapsed()))
    }

    /// Queues a prompt and waits for its embedding.
    pub(crate) async fn encode(
        &self,
        (prompt, prepare): (Prompt, Duration),
        policy: ReasoningPolicy,
        lane: Lane,
        call: &Call,
    ) -> Result<Encoded, ServiceError> {
        let tokens = prompt.tokens.len();
        let admitted = async {
            match lane {
                Lane::Search => self.admission.try_admit_search(tokens),
                Lane::Ingest => self.admission.admit_ingest(tokens).await,
            }
        };
        let ticket = call.bound("waiting for the model", admitted).await?;

        let (answer, answered) = oneshot::channel();
        self.batcher.send(Job {
            prompt,
            policy,
            lane,
            call: call.clone(),
            prepare,
            queued_at: Instant::now(),
            ticket,
            answer,
        })?;
        let answered = async {
            answered.await.unwrap_or(Err(ServiceError::Unavailable { state: "shutting down" }))
        };
        call.bound("encoding", answered).await
    }

    /// Lets queued work finish, then stops the model thread.
    pub(crate) fn shut_down(&self) {
        self.batcher.shut_down();
    }
}
