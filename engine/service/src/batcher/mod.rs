//! The model thread: owns the embedder and decides what it runs next.
//!
//! One round embeds one batch of inputs directly, but for those that must think, and does three pieces of work for thoughts:
//! it opens some and decodes one token of every live one, encodes again one that has grown
//! long, and embeds after some that have ended. Each piece is small, and between two of
//! them searches that have come in are embedded. So a search that is next in line waits for
//! one piece at most, however long the thoughts are and however many there are. [`direct`]
//! says who is next, [`thoughts`] who thinks, [`pressure`](crate::pressure) what load and
//! deadlines do to thoughts. Before each round, inputs whose call has ended are dropped:
//! cancellation takes effect at every decoded token.

mod answer;
mod direct;
mod job;
mod pace;
mod thoughts;
mod thread;

#[cfg(test)]
mod tests;

use std::{
    sync::{Mutex, PoisonError, mpsc},
    thread::JoinHandle,
};

use twn_encoder::Embedder;

pub(crate) use answer::is_unpressed;
pub(crate) use job::{Job, Lane};
use thread::ModelThread;

use crate::{error::ServiceError, pressure::PressureOptions};

/// How the model thread shares itself out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shares {
    /// Prompt tokens of one batch of searches.
    pub(crate) search_tokens: usize,
    /// Prompt tokens of one batch of documents; a search may have to wait for it.
    pub(crate) ingest_tokens: usize,
    /// Thoughts decoded together; more wait.
    pub(crate) thoughts: usize,
    /// Prompt tokens that may wait in the search lane, against which its load is measured.
    pub(crate) max_queue_tokens: usize,
    /// What load and deadlines do.
    pub(crate) pressure: PressureOptions,
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
        shares: Shares,
        queue: usize,
    ) -> std::io::Result<Self> {
        let (jobs, inbox) = mpsc::sync_channel(queue);
        let thread = std::thread::Builder::new().name("twn-model".into()).spawn(move || {
            ModelThread::new(embedder, shares).run(inbox);
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
