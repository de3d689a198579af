//! The frame of every bidirectional call: a task that reads and writes, a bounded
//! channel of answers, and one last status that always finds room.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;
use twn_service::{Call, CallGuard, ServiceError};

use crate::{
    rpc::{
        context::CallContext,
        host::Host,
        panics::{Contained, Panicked},
    },
    status,
};

/// Answers that wait for the client to read; then the server stops reading too.
const ANSWERS: usize = 16;

/// The answers of one call, as tonic sends them.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Why a call ended early.
pub(crate) enum End {
    /// The client has gone away: nobody needs a status.
    Gone,
    /// Our refusal.
    Refused(ServiceError),
    /// What the transport or the decoder said.
    Broken(Status),
}

/// The server's side of one bidirectional call.
pub(crate) struct Duplex<T> {
    pub(crate) host: Arc<Host>,
    pub(crate) context: CallContext,
    answers: mpsc::Sender<Result<T, Status>>,
}

impl<T: Send + 'static> Duplex<T> {
    /// Runs `work` in a task of its own until it ends, the client goes away, its
    /// deadline passes or the server closes.
    pub(crate) fn open<Work>(
        host: &Arc<Host>,
        context: CallContext,
        work: impl FnOnce(Self) -> Work,
    ) -> Answers<T>
    where
        Work: Future<Output = Result<(), End>> + Send + 'static,
    {
        let (answers, receiver) = mpsc::channel(ANSWERS + 1);
        let last = answers.clone().try_reserve_owned();
        let duplex = Self { host: Arc::clone(host), context: context.clone(), answers };
        let gone = duplex.answers.clone();
        let closing = host.closing.clone();
        let work = Contained::new(work(duplex));

        tokio::spawn(async move {
            let end = tokio::select! {
                biased;
                () = gone.closed() => Err(End::Gone),
                () = closing.cancelled() => Err(End::stopping()),
                () = patience(context.deadline()) => {
                    Err(End::Refused(ServiceError::DeadlineExceeded { stage: "streaming" }))
                }
                end = work => end.unwrap_or_else(|Panicked| {
                    let problem = "stream handler panicked".to_owned();
                    Err(End::Refused(ServiceError::Internal { problem }))
                }),
            };
            if let (Err(end), Ok(last)) = (end, last)
                && let Some(status) = end.status(&context.request_id)
            {
                last.send(Err(status));
            }
        });
        Box::pin(Receiver(receiver))
    }

    /// Sends an answer; waits while the client does not read.
    pub(crate) async fn send(&self, answer: T) -> Result<(), End> {
        self.answers.send(Ok(answer)).await.map_err(|_| End::Gone)
    }

    /// Opens the call of one item: it ends with the stream's deadline, and after the
    /// server's longest at the latest.
    pub(crate) fn item_call(&self) -> (Call, CallGuard) {
        self.context.open(self.host.max_deadline())
    }

    /// What the client is told of a failed item.
    pub(crate) fn item_message(&self, error: &ServiceError) -> String {
        status::log_our_fault(error, &self.context.request_id);
        status::message(error)
    }

    /// The longest that a client may take for what it owes us.
    pub(crate) fn patience(&self) -> Duration {
        self.host.max_deadline()
    }
}

impl End {
    /// The end of a stream on a server that stops.
    pub(crate) fn stopping() -> Self {
        Self::Refused(ServiceError::Unavailable { state: status::STOPPING })
    }

    fn status(self, request_id: &str) -> Option<Status> {
        match self {
            Self::Gone => None,
            Self::Refused(error) => Some(status::status(&error, request_id)),
            Self::Broken(status) => Some(status::adopted(status, request_id)),
        }
    }
}

impl From<ServiceError> for End {
    fn from(error: ServiceError) -> Self {
        Self::Refused(error)
    }
}

async fn patience(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

struct Receiver<T>(mpsc::Receiver<Result<T, Status>>);

impl<T> Stream for Receiver<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
