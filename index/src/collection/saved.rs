//! Saved snapshots: a collection as it was, kept by name beside what it becomes.
//!
//! ```text
//! snapshots/<name>/   a collection's folder without a lock, and
//!            SAVED    what the snapshot is
//! ```
//! Sealed files never change, so the snapshot's are further names of the same
//! bytes (hard links, or copies where the file system has none). The log goes on
//! changing, so what it has is copied. A snapshot is put together under a name
//! that ends in `.tmp` and renamed when every byte of it is on disk; removing goes
//! the other way. Whatever has such a name is removed by the next opening.

use super::{
    Collection, SEGMENT_FOLDER, SNAPSHOT_FOLDER, Shared, WAL_FOLDER,
    verify::{Verified, verify_files},
};
use crate::{
    durable::{
        TEMPORARY_SUFFIX, create_folder, link_or_copy, remove_folder, rename, sync_folder,
        write_file,
    },
    error::IndexError,
    manifest::{self, Manifest},
    segment::{self, tombstones},
    wal,
};
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// The most snapshots that one collection keeps.
pub const MAX_SNAPSHOTS: usize = 1000;

const MAX_NAME_BYTES: usize = 64;
const SAVED: &str = "SAVED";

/// What a saved snapshot is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSnapshot {
    /// Names it within its collection: 1 to 64 of a-z, 0-9, `-` and `_`,
    /// starting with a letter or a digit.
    pub name: String,
    /// When it was taken, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// The last operation it includes.
    pub last_sequence: u64,
    /// The documents it holds.
    pub documents: u64,
    /// Bytes of its files, those shared with the collection included.
    pub bytes: u64,
}

impl Collection {
    /// Saves the collection as it is now, under a name it has no snapshot of yet.
    ///
    /// Durable when this returns. Reads and writes go on; a seal waits, and a
    /// seal under way is waited for. The cost is that of copying what is in no
    /// segment yet.
    pub fn save_snapshot(&self, name: &str) -> Result<SavedSnapshot, IndexError> {
        self.shared.check_open()?;
        self.shared.save_snapshot(name)
    }

    /// Returns the saved snapshots by name.
    pub fn saved_snapshots(&self) -> Result<Vec<SavedSnapshot>, IndexError> {
        names(self.path())?.iter().map(|name| read(&folder(self.path(), name))).collect()
    }

    /// Removes a saved snapshot. What it shares with the collection stays.
    pub fn delete_snapshot(&self, name: &str) -> Result<(), IndexError> {
        let _ledger = self.shared.lock_ledger();
        self.shared.check_open()?;
        let kept = find(self.path(), name)?;
        let doomed = with_temporary_suffix(&kept);
        remove_folder(&doomed)?;
        rename(&kept, &doomed)?;
        sync_folder(&self.path().join(SNAPSHOT_FOLDER))?;
        Ok(remove_folder(&doomed)?)
    }

    /// Makes a new collection in the folder `to`, which must not exist, of a
    /// snapshot of the collection in `dir`, whether that one is open or damaged.
    ///
    /// Every byte of the snapshot is verified first. Durable when this returns.
    pub fn restore_snapshot(dir: &Path, name: &str, to: &Path) -> Result<(), IndexError> {
        let from = find(dir, name)?;
        if to.exists() {
            return Err(IndexError::AlreadyExists { path: to.to_path_buf() });
        }
        verify_saved(&from)?.into_result()?;
        let unfinished = with_temporary_suffix(to);
        remove_folder(&unfinished)?;
        let restored = restore(&from, &unfinished, to);
        if restored.is_err() {
            remove_quietly(&unfinished);
        }
        restored
    }
}

impl Shared {
    fn save_snapshot(&self, name: &str) -> Result<SavedSnapshot, IndexError> {
        check_name(name)?;
        let ledger = self.lock_ledger();
        self.check_open()?;
        let target = folder(&self.root, name);
        let refuse = |problem: &str| Err(bad(name, problem));
        if target.exists() {
            return refuse("it exists already");
        }
        if names(&self.root)?.len() >= MAX_SNAPSHOTS {
            return refuse("the collection has as many as it may");
        }
        let (log_end, last_sequence, documents) = {
            let writer = self.lock_writer()?;
            let end = wal::End { number: writer.wal.number(), length: writer.wal.length() };
            (end, writer.state.last_sequence, writer.state.len())
        };
        let snapshots = self.root.join(SNAPSHOT_FOLDER);
        if !snapshots.exists() {
            create_folder(&snapshots)?;
            sync_folder(&self.root)?;
        }
        let unfinished = with_temporary_suffix(&target);
        remove_folder(&unfinished)?;
        let saved = (|| {
            link_segments(&self.root, &unfinished, &ledger.manifest)?;
            let wal_start = ledger.manifest.wal_start;
            let to = unfinished.join(WAL_FOLDER);
            wal::copy(&self.wal_folder(), &to, wal_start, log_end, last_sequence)?;
            manifest::store(&unfinished, &ledger.manifest).map_err(own_failure)?;
            let saved = SavedSnapshot {
                name: name.to_owned(),
                created_unix_ms: now_unix_ms(),
                last_sequence,
                documents,
                bytes: bytes_of(&unfinished)?,
            };
            write_file(&unfinished.join(SAVED), &manifest::to_checked_json(&saved)?)?;
            sync_folder(&unfinished)?;
            rename(&unfinished, &target)?;
            sync_folder(&snapshots)?;
            Ok(saved)
        })();
        if saved.is_err() {
            remove_quietly(&unfinished);
        }
        saved
    }
}

