//! The thread that seals in the background.

use super::Shared;
use crate::{error::IndexError, graph::Stop};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{Builder, JoinHandle},
};

/// Wakes and ends the thread.
#[derive(Debug)]
pub(super) struct Sealer {
    /// Emptied to end the thread.
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    /// Holds one wake at most: a second says nothing new.
    wakes: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Sealer {
    pub(super) fn start(shared: &Arc<Shared>) -> Result<Self, IndexError> {
        let (wakes, waking) = sync_channel(1);
        let shared = Arc::clone(shared);
        let thread =
            Builder::new().name("twn-seal".to_owned()).spawn(move || run(&shared, &waking))?;
        Ok(Self { running: Mutex::new(Some(Running { wakes, thread })) })
    }

    /// Has the thread look at the tail; never waits.
    pub(super) fn wake(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*running {
            // Full means that a wake is under way, closed that nobody is left.
            let _ = running.wakes.try_send(());
        }
    }

    /// Ends the thread, giving up the graph it may be building.
    pub(super) fn stop(&self, stop: &Stop) {
        stop.request();
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { wakes, thread }) = running else { return };
        drop(wakes);
        if thread.join().is_err() {
            tracing::error!("the sealing thread had panicked");
        }
    }
}

fn run(shared: &Shared, waking: &Receiver<()>) {
    while waking.recv().is_ok() {
        if shared.stop.is_requested() {
            return;
        }
        match shared.seal_if_ready() {
            Ok(()) | Err(IndexError::Closed) => {}
            Err(error) => {
                tracing::error!(path = %shared.root.display(), %error, "sealing failed");
            }
        }
    }
}
