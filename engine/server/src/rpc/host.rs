//! What the services share: the engine once it is up, and the server's own state.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use twn_service::{Call, Engine, Limits, ServiceError};

use crate::{
    rpc::{context::CallContext, deadline::TIMER_TICK},
    status,
};

/// Longest time that is added to the clock, so that no setting can make it overflow.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3_600);
/// Room that a message's own fields may take beside those that are counted.
const MESSAGE_SLACK_BYTES: usize = 64 << 10;

/// What the services share.
pub(crate) struct Host {
    engine: OnceLock<Arc<Engine>>,
    limits: Limits,
    max_message_bytes: usize,
    started: Instant,
    /// Begins when the server is told to stop: no new work, what is accepted is finished.
    pub(crate) draining: CancellationToken,
    /// Begins when draining took too long: every call ends.
    pub(crate) closing: CancellationToken,
}

impl Host {
    pub(crate) fn new(limits: Limits, max_message_bytes: usize) -> Self {
        Self {
            engine: OnceLock::new(),
            limits,
            max_message_bytes,
            started: Instant::now(),
            draining: CancellationToken::new(),
            closing: CancellationToken::new(),
        }
    }

    /// Opens the doors. Does nothing when they are open.
    pub(crate) fn open(&self, engine: Arc<Engine>) {
        let _ = self.engine.set(engine);
    }

    /// The engine, even while the server stops; `None` until it is up.
    pub(crate) fn opened(&self) -> Option<&Arc<Engine>> {
        self.engine.get()
    }

    /// The engine for new work.
    pub(crate) fn engine(&self) -> Result<&Arc<Engine>, ServiceError> {
        if self.draining.is_cancelled() {
            return Err(ServiceError::Unavailable { state: status::STOPPING });
        }
        self.engine.get().ok_or(ServiceError::Unavailable { state: status::LOADING })
    }

    /// The longest time that one request may take.
    pub(crate) fn max_deadline(&self) -> Duration {
        self.limits.max_deadline().min(FOREVER)
    }

    pub(crate) fn max_message_bytes(&self) -> usize {
        self.max_message_bytes
    }

    /// Bytes of documents that fit into one answer.
    pub(crate) fn max_answer_bytes(&self) -> usize {
        self.max_message_bytes.saturating_sub(MESSAGE_SLACK_BYTES).max(1)
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Answers a unary call: opens it, lets `work` run until its deadline, and turns
    /// failures into statuses. Dropping the future cancels the work.
    pub(crate) async fn answer<Req, Res, Work>(
        &self,
        request: Request<Req>,
        work: impl FnOnce(Arc<Engine>, Req, Call, CallContext) -> Work,
    ) -> Result<Response<Res>, Status>
    where
        Res: Message,
        Work: Future<Output = Result<Res, ServiceError>>,
    {
        let context = CallContext::of(&request);
        let (call, _guard) = context.open(self.max_deadline());
        let answered = async {
            let engine = Arc::clone(self.engine()?);
            let answer = work(engine, request.into_inner(), call.clone(), context.clone()).await?;
            self.check_size(&answer)?;
            Ok(answer)
        };
        // The engine watches the deadline too and tells what it was at, so it goes first.
        let late = tokio::time::sleep_until((call.deadline() + TIMER_TICK).into());
        let answered: Result<Res, ServiceError> = tokio::select! {
            biased;
            answered = answered => answered,
            () = late => Err(ServiceError::DeadlineExceeded { stage: "answering" }),
            () = self.closing.cancelled() => {
                Err(ServiceError::Unavailable { state: status::STOPPING })
            }
        };
        answered.map(Response::new).map_err(|error| status::status(&error, &context.request_id))
    }

    /// Refuses to send what the client's own limit would refuse to read.
    pub(crate) fn check_size(&self, answer: &impl Message) -> Result<(), ServiceError> {
        let (got, max) = (answer.encoded_len(), self.max_message_bytes);
        if got <= max {
            return Ok(());
        }
        let problem = format!(
            "the answer has {got} bytes, one message holds at most {max}: ask for fewer \
             documents or fields"
        );
        Err(ServiceError::invalid("mask", problem))
    }
}