/// Gives the files that a manifest names to a second collection's folder.
fn link_segments(from: &Path, to: &Path, manifest: &Manifest) -> Result<(), IndexError> {
    let (from_segments, to_segments) = (from.join(SEGMENT_FOLDER), to.join(SEGMENT_FOLDER));
    create_folder(&to_segments)?;
    for entry in &manifest.segments {
        let from = segment::folder(&from_segments, entry.id);
        let to = segment::folder(&to_segments, entry.id);
        create_folder(&to)?;
        for (name, _) in segment::all_files(entry) {
            link_or_copy(&from.join(name), &to.join(name))?;
        }
        if let Some(dead) = &entry.tombstones {
            let name = tombstones::file_name(dead.generation);
            link_or_copy(&from.join(&name), &to.join(&name))?;
        }
        sync_folder(&to)?;
    }
    sync_folder(&to_segments)?;
    Ok(())
}

fn restore(from: &Path, unfinished: &Path, to: &Path) -> Result<(), IndexError> {
    let manifest = manifest::load(from)?;
    link_segments(from, unfinished, &manifest)?;
    wal::copy_all(&from.join(WAL_FOLDER), &unfinished.join(WAL_FOLDER))?;
    manifest::store(unfinished, &manifest).map_err(own_failure)?;
    rename(unfinished, to)?;
    if let Some(parent) = to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_folder(parent)?;
    }
    Ok(())
}

/// Verifies every file of a saved snapshot.
pub(super) fn verify_saved(folder: &Path) -> Result<Verified, IndexError> {
    let mut verified = Verified::default();
    verified.check(&folder.join(SAVED), || read(folder).map(drop));
    verify_files(folder, &mut verified)?;
    Ok(verified)
}

/// Returns the names of the finished snapshots of a collection, in order.
pub(super) fn names(root: &Path) -> Result<Vec<String>, IndexError> {
    let snapshots = root.join(SNAPSHOT_FOLDER);
    if !snapshots.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs_err::read_dir(snapshots)? {
        let name = entry?.file_name().into_string();
        names.extend(name.ok().filter(|name| check_name(name).is_ok()));
    }
    names.sort_unstable();
    Ok(names)
}

/// Removes what was being put together or taken apart when the process ended.
pub(super) fn remove_unfinished(root: &Path) -> Result<(), IndexError> {
    let snapshots = root.join(SNAPSHOT_FOLDER);
    if !snapshots.exists() {
        return Ok(());
    }
    for entry in fs_err::read_dir(snapshots)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.ends_with(TEMPORARY_SUFFIX)) {
            remove_folder(&entry.path())?;
        }
    }
    Ok(())
}

/// Returns the folder of a snapshot of this name, whether there is one or not.
pub(super) fn folder(root: &Path, name: &str) -> PathBuf {
    root.join(SNAPSHOT_FOLDER).join(name)
}

fn find(root: &Path, name: &str) -> Result<PathBuf, IndexError> {
    check_name(name)?;
    let folder = folder(root, name);
    if folder.is_dir() { Ok(folder) } else { Err(bad(name, "there is none of this name")) }
}

fn read(folder: &Path) -> Result<SavedSnapshot, IndexError> {
    manifest::read_checked_json(&folder.join(SAVED))
}

fn bytes_of(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_of(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

/// A manifest that is not there for sure leaves only its snapshot unfinished.
fn own_failure(error: IndexError) -> IndexError {
    match error {
        IndexError::Poisoned { problem } => IndexError::Io(io::Error::other(problem)),
        error => error,
    }
}

fn with_temporary_suffix(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY_SUFFIX);
    name.into()
}

fn remove_quietly(folder: &Path) {
    if let Err(error) = remove_folder(folder) {
        tracing::warn!(%error, "an unfinished snapshot is left behind");
    }
}

fn now_unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn check_name(name: &str) -> Result<(), IndexError> {
    let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if name.len() <= MAX_NAME_BYTES && starts_well && name.bytes().all(is_allowed) {
        return Ok(());
    }
    let shown: String = name.chars().take(MAX_NAME_BYTES).collect();
    let problem = "its name must be 1 to 64 of a-z, 0-9, `-` and `_`, and start with a letter \
                   or a digit";
    Err(bad(&shown, problem))
}

fn bad(name: &str, problem: &str) -> IndexError {
    IndexError::BadSnapshot { name: name.to_owned(), problem: problem.to_owned() }
}
