//! A collection: the one thing callers hold.
//!
//! ```text
//! apply -> log -> tail -> publish          writer
//! seal  -> freeze -> segment -> manifest   seal, run by a worker
//! merge -> segment -> manifest             compaction, run by another
//! open  -> manifest -> segments -> log     recovery
//! check -> every block of every segment    verify, run by a third
//! ```
//! Locks, in the order they may be taken: that of compaction, the ledger, the
//! writer, the commit queue. Neither the writer's nor any that a reader would
//! need is held while a graph is built; the writer's is held for one append to
//! the log and one to the tail.

mod compaction;
mod graveyard;
mod recovery;
mod saved;
mod seal;
mod shared;
mod verify;
mod worker;
mod writer;

pub use compaction::Compacted;
pub use saved::{MAX_SNAPSHOTS, SavedSnapshot};
pub use verify::{Damage, Verified};

use crate::{
    config::CollectionConfig,
    document::{Applied, Durability, Operation},
    durable::FolderLock,
    error::IndexError,
    snapshot::Snapshot,
    wal::Draft,
};
use compaction::Scope;
use shared::Shared;
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};
use worker::Worker;

/// The folder of log files within a collection's.
const WAL_FOLDER: &str = "wal";
/// The folder of segments within a collection's.
const SEGMENT_FOLDER: &str = "seg";
/// The folder of saved snapshots within a collection's.
const SNAPSHOT_FOLDER: &str = "snapshots";

/// The longest pause after a compaction that failed. Each reads segments in full, so
/// one that fails for good, over a damaged file, must not be tried all the time.
const COMPACTION_PATIENCE: Duration = Duration::from_secs(600);

/// Documents with vectors, durable on disk and searchable as soon as written.
///
/// Meant to be shared behind an `Arc`: all methods take `&self`. Reading goes
/// through [`Self::snapshot`] and waits for nobody. Dropping a collection closes
/// it quietly; [`Self::close`] does so with a word about what went wrong.
#[derive(Debug)]
pub struct Collection {
    shared: Arc<Shared>,
    sealer: Worker,
    compactor: Worker,
    checker: Worker,
    /// Given up when the collection is closed.
    lock: Mutex<Option<FolderLock>>,
}

/// What a collection holds and takes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Documents that can be found.
    pub documents: u64,
    /// How many of them are in no segment yet.
    pub tail_documents: u64,
    /// Rows in segments that were deleted or replaced.
    pub tombstones: u64,
    /// Sealed segments.
    pub segments: usize,
    /// Bytes of the log and of all sealed files.
    pub disk_bytes: u64,
    /// The sequence number of the last operation.
    pub last_sequence: u64,
}

impl Collection {
    /// Makes a collection in a folder that has none, creating the folder.
    ///
    /// A folder in which an earlier creation failed half-way is used again.
    pub fn create(dir: &Path, config: CollectionConfig) -> Result<Self, IndexError> {
        config.validate()?;
        recovery::create(dir, config)
    }

    /// Opens the collection in a folder and recovers what the log has.
    ///
    /// Takes the same time for any number of sealed rows: of their files it reads
    /// what says where things are. The rest is verified when it is first read and
    /// by a thread in the background; whatever meets a damaged part is refused
    /// with [`IndexError::Corrupt`], and so is everything after it that reads the
    /// same segment.
    ///
    /// Refuses a folder that another handle has open, a corrupt file (naming
    /// it) and another format. Cuts off the torn end of a log, and removes what
    /// an unfinished seal left behind.
    pub fn open(dir: &Path) -> Result<Self, IndexError> {
        recovery::open(dir)
    }

    fn start(shared: Shared, lock: FolderLock) -> Result<Self, IndexError> {
        let shared = Arc::new(shared);
        let work = Shared::seal_if_ready;
        let sealer = Worker::start("twn-seal", &shared, &shared.seal_signal, Duration::ZERO, work)?;
        let work = Shared::compact_if_due;
        let signal = &shared.compaction_signal;
        let compactor = Worker::start("twn-compact", &shared, signal, COMPACTION_PATIENCE, work)?;
        let work = Shared::check_segments;
        let signal = &shared.check_signal;
        let checker = Worker::start("twn-check", &shared, signal, COMPACTION_PATIENCE, work)?;
        // What was left to do when the collection was closed.
        shared.check_signal.raise();
        shared.seal_signal.raise();
        shared.compaction_signal.raise();
        Ok(Self { shared, sealer, compactor, checker, lock: Mutex::new(Some(lock)) })
    }

    /// Returns what the collection was created with.
    pub fn config(&self) -> &CollectionConfig {
        &self.shared.config
    }

    /// Returns the folder the collection is in.
    pub fn path(&self) -> &Path {
        &self.shared.root
    }

