//! The write-ahead log: what makes a change outlive the process.
//!
//! A log is a row of numbered files. Each starts with a header naming its
//! number and goes on with records (see `record`). Files are appended to by
//! one writer under a lock, fsynced in groups (see `commit`), replaced by a
//! fresh one at each seal, and removed once a manifest covers them.
//!
//! Invariant: a file is on disk in full before the next one is begun, so only
//! the last file can have a torn end.

mod commit;
mod record;
mod replay;

pub(crate) use commit::GroupCommit;
pub(crate) use record::Draft;
pub use record::{MAX_BATCH_BYTES, MAX_BATCH_OPERATIONS};
pub(crate) use replay::replay;

use crate::{
    durable::{self, DurableFile, remove_file, rewrite, sync_folder},
    error::IndexError,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Opens every log file.
const MAGIC: &[u8; 8] = b"TWN-WAL\n";

/// The version of the log format.
const FORMAT: u32 = 1;

/// Bytes of a log file before its first record.
const FILE_HEADER_BYTES: usize = 24;

/// The log file being appended to.
pub(crate) struct Wal {
    folder: PathBuf,
    file: Arc<DurableFile>,
    number: u64,
    length: u64,
}

impl Wal {
    /// Starts a log file, durable with its header before this returns.
    pub(crate) fn create(folder: &Path, number: u64) -> Result<Self, IndexError> {
        let path = file_path(folder, number);
        // In place of a file left by a start that failed half-way, which has
        // no record in it.
        let file = DurableFile::create(&path)?;
        file.put(&file_header(number))?;
        file.sync()?;
        sync_folder(folder)?;
        let length = FILE_HEADER_BYTES as u64;
        Ok(Self { folder: folder.to_path_buf(), file: Arc::new(file), number, length })
    }

    /// Goes on with a replayed file, cut to the length that replay found whole.
    pub(crate) fn resume(folder: &Path, number: u64, length: u64) -> Result<Self, IndexError> {
        let path = file_path(folder, number);
        let file = DurableFile::append(&path)?;
        let got = file.length()?;
        if got != length {
            let torn_bytes = got.saturating_sub(length);
            tracing::warn!(path = %path.display(), length, torn_bytes, "cutting a torn log");
            file.truncate(length)?;
        }
        // The file may have been left by an fsync that failed.
        rewrite(&path)?;
        Ok(Self { folder: folder.to_path_buf(), file: Arc::new(file), number, length })
    }

    /// Hands one record to the operating system, whole or not at all.
    ///
    /// Where a failed write cannot be taken back either, the error is
    /// [`IndexError::Poisoned`], since what follows it would not be replayed.
    pub(crate) fn append(
        &mut self,
        draft: &mut Draft,
        sequence: u64,
        durable: u64,
    ) -> Result<(), IndexError> {
        let bytes = draft.finish(sequence, durable);
        if let Err(problem) = self.file.put(bytes) {
            return match self.file.truncate(self.length) {
                Ok(()) => Err(problem.into()),
                Err(_) => Err(IndexError::Poisoned { problem: problem.to_string() }),
            };
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Makes everything appended durable.
    pub(crate) fn sync(&self) -> Result<(), IndexError> {
        self.file.sync()?;
        Ok(())
    }

    /// Begins the next file; this one has been synced.
    pub(crate) fn create_next(&self) -> Result<Self, IndexError> {
        let next = Self::create(&self.folder, self.number + 1);
        if next.is_err() {
            // If this fails as well, opening drops the file for being empty.
            let _ = remove_file(&file_path(&self.folder, self.number + 1));
        }
        next
    }

    pub(crate) fn file(&self) -> &Arc<DurableFile> {
        &self.file
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }
}

/// Returns the numbers of the log files that have to be replayed, in order,
/// beginning with `first`.
///
/// Removes later files without a record: they are left where a seal could not
/// begin its file, and the writer went on with the one before.
pub(crate) fn pending(folder: &Path, first: u64) -> Result<Vec<u64>, IndexError> {
    let mut numbers = numbers(folder)?;
    numbers.retain(|&number| number >= first);
    while let Some(&last) = numbers.last().filter(|&&last| last > first) {
        let path = file_path(folder, last);
        if fs_err::metadata(&path)?.len() > FILE_HEADER_BYTES as u64 {
            break;
        }
        remove_file(&path)?;
        numbers.pop();
    }
    check_unbroken(folder, first, &numbers)?;
    Ok(numbers)
}

/// Returns the numbers of the log files from `first` on, without changing any.
pub(crate) fn present(folder: &Path, first: u64) -> Result<Vec<u64>, IndexError> {
    let mut numbers = numbers(folder)?;
    numbers.retain(|&number| number >= first);
    check_unbroken(folder, first, &numbers)?;
    Ok(numbers)
}

fn check_unbroken(folder: &Path, first: u64, numbers: &[u64]) -> Result<(), IndexError> {
    if let Some(missing) = (first..).zip(numbers).find_map(|(n, &got)| (n != got).then_some(n)) {
        return Err(IndexError::corrupt(file_path(folder, missing), "it is missing"));
    }
    if numbers.is_empty() {
        return Err(IndexError::corrupt(file_path(folder, first), "it is missing"));
    }
    Ok(())
}

/// Tells whether a folder has a log with anything in it.
pub(crate) fn has_records(folder: &Path) -> Result<bool, IndexError> {
    if !folder.exists() {
        return Ok(false);
    }
    for number in numbers(folder)? {
        let bytes = fs_err::metadata(file_path(folder, number))?.len();
        if number > 1 || bytes > FILE_HEADER_BYTES as u64 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A place in a log at the end of a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) number: u64,
    pub(crate) length: u64,
}

/// Copies a log from the file `first` up to `end`, whose last operation is
/// `last_sequence`, and closes the copy as a log that is closed. Durable.
pub(crate) fn copy(
    from: &Path,
    to: &Path,
    first: u64,
    end: End,
    last_sequence: u64,
) -> Result<(), IndexError> {
    durable::create_folder(to)?;
    for number in first..=end.number {
        let length = (number == end.number).then_some(end.length);
        durable::copy(&file_path(from, number), &file_path(to, number), length)?;
    }
    let mut last = Wal::resume(to, end.number, end.length)?;
    last.append(&mut Draft::new(&[])?, last_sequence + 1, last_sequence)?;
    last.sync()?;
    sync_folder(to)?;
    Ok(())
}

/// Copies all files of a log that nobody writes to. Durable.
pub(crate) fn copy_all(from: &Path, to: &Path) -> Result<(), IndexError> {
    durable::create_folder(to)?;
    for number in numbers(from)? {
        durable::copy(&file_path(from, number), &file_path(to, number), None)?;
    }
    sync_folder(to)?;
    Ok(())
}

fn numbers(folder: &Path) -> Result<Vec<u64>, IndexError> {
    let mut numbers = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".log"));
        numbers.extend(stem.and_then(|stem| stem.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes log files up to, but not including, `first_kept`.
pub(crate) fn remove_before(folder: &Path, first_kept: u64) -> Result<(), IndexError> {
    for number in numbers(folder)?.into_iter().filter(|&number| number < first_kept) {
        remove_file(&file_path(folder, number))?;
    }
    Ok(())
}

/// Returns where the log file of a number is.
pub(crate) fn file_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}.log"))
}

fn file_header(number: u64) -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[12..20].copy_from_slice(&number.to_le_bytes());
    let checksum = crc32c::crc32c(&header[..20]);
    header[20..].copy_from_slice(&checksum.to_le_bytes());
    header
}
