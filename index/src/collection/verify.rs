//! Reading every byte of a collection, and naming each file that is not as it
//! was written.

use super::{Collection, SEGMENT_FOLDER, Shared, WAL_FOLDER, saved};
use crate::{
    checked::map_checked,
    durable::FolderLock,
    error::IndexError,
    manifest::{self, Manifest},
    segment::{self, tombstones},
    wal,
};
use std::path::{Path, PathBuf};

/// A file that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What was found.
    pub problem: String,
}

/// What verifying a collection found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Files that are not as they were written; empty if all is well.
    pub damage: Vec<Damage>,
}

impl Verified {
    /// Turns the first damage, if there is any, into an error.
    pub fn into_result(self) -> Result<Self, IndexError> {
        match self.damage.first() {
            None => Ok(self),
            Some(Damage { path, problem }) => Err(IndexError::corrupt(path, problem)),
        }
    }

    /// Counts a file and notes what a check of it finds.
    pub(super) fn check(&mut self, path: &Path, check: impl FnOnce() -> Result<(), IndexError>) {
        self.files += 1;
        self.bytes += fs_err::metadata(path).map_or(0, |metadata| metadata.len());
        if let Err(error) = check() {
            self.note(path, error);
        }
    }

    fn note(&mut self, path: &Path, error: IndexError) {
        let damage = match error {
            IndexError::Corrupt { path, problem } => Damage { path, problem },
            error => Damage { path: path.to_path_buf(), problem: error.to_string() },
        };
        self.damage.push(damage);
    }

    fn sealed_files(&mut self, root: &Path, manifest: &Manifest) {
        for entry in &manifest.segments {
            let folder = segment::folder(&root.join(SEGMENT_FOLDER), entry.id);
            for (name, file) in segment::all_files(entry) {
                let path = folder.join(name);
                self.check(&path, || map_checked(&path, file).map(drop));
            }
        }
    }

    fn tombstones(&mut self, root: &Path, manifest: &Manifest) {
        for entry in &manifest.segments {
            let Some(dead) = &entry.tombstones else { continue };
            let folder = segment::folder(&root.join(SEGMENT_FOLDER), entry.id);
            let path = folder.join(tombstones::file_name(dead.generation));
            self.check(&path, || tombstones::read(&folder, dead, entry.rows).map(drop));
        }
    }

    fn snapshots(&mut self, root: &Path) -> Result<(), IndexError> {
        for name in saved::names(root)? {
            let found = saved::verify_saved(&saved::folder(root, &name))?;
            self.files += found.files;
            self.bytes += found.bytes;
            self.damage.extend(found.damage);
        }
        Ok(())
    }
}

impl Collection {
    /// Reads every file, those of saved snapshots included, and compares each
    /// with its checksum.
    ///
    /// Opening checks the small files and the structure of the large ones; this
    /// finds any other changed byte too. Reads and writes go on meanwhile; a seal
    /// waits while the log is read.
    pub fn verify(&self) -> Result<Verified, IndexError> {
        let shared = &self.shared;
        let mut verified = Verified::default();
        let root = self.path();
        // The segments named by the ledger keep their folders while this lives.
        let (manifest, _pinned) = {
            let ledger = shared.lock_ledger();
            shared.check_open()?;
            let manifest = &ledger.manifest;
            verified.check(&manifest::current_path(root), || {
                let stored = manifest::load(root)?;
                if stored == *manifest {
                    return Ok(());
                }
                let problem = format!("it is not number {}, which counts", manifest.number);
                Err(IndexError::corrupt(manifest::path(root, stored.number), problem))
            });
            let end = {
                let writer = shared.lock_writer()?;
                wal::End { number: writer.wal.number(), length: writer.wal.length() }
            };
            verified.log(root, manifest, LogEnd::At(end))?;
            verified.tombstones(root, manifest);
            (manifest.clone(), self.snapshot())
        };
        verified.sealed_files(root, &manifest);
        verified.snapshots(root)?;
        Ok(verified)
    }

