//! A collection: the one thing callers hold.
//!
//! ```text
//! apply -> log -> tail -> publish          writer
//! seal  -> freeze -> segment -> manifest   seal, run by sealer
//! open  -> manifest -> segments -> log     recovery
//! ```
//! Locks, in the order they may be taken: the ledger, the writer, the commit
//! queue. No lock is held while a graph is built or a read runs; the writer's is
//! held for one append to the log and one to the tail.

mod recovery;
mod seal;
mod sealer;
mod writer;

use crate::{
    config::CollectionConfig,
    document::{Applied, Durability, Operation},
    durable::FolderLock,
    error::IndexError,
    graph::Stop,
    manifest::{Manifest, SegmentEntry},
    segment,
    snapshot::Snapshot,
    wal::{Draft, GroupCommit},
};
use arc_swap::ArcSwap;
use sealer::Sealer;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use writer::Writer;

/// The folder of log files within a collection's.
const WAL_FOLDER: &str = "wal";
/// The folder of segments within a collection's.
const SEGMENT_FOLDER: &str = "seg";

/// Documents with vectors, durable on disk and searchable as soon as written.
///
/// Meant to be shared behind an `Arc`: all methods take `&self`. Reading goes
/// through [`Self::snapshot`] and waits for nobody. Dropping a collection closes
/// it quietly; [`Self::close`] does so with a word about what went wrong.
#[derive(Debug)]
pub struct Collection {
    shared: Arc<Shared>,
    sealer: Sealer,
    /// Given up when the collection is closed.
    lock: Mutex<Option<FolderLock>>,
}

/// What a collection is made of, as far as the background thread needs it too.
struct Shared {
    root: PathBuf,
    config: Arc<CollectionConfig>,
    current: ArcSwap<Snapshot>,
    writer: Mutex<Writer>,
    /// Told when a seal begins or ends, for writers that wait for room.
    room: Condvar,
    commit: GroupCommit,
    /// Whoever holds it is the one who seals.
    ledger: Mutex<Ledger>,
    stop: Stop,
    is_closed: AtomicBool,
}

/// What is on disk, and which numbers are free.
struct Ledger {
    /// The manifest that counts.
    manifest: Manifest,
    next_manifest: u64,
    next_segment: u64,
}

impl Ledger {
    fn new(manifest: Manifest) -> Self {
        let (next_manifest, next_segment) = (manifest.number + 1, manifest.next_segment);
        Self { manifest, next_manifest, next_segment }
    }

    /// Returns numbers for a manifest and a segment. They are never drawn
    /// again: a failed seal may have left files of that name.
    fn draw_numbers(&mut self) -> (u64, u64) {
        let drawn = (self.next_manifest, self.next_segment);
        self.next_manifest += 1;
        self.next_segment += 1;
        drawn
    }
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
    /// Refuses a folder that another handle has open, a corrupt file (naming
    /// it) and a newer format. Cuts off the torn end of a log, and removes what
    /// an unfinished seal left behind.
    pub fn open(dir: &Path) -> Result<Self, IndexError> {
        recovery::open(dir)
    }

    fn start(shared: Shared, lock: FolderLock) -> Result<Self, IndexError> {
        let shared = Arc::new(shared);
        let sealer = Sealer::start(&shared)?;
        let collection = Self { shared, sealer, lock: Mutex::new(Some(lock)) };
        if collection.shared.lock_writer()?.is_ready_to_seal(&collection.shared.config) {
            collection.sealer.wake();
        }
        Ok(collection)
    }

    /// Returns what the collection was created with.
    pub fn config(&self) -> &CollectionConfig {
        &self.shared.config
    }

    /// Returns the folder the collection is in.
    pub fn path(&self) -> &Path {
        &self.shared.root
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
            operation.validate(shared.config.dimension)?;
        }
        let mut draft = Draft::new(&operations)?;
        let mut writer = shared.lock_writer_with_room()?;
        // Closing takes the writer's lock too, so nothing is written after it.
        shared.check_open()?;
        let applied = writer.write(&shared.commit, &mut draft, operations)?;
        shared.current.store(Arc::new(writer.state.clone()));
        let is_ready_to_seal = writer.is_ready_to_seal(&shared.config);
        let last_sequence = writer.state.last_sequence;
        drop(writer);
        if is_ready_to_seal {
            self.sealer.wake();
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

    /// Reads every sealed file in full and compares its checksum.
    ///
    /// Opening checks the small files and the structure of the large ones; this
    /// finds any other changed byte. Reads and writes go on meanwhile, a seal
    /// waits.
    pub fn verify(&self) -> Result<(), IndexError> {
        let ledger = self.shared.lock_ledger();
        let segments = self.shared.segment_folder();
        let verify =
            |entry: &SegmentEntry| segment::verify(&segment::folder(&segments, entry.id), entry);
        ledger.manifest.segments.iter().try_for_each(verify)
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
        self.sealer.stop(&self.shared.stop);
        // With both in hand no seal and no append is under way.
        let ledger = self.shared.lock_ledger();
        let writer = self.shared.lock_writer();
        self.shared.room.notify_all();
        let flushed = self.shared.commit.flush();
        drop((writer, ledger));
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

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Shared {
    fn wal_folder(&self) -> PathBuf {
        self.root.join(WAL_FOLDER)
    }

    fn segment_folder(&self) -> PathBuf {
        self.root.join(SEGMENT_FOLDER)
    }

    fn check_open(&self) -> Result<(), IndexError> {
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(IndexError::Closed);
        }
        self.commit.check()
    }

    /// A writer that panicked may have left its state half changed.
    fn lock_writer(&self) -> Result<MutexGuard<'_, Writer>, IndexError> {
        self.writer.lock().map_err(|_| panicked_writer())
    }

    /// Waits for a seal while the tail is full, which bounds the memory that
    /// tails take up, and lets the sealing thread have the lock when writers
    /// are many and quick.
    fn lock_writer_with_room(&self) -> Result<MutexGuard<'_, Writer>, IndexError> {
        let writer = self.lock_writer()?;
        let has_to_wait = |writer: &mut Writer| {
            writer.has_no_room(&self.config) && !self.is_closed.load(Ordering::SeqCst)
        };
        self.room.wait_while(writer, has_to_wait).map_err(|_| panicked_writer())
    }

    /// The ledger is changed by plain stores, so a panic leaves it whole.
    fn lock_ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wal_bytes(&self) -> u64 {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.wal.length() + writer.older_wal_bytes
    }
}

fn panicked_writer() -> IndexError {
    IndexError::Poisoned { problem: "a writer panicked".to_owned() }
}
