//! What a collection is made of, as far as its background threads need it too.

use super::{SEGMENT_FOLDER, WAL_FOLDER, graveyard::Graveyard, worker::Signal, writer::Writer};
use crate::{
    config::CollectionConfig, error::IndexError, graph::Stop, manifest::Manifest,
    snapshot::Snapshot, wal::GroupCommit,
};
use arc_swap::ArcSwap;
use std::{
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

pub(super) struct Shared {
    pub(super) root: PathBuf,
    pub(super) config: Arc<CollectionConfig>,
    pub(super) current: ArcSwap<Snapshot>,
    pub(super) writer: Mutex<Writer>,
    /// Told when a seal begins or ends, for writers that wait for room.
    pub(super) room: Condvar,
    pub(super) commit: GroupCommit,
    /// Whoever holds it is the one who changes what is on disk for good.
    pub(super) ledger: Mutex<Ledger>,
    /// Whoever holds it is the one who compacts.
    pub(super) compacting: Mutex<()>,
    pub(super) graveyard: Graveyard,
    pub(super) seal_signal: Arc<Signal>,
    pub(super) compaction_signal: Arc<Signal>,
    pub(super) check_signal: Arc<Signal>,
    pub(super) stop: Stop,
    pub(super) is_closed: AtomicBool,
}

/// What is on disk, and which numbers are free.
pub(super) struct Ledger {
    /// The manifest that counts.
    pub(super) manifest: Manifest,
    next_manifest: u64,
    pub(super) next_segment: u64,
}

impl Ledger {
    pub(super) fn new(manifest: Manifest) -> Self {
        let (next_manifest, next_segment) = (manifest.number + 1, manifest.next_segment);
        Self { manifest, next_manifest, next_segment }
    }

    /// Returns a number for a manifest. It is never drawn again: an attempt
    /// that failed may have left files of that name.
    pub(super) fn draw_manifest(&mut self) -> u64 {
        self.next_manifest += 1;
        self.next_manifest - 1
    }

    /// Returns a number for a segment, never drawn again either.
    pub(super) fn draw_segment(&mut self) -> u64 {
        self.next_segment += 1;
        self.next_segment - 1
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn wal_folder(&self) -> PathBuf {
        self.root.join(WAL_FOLDER)
    }

    pub(super) fn segment_folder(&self) -> PathBuf {
        self.root.join(SEGMENT_FOLDER)
    }

    pub(super) fn check_open(&self) -> Result<(), IndexError> {
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(IndexError::Closed);
        }
        self.commit.check()
    }

    /// Makes the collection read-only if a manifest was left in between.
    pub(super) fn poison_if_unknown(&self, error: &IndexError) {
        if let IndexError::Poisoned { problem } = error {
            self.commit.poison(problem);
        }
    }

    /// A writer that panicked may have left its state half changed.
    pub(super) fn lock_writer(&self) -> Result<MutexGuard<'_, Writer>, IndexError> {
        self.writer.lock().map_err(|_| panicked_writer())
    }

    /// Waits for a seal while the tail is full, which bounds the memory that
    /// tails take up, and lets the sealing thread have the lock when writers
    /// are many and quick.
    pub(super) fn lock_writer_with_room(&self) -> Result<MutexGuard<'_, Writer>, IndexError> {
        let writer = self.lock_writer()?;
        let has_to_wait =
            |writer: &mut Writer| writer.has_no_room(&self.config) && self.check_open().is_ok();
        self.room.wait_while(writer, has_to_wait).map_err(|_| panicked_writer())
    }

    /// The ledger is changed by plain stores, so a panic leaves it whole.
    pub(super) fn lock_ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wal_bytes(&self) -> u64 {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.wal.length() + writer.older_wal_bytes
    }
}

fn panicked_writer() -> IndexError {
    IndexError::Poisoned { problem: "a writer panicked".to_owned() }
}
