//! One input's way through the encoder: recalled if it was made lately or is being made;
//! otherwise prepared here, queued, embedded on the model thread, and answered with its
//! provenance.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use twn_encoder::{
    EncodeInput, EncodeTimings, EncoderInfo, Part, Prepare, Prompt, ReasoningPolicy, Usage,
};

use crate::{
    admission::Admission,
    batcher::{Batcher, Job, Lane, is_unpressed},
    cache::{self, EmbeddingCache},
    call::Call,
    error::ServiceError,
    explanation::Explanation,
    flights::{Flights, Landing, Part as FlightPart},
};

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
    /// Both embeddings, if they were asked for.
    pub explanation: Option<Box<Explanation>>,
}

impl Encoded {
    /// Leaves out the thought's text where it was not asked for.
    pub(crate) fn forget_thought(&mut self) {
        self.thought = None;
        if let Some(explanation) = &mut self.explanation {
            explanation.thought = None;
        }
    }
}

/// One input to encode.
#[derive(Debug)]
pub(crate) struct EncodeRequest<'a> {
    pub(crate) input: EncodeInput,
    /// The input's path in the request, which is blamed for the caller's faults.
    pub(crate) field: &'a str,
    pub(crate) policy: ReasoningPolicy,
    /// Keep to the policy whatever the load and the deadline.
    pub(crate) fixed: bool,
    pub(crate) explain: bool,
    pub(crate) lane: Lane,
}

/// The encoder as the pipelines see it: inputs in, embeddings out.
pub(crate) struct EncoderHandle {
    info: EncoderInfo,
    prompter: Arc<dyn Prepare>,
    admission: Admission,
    batcher: Batcher,
    cache: Option<EmbeddingCache>,
    flights: Flights,
    turns: MediaTurns,
}

/// Turns at decoding media: pixels take so much memory that their number is bounded apart
/// from the queue's. A turn lasts until the prompt is queued. Documents that wait for the
/// queue hold up no search.
struct MediaTurns {
    search: Semaphore,
    ingest: Semaphore,
}

impl EncoderHandle {
    pub(crate) fn new(
        info: EncoderInfo,
        prompter: Arc<dyn Prepare>,
        admission: Admission,
        batcher: Batcher,
        cache: Option<EmbeddingCache>,
    ) -> Self {
        let (flights, turns) = (Flights::default(), MediaTurns::default());
        Self { info, prompter, admission, batcher, cache, flights, turns }
    }

    pub(crate) fn info(&self) -> &EncoderInfo {
        &self.info
    }

    /// Embeds an input, or recalls its embedding, which may be one that another request
    /// is making now. Documents are not recalled: the index knows which of them are
    /// unchanged. Explanations show what happens now.
    pub(crate) async fn encode(
        &self,
        request: EncodeRequest<'_>,
        call: &Call,
    ) -> Result<Encoded, ServiceError> {
        let usable = request.lane == Lane::Search && !request.explain;
        let Some(cache) = self.cache.as_ref().filter(|_| usable) else {
            return self.run(request, call).await;
        };
        let key = cache::key(&request.input, &request.policy, &self.info.fingerprint);
        let lead = loop {
            // Joined before the cache is asked, so that no flight can end in between.
            let part = self.flights.join(key, call.deadline());
            if let Some(recalled) = cache.get(&key) {
                return Ok(recalled);
            }
            let follow = match part {
                FlightPart::Lead(lead) => break Some(lead),
                FlightPart::Alone => break None,
                FlightPart::Follow(follow) => follow,
            };
            let landed = async { Ok(follow.landed().await) };
            if call.bound("waiting for the same query", landed).await? == Landing::Done {
                match cache.get(&key) {
                    Some(recalled) => return Ok(recalled),
                    None => break None,
                }
            }
        };
        let result = self.run(request, call).await;
        if let Ok(encoded) = &result
            && is_unpressed(&encoded.usage)
        {
            cache.insert(key, encoded);
        }
        let is_gone =
            matches!(result, Err(ServiceError::Cancelled | ServiceError::DeadlineExceeded { .. }));
        if let Some(lead) = lead.filter(|_| !is_gone) {
            lead.done();
        }
        result
    }

    /// Queues an input and waits for its embedding.
    async fn run(&self, request: EncodeRequest<'_>, call: &Call) -> Result<Encoded, ServiceError> {
        let EncodeRequest { input, field, policy, fixed, explain, lane } = request;
        let turn = self.turns.take(&input, lane, call).await?;
        let (prompt, prepare) = self.prepare(input, field).await?;
        let tokens = prompt.tokens.len();
        let admitted = async {
            match lane {
                Lane::Search => self.admission.try_admit_search(tokens),
                Lane::Ingest => self.admission.admit_ingest(tokens).await,
            }
        };
        let ticket = call.bound("waiting for the model", admitted).await?;
        drop(turn);

        let (answer, answered) = oneshot::channel();
        self.batcher.send(Job {
            prompt,
            policy,
            lane,
            adapts: lane == Lane::Search && !fixed,
            explain,
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

    /// Decodes and tokenises an input on a blocking thread.
    async fn prepare(
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

    /// Lets queued work finish, then stops the model thread.
    pub(crate) fn shut_down(&self) {
        self.batcher.shut_down();
    }
}

impl Default for MediaTurns {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { search: Semaphore::new(cores), ingest: Semaphore::new(cores) }
    }
}

impl MediaTurns {
    /// Waits for a turn; text needs none.
    async fn take(
        &self,
        input: &EncodeInput,
        lane: Lane,
        call: &Call,
    ) -> Result<Option<SemaphorePermit<'_>>, ServiceError> {
        if !input.content.parts.iter().any(|part| matches!(part, Part::Media(_))) {
            return Ok(None);
        }
        let turns = match lane {
            Lane::Search => &self.search,
            Lane::Ingest => &self.ingest,
        };
        let turn = async {
            let turn = turns.acquire().await;
            turn.map_err(|_| ServiceError::Unavailable { state: "shutting down" })
        };
        call.bound("waiting to decode media", turn).await.map(Some)
    }
}
