//! A mapped file whose blocks are verified as they are read.

use super::{
    BLOCK_BYTES,
    alarm::Alarm,
    bits::Bits,
    sums::{Sums, blocks},
};
use crate::{
    durable::{Ahead, map_ahead, map_sized},
    error::IndexError,
    manifest::FileEntry,
};
use arrow::buffer::Buffer;
use fs_err::File;
use std::{
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Bytes that the background thread verifies at a time.
const STRETCH_BYTES: usize = 1 << 20;

/// Bytes that it reads at a time, which is what it takes of memory.
const READ_BYTES: usize = 64 << 10;

/// A stretch that takes longer than this came from the disk.
const FROM_MEMORY: Duration = Duration::from_millis(2);

/// The longest rest after a stretch from the disk.
const MOST_REST: Duration = Duration::from_millis(100);

/// A sealed file, mapped.
#[derive(Debug)]
pub(crate) struct CheckedFile {
    path: PathBuf,
    bytes: Buffer,
    blocks: Option<Blocks>,
    is_whole: AtomicBool,
    alarm: Arc<Alarm>,
}

/// What a file's blocks are compared with, and which have been.
#[derive(Debug)]
struct Blocks {
    ahead: Ahead,
    sums: Arc<Sums>,
    /// The number of the first block's checksum.
    first_sum: usize,
    seen: Bits,
}

impl CheckedFile {
    /// Maps a file of the size that the manifest gives, whose blocks have the
    /// next checksums of `sums` from `next_sum` on.
    pub(crate) fn open(
        path: &Path,
        entry: &FileEntry,
        sums: &Arc<Sums>,
        next_sum: &mut usize,
        alarm: &Arc<Alarm>,
    ) -> Result<Arc<Self>, IndexError> {
        let (bytes, ahead) = map_ahead(path, entry.bytes)?;
        let count = blocks(entry.bytes);
        let first_sum = *next_sum;
        *next_sum += count;
        let (sums, seen) = (Arc::clone(sums), Bits::new(count));
        let blocks = Blocks { ahead, sums, first_sum, seen };
        Ok(Arc::new(Self {
            path: path.to_path_buf(),
            bytes,
            blocks: Some(blocks),
            is_whole: AtomicBool::new(false),
            alarm: Arc::clone(alarm),
        }))
    }

    /// Maps a file that this process has just written, while it has no
    /// checksums yet.
    pub(crate) fn just_written(path: &Path, entry: &FileEntry) -> Result<Arc<Self>, IndexError> {
        Ok(Arc::new(Self {
            path: path.to_path_buf(),
            bytes: map_sized(path, entry.bytes)?,
            blocks: None,
            is_whole: AtomicBool::new(true),
            alarm: Arc::default(),
        }))
    }

    /// Maps a file with checksums made of what it has now, as if they were those
    /// that it was written with: for tests and for those who feed it anything.
    pub(crate) fn alone(path: &Path, entry: &FileEntry) -> Result<Arc<Self>, IndexError> {
        let sums = Sums::of_one(path, &map_sized(path, entry.bytes)?)?;
        Self::open(path, entry, &Arc::new(sums), &mut 0, &Arc::default())
    }

    /// Refuses if anything was found damaged.
    pub(crate) fn check_sound(&self) -> Result<(), IndexError> {
        self.alarm.check()
    }

    /// Returns how many blocks have checksums, of files of these lengths.
    pub(crate) fn count_blocks(lengths: impl Iterator<Item = u64>) -> usize {
        lengths.map(blocks).sum()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the map, of which [`Self::is_sound`] parts may be believed.
    pub(crate) fn bytes(&self) -> &Buffer {
        &self.bytes
    }

    /// Tells whether everything in it has been verified.
    #[inline]
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole.load(Ordering::Acquire)
    }

    /// Has reads go without checks from now on; for when every block was
    /// verified and what is in them makes sense.
    pub(crate) fn set_whole(&self) {
        self.is_whole.store(true, Ordering::Release);
    }

    /// Tells whether the bytes in a range are as they were written; raises the
    /// alarm where not.
    #[inline]
    pub(crate) fn is_sound(&self, range: Range<usize>) -> bool {
        self.is_whole() || self.check(range)
    }

    /// Has a range read from disk that has not been yet, without waiting for it.
    pub(crate) fn will_need(&self, range: Range<usize>) {
        let Some(blocks) = &self.blocks else { return };
        if range.is_empty() || self.is_whole() {
            return;
        }
        let mut numbers = range.start / BLOCK_BYTES..(range.end - 1) / BLOCK_BYTES + 1;
        if numbers.any(|number| !blocks.seen.contains(number)) {
            blocks.ahead.will_need(range);
        }
    }

    /// Refuses a range that is not as it was written, or not there.
    pub(crate) fn ensure(&self, range: Range<usize>) -> Result<(), IndexError> {
        let is_there = range.start <= range.end && range.end <= self.bytes.len();
        if is_there && self.is_sound(range) {
            return Ok(());
        }
        self.alarm.check()?;
        Err(IndexError::corrupt(&self.path, "a part of it lies outside of it"))
    }

    /// Raises the alarm over what is in the file.
    #[cold]
    pub(crate) fn raise(&self, problem: &str) {
        self.alarm.raise(&self.path, problem.to_owned());
    }

    fn check(&self, range: Range<usize>) -> bool {
        let Some(blocks) = &self.blocks else { return true };
        if range.is_empty() {
            return true;
        }
        let mut numbers = range.start / BLOCK_BYTES..(range.end - 1) / BLOCK_BYTES + 1;
        numbers.all(|number| blocks.seen.contains(number) || self.check_block(blocks, number))
    }

    #[cold]
    fn check_block(&self, blocks: &Blocks, number: usize) -> bool {
        let start = number * BLOCK_BYTES;
        let Some(due) = blocks.sums.get(blocks.first_sum + number) else {
            self.alarm
                .raise(blocks.sums.path(), "the checksum of its checksums differs".to_owned());
            return false;
        };
        let end = self.bytes.len().min(start + BLOCK_BYTES);
        if self.bytes.get(start..end).map(crc32c::crc32c) != Some(due) {
            let problem = format!("the checksum of its bytes from {start} on differs");
            self.alarm.raise(&self.path, problem);
            return false;
        }
        blocks.seen.insert(number);
        true
    }

    /// Verifies all blocks that have not been; false if one is damaged or
    /// `is_over` said so first.
    ///
    /// Reads ahead in large pieces, and where these come from the disk leaves it
    /// to others for as long as it has used it.
    pub(crate) fn check_all(&self, is_over: &dyn Fn() -> bool) -> Result<bool, IndexError> {
        if self.is_whole() {
            return Ok(true);
        }
        let file = File::open(&self.path)?;
        let mut read = vec![0; READ_BYTES.min(self.bytes.len())];
        for start in (0..self.bytes.len()).step_by(STRETCH_BYTES) {
            if is_over() {
                return Ok(false);
            }
            let started = Instant::now();
            let end = self.bytes.len().min(start + STRETCH_BYTES);
            for from in (start..end).step_by(READ_BYTES) {
                // For the page cache's sake; what counts is what the map has then.
                file.file().read_at(&mut read, from as u64)?;
            }
            if !self.check(start..end) {
                return Ok(false);
            }
            let elapsed = started.elapsed();
            if elapsed > FROM_MEMORY {
                thread::sleep(elapsed.min(MOST_REST));
            }
        }
        Ok(true)
    }
}

/// Maps a file of the size and checksum that the manifest gives, reading it in
/// full.
pub(crate) fn map_checked(path: &Path, entry: &FileEntry) -> Result<Buffer, IndexError> {
    let file = map_sized(path, entry.bytes)?;
    if crc32c::crc32c(&file) != entry.crc32c {
        return Err(IndexError::corrupt(path, "its checksum differs"));
    }
    Ok(file)
}
