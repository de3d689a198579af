//! The threads that seal and compact in the background.

use super::Shared;
use crate::error::IndexError;
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{Builder, JoinHandle},
    time::Duration,
};

/// How long a thread with something left to do waits before it tries again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Tells a thread that there is work. A second call before it has looked says
/// nothing new, so no queue is needed and raising never waits.
#[derive(Debug, Default)]
pub(super) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_raised: bool,
    is_over: bool,
}

impl Signal {
    pub(super) fn raise(&self) {
        self.change(|state| state.is_raised = true);
    }

    fn end(&self) {
        self.change(|state| state.is_over = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Sleeps out a pause whatever is raised meanwhile; false once it is over.
    fn pause(&self, pause: Duration) -> bool {
        let is_going_on = |state: &mut State| !state.is_over;
        let waited = self.changed.wait_timeout_while(self.lock(), pause, is_going_on);
        !waited.unwrap_or_else(PoisonError::into_inner).0.is_over
    }

    /// Waits for the signal, or until something left over may be tried again;
    /// false once it is over.
    fn wait(&self, has_leftovers: bool) -> bool {
        let is_idle = |state: &mut State| !state.is_raised && !state.is_over;
        let guard = self.lock();
        let mut guard = if has_leftovers {
            let waited = self.changed.wait_timeout_while(guard, RETRY_AFTER, is_idle);
            waited.unwrap_or_else(PoisonError::into_inner).0
        } else {
            self.changed.wait_while(guard, is_idle).unwrap_or_else(PoisonError::into_inner)
        };
        guard.is_raised = false;
        !guard.is_over
    }

    /// Two plain flags are whole whatever panicked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that does one kind of work whenever its signal is raised.
#[derive(Debug)]
pub(super) struct Worker {
    signal: Arc<Signal>,
    /// Emptied to end the thread.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Worker {
    /// Starts a thread. `work` says whether it has left something to try again.
    /// After failures it rests, longer each time up to `most_rest`.
    pub(super) fn start(
        name: &'static str,
        shared: &Arc<Shared>,
        signal: &Arc<Signal>,
        most_rest: Duration,
        work: fn(&Shared) -> Result<bool, IndexError>,
    ) -> Result<Self, IndexError> {
        let (shared, waited) = (Arc::clone(shared), Arc::clone(signal));
        let run = move || run(name, &shared, &waited, most_rest, work);
        let thread = Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { signal: Arc::clone(signal), thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread once it is done with what it is doing.
    pub(super) fn stop(&self) {
        self.signal.end();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("a background thread had panicked");
        }
    }
}

fn run(
    name: &str,
    shared: &Shared,
    signal: &Signal,
    most_rest: Duration,
    work: fn(&Shared) -> Result<bool, IndexError>,
) {
    let (mut has_leftovers, mut rest) = (false, Duration::ZERO);
    while signal.pause(rest) && signal.wait(has_leftovers) {
        let done = work(shared);
        rest =
            if done.is_ok() { Duration::ZERO } else { (rest * 2).max(RETRY_AFTER).min(most_rest) };
        has_leftovers = match done {
            Ok(has_leftovers) => has_leftovers,
            Err(IndexError::Closed | IndexError::Poisoned { .. }) => false,
            Err(error) => {
                tracing::error!(path = %shared.root.display(), %error, "{name} failed");
                true
            }
        };
    }
}
