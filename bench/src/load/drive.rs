//! The two loops that send requests.
//!
//! The open loop is paced by a thread of its own, since tokio's timer counts in whole
//! milliseconds. Requests beyond the in-flight limit wait their turn and are sent late;
//! their latency still counts from the moment they were due. Those that were never sent
//! when the run ends are recorded as dropped, and those without an answer as unfinished:
//! no request that was due goes missing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinSet,
};

use super::{
    client::{Client, Outcome},
    options::{Loop, Options},
    record::Sample,
    schedule::Arrivals,
};

/// The pacing thread looks this often whether the run was interrupted.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// How a run went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Driven {
    /// When the load ended, from the start; less than the window if it was interrupted.
    pub(crate) load_end: Duration,
    /// Ended by Ctrl-C.
    pub(crate) interrupted: bool,
}

/// What both loops share.
struct Run {
    client: Client,
    queries: Vec<String>,
    samples: mpsc::Sender<Sample>,
    start: Instant,
    /// From `start`: requests are due before this.
    window: Duration,
    /// From `start`: what has no answer then is given up.
    end: Duration,
    /// True once the run is interrupted.
    interrupted: watch::Receiver<bool>,
}

/// Sends the load and waits until every request is accounted for.
pub(crate) async fn drive(
    options: &Options,
    client: Client,
    queries: Vec<String>,
    samples: mpsc::Sender<Sample>,
) -> Driven {
    let (interrupt, interrupted) = watch::channel(false);
    let run = Arc::new(Run {
        client,
        queries,
        samples,
        start: Instant::now(),
        window: options.window(),
        end: options.window() + options.drain,
        interrupted,
    });
    let watching = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupt.send_replace(true);
        } else {
            // Without a signal handler the run cannot be interrupted; keep the sender alive.
            std::future::pending::<()>().await;
        }
    });

    let load_end = match &options.kind {
        Loop::Open { arrivals, max_in_flight } => {
            open_loop(Arc::clone(&run), *arrivals, *max_in_flight).await
        }
        Loop::Closed { concurrency } => closed_loop(Arc::clone(&run), *concurrency).await,
    };
    watching.abort();
    Driven { load_end, interrupted: *run.interrupted.borrow() }
}

/// Sends every request when it is due; returns when the load ended, from the start.
async fn open_loop(run: Arc<Run>, arrivals: Arrivals, max_in_flight: usize) -> Duration {
    let places = Arc::new(Semaphore::new(max_in_flight));
    let pacing = {
        let (run, places, handle) = (Arc::clone(&run), Arc::clone(&places), Handle::current());
        tokio::task::spawn_blocking(move || pace(&run, arrivals, &places, &handle))
    };
    let load_end = pacing.await.unwrap_or_else(|_| run.start.elapsed());
    // Every place is free again when every request is accounted for.
    let all = u32::try_from(max_in_flight).unwrap_or(u32::MAX);
    let _ = places.acquire_many(all).await;
    load_end
}

/// The pacing thread.
fn pace(run: &Arc<Run>, arrivals: Arrivals, places: &Arc<Semaphore>, handle: &Handle) -> Duration {
    for (turn, due) in arrivals.within(run.window).enumerate() {
        if !run.sleep_until(due) {
            return run.start.elapsed();
        }
        match handle.block_on(run.place(places)) {
            Some(permit) => {
                let run = Arc::clone(run);
                handle.spawn(async move {
                    run.send(turn, Some(due)).await;
                    drop(permit);
                });
            }
            None => {
                let now = run.start.elapsed();
                let outcome = Outcome::Dropped;
                let dropped = Sample { due, sent: now, finished: now, outcome };
                // The recorder is gone only if its thread failed, which `finish` reports.
                let _ = run.samples.blocking_send(dropped);
            }
        }
    }
    // The load ends with the window, not with the last request in it.
    run.sleep_until(run.window);
    run.window.min(run.start.elapsed())
}

/// Lets `concurrency` clients ask and wait in turn; returns when the load ended.
async fn closed_loop(run: Arc<Run>, concurrency: usize) -> Duration {
    let mut clients = JoinSet::new();
    for first in 0..concurrency {
        let run = Arc::clone(&run);
        clients.spawn(async move {
            for turn in (first..).step_by(concurrency) {
                if run.start.elapsed() >= run.window || *run.interrupted.borrow() {
                    break;
                }
                run.send(turn, None).await;
            }
        });
    }
    clients.join_all().await;
    run.window.min(run.start.elapsed())
}

impl Run {
    /// Sends the request of a turn and records what became of it. Without a due moment
    /// its latency counts from sending.
    async fn send(&self, turn: usize, due: Option<Duration>) {
        let query = &self.queries[turn % self.queries.len()];
        let sent = self.start.elapsed();
        let outcome = tokio::select! {
            outcome = self.client.search(turn, query) => outcome,
            () = self.over() => Outcome::Unfinished,
        };
        let finished = self.start.elapsed();
        let sample = Sample { due: due.unwrap_or(sent), sent, finished, outcome };
        let _ = self.samples.send(sample).await;
    }

    /// Waits for a place in flight; `None` when the run is over first.
    async fn place(&self, places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        let permit = match Arc::clone(places).try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => tokio::select! {
                permit = Arc::clone(places).acquire_owned() => permit.ok(),
                () = self.over() => None,
            },
        };
        // The end frees every place: what gets one then is too late to be sent.
        permit.filter(|_| !self.is_over())
    }

    fn is_over(&self) -> bool {
        *self.interrupted.borrow() || self.start.elapsed() >= self.end
    }

    /// Returns when the run has ended or was interrupted.
    async fn over(&self) {
        let mut interrupted = self.interrupted.clone();
        let end = tokio::time::Instant::from_std(self.start + self.end);
        tokio::select! {
            _ = interrupted.wait_for(|interrupted| *interrupted) => {}
            () = tokio::time::sleep_until(end) => {}
        }
    }

    /// Blocks until `due`; false when the run was interrupted first.
    fn sleep_until(&self, due: Duration) -> bool {
        loop {
            let left = due.saturating_sub(self.start.elapsed());
            if left.is_zero() {
                return true;
            }
            if *self.interrupted.borrow() {
                return false;
            }
            std::thread::sleep(left.min(LONGEST_SLEEP));
        }
    }
}