    /// Refuses an operation that [`Self::apply`] would refuse.
    pub fn validate(&self, operation: &Operation) -> Result<(), IndexError> {
        operation.validate(self.shared.config.dimension)?;
        match operation {
            Operation::Delete(_) => Ok(()),
            Operation::Upsert(document) => {
                self.shared.config.schema.check_payload(&document.id, &document.payload)
            }
        }
    }

    /// Applies operations in their order, as one: after a crash all of them
    /// are there or none is.
    ///
    /// When this returns they are visible in every snapshot taken from then on,
    /// and with [`Durability::Durable`] they are on disk. Calls of several
    /// threads share their fsyncs. Refuses the whole batch if one operation is
    /// bad, before anything is written. Waits while the tail is at twice
    /// `seal_rows` and its seal is yet to make room.
    pub fn apply(
        &self,
        operations: Vec<Operation>,
        durability: Durability,
    ) -> Result<Vec<Applied>, IndexError> {
        let shared = &*self.shared;
        shared.check_open()?;
        if operations.is_empty() {
            return Ok(Vec::new());
        }
        for operation in &operations {
            self.validate(operation)?;
        }
        let mut draft = Draft::new(&operations)?;
        let mut writer = shared.lock_writer_with_room()?;
        // Closing takes the writer's lock too, so nothing is written after it.
        shared.check_open()?;
        let applied = writer.write(&shared.commit, &mut draft, operations)?;
        shared.current.store(Arc::new(writer.state.clone()));
        let is_ready_to_seal = writer.is_ready_to_seal(&shared.config);
        let segments = Arc::clone(&writer.state.segments);
        let last_sequence = writer.state.last_sequence;
        drop(writer);
        if is_ready_to_seal {
            shared.seal_signal.raise();
        }
        if compaction::is_due(&segments, &shared.config.compaction) {
            shared.compaction_signal.raise();
        }
        if durability == Durability::Durable {
            shared.commit.wait(last_sequence)?;
        }
        Ok(applied)
    }

    /// Returns the collection as it is now; never waits.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.current.load_full()
    }

    /// Turns the tail into a segment with a graph, and returns when it is
    /// durable. Does nothing if nothing was written since the last seal.
    ///
    /// The graph is built on half of the machine's threads; called on a thread
    /// of a rayon pool, on that pool's. Two seals of one collection must not
    /// share a pool: each waits for the other to end.
    pub fn seal(&self) -> Result<(), IndexError> {
        self.shared.check_open()?;
        self.shared.seal()
    }

    /// Merges all segments into one without dead rows, and returns when that is
    /// durable. `None` if they were one already. Reads, writes and seals go on.
    pub fn compact(&self) -> Result<Option<Compacted>, IndexError> {
        self.shared.check_open()?;
        let compacted = self.shared.compact(Scope::All);
        // The thread removes the old files once their readers are gone.
        self.shared.compaction_signal.raise();
        compacted
    }

    /// Returns what the collection holds and takes up.
    pub fn stats(&self) -> Stats {
        let wal_bytes = self.shared.wal_bytes();
        let snapshot = self.snapshot();
        let sealed_bytes: u64 = snapshot.segments.iter().map(|view| view.segment.bytes).sum();
        Stats {
            documents: snapshot.len(),
            tail_documents: snapshot.tail_len(),
            tombstones: snapshot.segments.iter().map(|view| view.dead.len()).sum(),
            segments: snapshot.segments.len(),
            disk_bytes: wal_bytes + sealed_bytes,
            last_sequence: snapshot.last_sequence,
        }
    }

    /// Stops the background thread, puts everything on disk, and lets others
    /// open the collection. Snapshots stay readable; all else is refused with
    /// [`IndexError::Closed`]. Closing twice does nothing.
    pub fn close(&self) -> Result<(), IndexError> {
        let is_first = !self.shared.is_closed.swap(true, Ordering::SeqCst);
        if !is_first {
            return Ok(());
        }
        self.shared.stop.request();
        self.sealer.stop();
        self.compactor.stop();
        self.checker.stop();
        // With all in hand no compaction, seal or append is under way.
        let turn = self.shared.compacting.lock().unwrap_or_else(PoisonError::into_inner);
        let ledger = self.shared.lock_ledger();
        let mut writer = self.shared.lock_writer();
        self.shared.room.notify_all();
        let flushed = self.shared.commit.flush();
        if let (Ok(()), Ok(writer)) = (&flushed, &mut writer) {
            // Without it nothing is lost; it only tells rot from a torn end.
            if let Err(error) = writer.mark_end(&self.shared.commit) {
                tracing::warn!(%error, "the log is closed without its end mark");
            }
        }
        self.shared.graveyard.sweep();
        drop((writer, ledger, turn));
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        flushed
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(path = %self.shared.root.display(), %error, "closing failed");
        }
    }
}
