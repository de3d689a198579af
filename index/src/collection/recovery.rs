//! Making a collection, and finding one again after a stop.

use super::{
    Collection, SEGMENT_FOLDER, WAL_FOLDER,
    graveyard::Graveyard,
    saved,
    shared::{Ledger, Shared},
    writer::{Writer, apply},
};
use crate::{
    config::CollectionConfig,
    durable::{FolderLock, create_folder, remove_file, remove_folder, sync_folder},
    error::IndexError,
    graph::Stop,
    manifest::{self, Manifest},
    segment::{self, Segment, tombstones},
    snapshot::{SegmentView, Snapshot},
    tail::Tail,
    wal::{self, GroupCommit, Wal, replay},
};
use arc_swap::ArcSwap;
use roaring::RoaringBitmap;
use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, atomic::AtomicBool},
};

const FIRST_NUMBER: u64 = 1;

/// Creates an empty collection; the manifest comes last and makes it one.
pub(super) fn create(root: &Path, config: CollectionConfig) -> Result<Collection, IndexError> {
    if manifest::exists(root) {
        return Err(IndexError::AlreadyExists { path: root.to_path_buf() });
    }
    create_folder(root)?;
    let lock = FolderLock::acquire(root)?;
    // Someone may have been quicker while the lock was free.
    if manifest::exists(root) {
        return Err(IndexError::AlreadyExists { path: root.to_path_buf() });
    }
    clear(root)?;
    let wal_folder = root.join(WAL_FOLDER);
    create_folder(&wal_folder)?;
    create_folder(&root.join(SEGMENT_FOLDER))?;
    let wal = Wal::create(&wal_folder, FIRST_NUMBER)?;
    let manifest = Manifest {
        number: FIRST_NUMBER,
        config,
        last_sequence: 0,
        wal_start: FIRST_NUMBER,
        next_segment: FIRST_NUMBER,
        segments: Vec::new(),
    };
    manifest::store(root, &manifest)?;
    if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_folder(parent)?;
    }
    let state = sealed_state(root, &manifest)?;
    start(root, lock, manifest, Writer::new(wal, 0, state))
}

/// Refuses a folder without `CURRENT` that had a collection in it: something
/// was lost, and making a new one there would lose the rest.
fn check_no_remains(root: &Path) -> Result<(), IndexError> {
    let segments = root.join(SEGMENT_FOLDER);
    let has_segments = segments.exists() && fs_err::read_dir(&segments)?.next().is_some();
    let has_manifests = manifest::names(root)?.len() > 1;
    if has_segments || has_manifests || wal::has_records(&root.join(WAL_FOLDER))? {
        let path = manifest::current_path(root);
        return Err(IndexError::corrupt(path, "it is missing, though the folder has documents"));
    }
    Ok(())
}

/// Removes what a creation that failed half-way has left.
pub(super) fn clear(root: &Path) -> Result<(), IndexError> {
    check_no_remains(root)?;
    remove_folder(&root.join(WAL_FOLDER))?;
    remove_folder(&root.join(SEGMENT_FOLDER))?;
    manifest::remove_others(root, 0)
}

/// Opens a collection: manifest, segments, log; then clears away what no
/// manifest names. Reads no more of the segments than what says where things
/// are in them, and what the log refers to.
pub(super) fn open(root: &Path) -> Result<Collection, IndexError> {
    if !manifest::exists(root) {
        if root.is_dir() {
            check_no_remains(root)?;
        }
        return Err(IndexError::NotFound { path: root.to_path_buf() });
    }
    let lock = FolderLock::acquire(root)?;
    let manifest = manifest::load(root)?;
    let mut state = sealed_state(root, &manifest)?;
    let (wal, older_wal_bytes) = replay_log(root, &manifest, &mut state)?;
    remove_orphan_segments(root, &manifest)?;
    saved::remove_unfinished(root)?;
    remove_unneeded(root, &manifest)?;
    start(root, lock, manifest, Writer::new(wal, older_wal_bytes, state))
}