    /// Does what [`Self::verify`] does to a collection that nobody has open,
    /// even if it is too damaged to be opened. Changes nothing in it.
    pub fn verify_folder(dir: &Path) -> Result<Verified, IndexError> {
        if !dir.is_dir() {
            return Err(IndexError::NotFound { path: dir.to_path_buf() });
        }
        let _lock = FolderLock::acquire(dir)?;
        let mut verified = Verified::default();
        let path = manifest::current_path(dir);
        match manifest::load(dir) {
            Err(error @ IndexError::NotFound { .. }) => return Err(error),
            Err(error) => verified.note(&path, error),
            Ok(manifest) => {
                verified.check(&path, || Ok(()));
                verified.log(dir, &manifest, LogEnd::MayBeTorn)?;
                verified.tombstones(dir, &manifest);
                verified.sealed_files(dir, &manifest);
            }
        }
        verified.snapshots(dir)?;
        Ok(verified)
    }
}

impl Shared {
    /// Verifies what nobody has read yet of the segments, so that reads need not
    /// look any more; the background thread's work. Damage raises the segment's
    /// alarm, which those who read it ask.
    pub(super) fn check_segments(&self) -> Result<bool, IndexError> {
        let is_over = || self.stop.is_requested();
        for view in self.current.load_full().segments.iter() {
            view.segment.check_all(&is_over)?;
        }
        Ok(false)
    }
}

/// Verifies the files of a saved snapshot, whose log is whole.
pub(super) fn verify_files(root: &Path, verified: &mut Verified) -> Result<(), IndexError> {
    let path = manifest::current_path(root);
    match manifest::load(root) {
        Err(IndexError::NotFound { .. }) => {
            verified.note(&path, IndexError::corrupt(&path, "it is missing"));
        }
        Err(error) => verified.note(&path, error),
        Ok(manifest) => {
            verified.check(&path, || Ok(()));
            verified.log(root, &manifest, LogEnd::IsWhole)?;
            verified.tombstones(root, &manifest);
            verified.sealed_files(root, &manifest);
        }
    }
    Ok(())
}

/// What is known of where a log ends.
#[derive(Clone, Copy)]
enum LogEnd {
    /// It was written up to here and may be growing.
    At(wal::End),
    /// It ends with its last file.
    IsWhole,
    /// A crash may have torn its last record, which nobody was promised.
    MayBeTorn,
}

impl Verified {
    fn log(&mut self, root: &Path, manifest: &Manifest, end: LogEnd) -> Result<(), IndexError> {
        let folder = root.join(WAL_FOLDER);
        let numbers = match wal::present(&folder, manifest.wal_start) {
            Ok(numbers) => numbers,
            Err(error) => {
                self.note(&folder, error);
                return Ok(());
            }
        };
        let last = match end {
            LogEnd::At(end) => end.number,
            LogEnd::IsWhole | LogEnd::MayBeTorn => numbers.last().copied().unwrap_or(0),
        };
        let mut next_sequence = manifest.last_sequence + 1;
        for number in numbers.into_iter().filter(|&number| number <= last) {
            let path = wal::file_path(&folder, number);
            let is_last = number == last;
            self.check(&path, || {
                let read = wal::replay(&folder, number, is_last, next_sequence, |_, _| Ok(()))?;
                next_sequence = read.next_sequence;
                let due = match end {
                    LogEnd::At(end) if is_last => end.length,
                    LogEnd::IsWhole if is_last => fs_err::metadata(&path)?.len(),
                    _ => return Ok(()),
                };
                let got = read.length.unwrap_or(0);
                if got >= due {
                    return Ok(());
                }
                let problem = format!("it is readable up to byte {got} of {due}");
                Err(IndexError::corrupt(&path, problem))
            });
        }
        Ok(())
    }
}
