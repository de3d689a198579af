//! Group commit: many callers, one fsync.
//!
//! The first caller to find its record not yet on disk becomes the leader and
//! fsyncs the file; those who come meanwhile wait, and the next leader among
//! them syncs for all. So the cost of an fsync is shared by as many calls as
//! arrive while one is under way, without a timer and without a thread.

use crate::{durable::DurableFile, error::IndexError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Knows how far the log is written and how far it is on disk.
pub(crate) struct GroupCommit {
    progress: Mutex<Progress>,
    turn: Condvar,
}

struct Progress {
    /// The log file that the last written record is in.
    file: Arc<DurableFile>,
    /// The last sequence number handed to the operating system.
    written: u64,
    /// The last sequence number known to be on disk.
    durable: u64,
    /// Whether a leader is at work.
    is_syncing: bool,
    /// Why nothing may be written any more, once something went wrong.
    ///
    /// After a failed fsync the kernel may have dropped the dirty pages, and a
    /// second fsync would succeed without them; so the first failure is final.
    failure: Option<String>,
}

impl GroupCommit {
    /// Starts with a log that is on disk up to `durable`.
    pub(crate) fn new(file: Arc<DurableFile>, durable: u64) -> Self {
        let progress =
            Progress { file, written: durable, durable, is_syncing: false, failure: None };
        Self { progress: Mutex::new(progress), turn: Condvar::new() }
    }

    /// Refuses once a write has failed for good.
    pub(crate) fn check(&self) -> Result<(), IndexError> {
        self.lock().check()
    }

    /// Makes the collection read-only.
    pub(crate) fn poison(&self, problem: &str) {
        self.lock().failure.get_or_insert_with(|| problem.to_owned());
        self.turn.notify_all();
    }

    /// Returns the last sequence number known to be on disk.
    pub(crate) fn durable(&self) -> u64 {
        self.lock().durable
    }

    /// Notes that a record up to `written` was appended.
    pub(crate) fn advance(&self, written: u64) {
        self.lock().written = written;
    }

    /// Goes on with another file, after the old one was synced in full.
    pub(crate) fn switch(&self, file: Arc<DurableFile>) {
        let mut progress = self.lock();
        progress.file = file;
        progress.durable = progress.written;
        drop(progress);
        self.turn.notify_all();
    }

    /// Waits until everything up to `sequence` is on disk.
    pub(crate) fn wait(&self, sequence: u64) -> Result<(), IndexError> {
        let mut progress = self.lock();
        loop {
            if progress.durable >= sequence {
                return Ok(());
            }
            progress.check()?;
            if progress.is_syncing {
                progress = self.turn.wait(progress).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            progress.is_syncing = true;
            let (file, written) = (Arc::clone(&progress.file), progress.written);
            drop(progress);
            let synced = file.sync();
            progress = self.lock();
            progress.is_syncing = false;
            match synced {
                Ok(()) => progress.durable = progress.durable.max(written),
                Err(problem) => {
                    progress.failure.get_or_insert_with(|| problem.to_string());
                }
            }
            self.turn.notify_all();
        }
    }

    /// Waits until everything written is on disk.
    pub(crate) fn flush(&self) -> Result<(), IndexError> {
        let written = self.lock().written;
        self.wait(written)
    }

    /// A panic elsewhere leaves these plain numbers as they were.
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    fn check(&self) -> Result<(), IndexError> {
        match &self.failure {
            None => Ok(()),
            Some(problem) => Err(IndexError::Poisoned { problem: problem.clone() }),
        }
    }
}