fn start(
    root: &Path,
    lock: FolderLock,
    manifest: Manifest,
    writer: Writer,
) -> Result<Collection, IndexError> {
    let shared = Shared {
        root: root.to_path_buf(),
        config: Arc::clone(&writer.state.config),
        current: ArcSwap::from_pointee(writer.state.clone()),
        commit: GroupCommit::new(Arc::clone(writer.wal.file()), writer.state.last_sequence),
        writer: Mutex::new(writer),
        room: Condvar::new(),
        ledger: Mutex::new(Ledger::new(manifest)),
        compacting: Mutex::new(()),
        graveyard: Graveyard::default(),
        seal_signal: Arc::default(),
        compaction_signal: Arc::default(),
        check_signal: Arc::default(),
        stop: Stop::default(),
        is_closed: AtomicBool::new(false),
    };
    Collection::start(shared, lock)
}

/// Opens everything that a manifest names.
fn sealed_state(root: &Path, manifest: &Manifest) -> Result<Snapshot, IndexError> {
    let config = &manifest.config;
    config.validate().map_err(|error| IndexError::corrupt(root, error.to_string()))?;
    let mut segments = Vec::with_capacity(manifest.segments.len());
    for entry in &manifest.segments {
        let folder = segment::folder(&root.join(SEGMENT_FOLDER), entry.id);
        let segment = Segment::open(&folder, entry, config.dimension)?;
        let dead = match &entry.tombstones {
            None => RoaringBitmap::new(),
            Some(dead) => tombstones::read(&folder, dead, entry.rows)?,
        };
        segments.push(SegmentView { segment: Arc::new(segment), dead: Arc::new(dead) });
    }
    Ok(Snapshot {
        config: Arc::new(config.clone()),
        segments: Arc::new(segments),
        frozen: Tail::default(),
        tail: Tail::default(),
        last_sequence: manifest.last_sequence,
    })
}

/// Applies what the log has beyond the manifest, and returns the log to go on
/// with and the bytes of the files before it.
fn replay_log(
    root: &Path,
    manifest: &Manifest,
    state: &mut Snapshot,
) -> Result<(Wal, u64), IndexError> {
    let folder = root.join(WAL_FOLDER);
    let numbers = wal::pending(&folder, manifest.wal_start)?;
    let mut next_sequence = manifest.last_sequence + 1;
    let mut older_bytes = 0;
    let mut last_length = None;
    for (position, &number) in numbers.iter().enumerate() {
        let is_last = position + 1 == numbers.len();
        let end = replay(&folder, number, is_last, next_sequence, |sequence, operation| {
            operation.validate(state.config.dimension).map_err(|error| {
                IndexError::corrupt(&folder, format!("sequence {sequence}: {error}"))
            })?;
            apply(state, &mut Vec::new(), sequence, operation);
            Ok(())
        })?;
        next_sequence = end.next_sequence;
        older_bytes += last_length.unwrap_or(0);
        last_length = end.length;
    }
    state.check_sound()?;
    let last = numbers.last().copied().unwrap_or(manifest.wal_start);
    let wal = match last_length {
        Some(length) => Wal::resume(&folder, last, length)?,
        None => Wal::create(&folder, last)?,
    };
    Ok((wal, older_bytes))
}

/// Removes folders of segments that a crash kept from getting into a manifest.
fn remove_orphan_segments(root: &Path, manifest: &Manifest) -> Result<(), IndexError> {
    let folder = root.join(SEGMENT_FOLDER);
    let named: Vec<_> =
        manifest.segments.iter().map(|entry| segment::folder(&folder, entry.id)).collect();
    for entry in fs_err::read_dir(&folder)? {
        let entry = entry?;
        let path = entry.path();
        if named.contains(&path) {
            continue;
        }
        tracing::warn!(path = %path.display(), "removing an unfinished segment");
        if entry.file_type()?.is_dir() {
            remove_folder(&path)?;
        } else {
            remove_file(&path)?;
        }
    }
    Ok(())
}

/// Removes files that the manifest no longer needs: those of the manifest
/// before, or what a crash has left of an attempt at the next.
pub(super) fn remove_unneeded(root: &Path, manifest: &Manifest) -> Result<(), IndexError> {
    wal::remove_before(&root.join(WAL_FOLDER), manifest.wal_start)?;
    manifest::remove_others(root, manifest.number)?;
    for entry in &manifest.segments {
        let folder = segment::folder(&root.join(SEGMENT_FOLDER), entry.id);
        let generation = entry.tombstones.as_ref().map(|dead| dead.generation);
        tombstones::remove_others(&folder, generation)?;
    }
    Ok(())
}
