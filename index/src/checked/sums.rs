//! `sums.bin`: a checksum for each block of each sealed file of a segment.
//!
//! ```text
//! magic u64 | format u32 | count u32 | roots u32 * pages | checksums u32 * count
//! ```
//! The checksums of the files' blocks lie end to end, file after file. A root is
//! the checksum of 1024 of them, a page; the manifest has the checksum of all
//! that is before them. So a block can be verified by reading its page of
//! checksums and, at the opening, four bytes for each 4 MiB of data.

use super::{BLOCK_BYTES, bits::Bits};
use crate::{
    codec::Reader,
    durable::{map_sized, write_file},
    error::IndexError,
    manifest::{FileEntry, SumsEntry},
};
use arrow::buffer::Buffer;
use std::{
    ops::Range,
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 8] = b"TWN-SUM\n";
const FORMAT: u32 = 1;
const HEAD_BYTES: usize = 16;
const SUM_BYTES: usize = 4;

/// Checksums under one root.
const PAGE_SUMS: usize = 1024;

/// The checksums of a segment's blocks, mapped.
#[derive(Debug)]
pub(crate) struct Sums {
    path: PathBuf,
    bytes: Buffer,
    count: usize,
    /// Pages that agree with their root.
    seen: Bits,
}

/// Returns how many blocks a file of some length has.
pub(super) fn blocks(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX).div_ceil(BLOCK_BYTES)
}

impl Sums {
    /// Reads files back that were just written, compares them with what was
    /// written, and writes the checksums of their blocks.
    pub(crate) fn write(
        path: &Path,
        files: &[(PathBuf, &FileEntry)],
    ) -> Result<SumsEntry, IndexError> {
        let mut sums = Vec::new();
        for (path, entry) in files {
            let bytes = map_sized(path, entry.bytes)?;
            if add_sums(&bytes, &mut sums) != entry.crc32c {
                return Err(IndexError::corrupt(path, "it is not what was written"));
            }
        }
        let bytes = encode(&sums);
        write_file(path, &bytes)?;
        Ok(entry(&bytes, sums.len()))
    }

    /// Makes the checksums of one file, in memory.
    pub(super) fn of_one(path: &Path, bytes: &[u8]) -> Result<Self, IndexError> {
        let mut sums = Vec::new();
        add_sums(bytes, &mut sums);
        let bytes = encode(&sums);
        let entry = entry(&bytes, sums.len());
        Self::read(path, Buffer::from(bytes), &entry, sums.len())
    }

    /// Maps the checksums of `count` blocks and verifies their roots.
    pub(crate) fn open(path: &Path, entry: &SumsEntry, count: usize) -> Result<Self, IndexError> {
        Self::read(path, map_sized(path, entry.file.bytes)?, entry, count)
    }

    fn read(
        path: &Path,
        bytes: Buffer,
        entry: &SumsEntry,
        count: usize,
    ) -> Result<Self, IndexError> {
        let start = head_length(count);
        let due = count.checked_mul(SUM_BYTES).and_then(|length| length.checked_add(start));
        if due != Some(bytes.len()) || crc32c::crc32c(&bytes[..start]) != entry.head_crc32c {
            return Err(IndexError::corrupt(path, "it is not the checksums of these files"));
        }
        let mut reader = Reader::new(&bytes);
        let (magic, found) = (reader.take(MAGIC.len()), reader.u32());
        if let Some(found) = found.filter(|&found| found > FORMAT) {
            let path = path.to_path_buf();
            return Err(IndexError::NewerFormat { path, found, supported: FORMAT });
        }
        if magic != Some(MAGIC) || reader.u32() != u32::try_from(count).ok() {
            return Err(IndexError::corrupt(path, "its head is not that of checksums"));
        }
        let seen = Bits::new(count.div_ceil(PAGE_SUMS));
        Ok(Self { path: path.to_path_buf(), bytes, count, seen })
    }

    /// Returns the checksum of a block; `None` if the page it is on is damaged.
    pub(super) fn get(&self, number: usize) -> Option<u32> {
        let page = number / PAGE_SUMS;
        if number >= self.count || !(self.seen.contains(page) || self.verify(page)) {
            return None;
        }
        self.word(self.place(number).start)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn verify(&self, page: usize) -> bool {
        let last = self.count.min((page + 1) * PAGE_SUMS) - 1;
        let place = self.place(page * PAGE_SUMS).start..self.place(last).end;
        let is_sound =
            self.word(HEAD_BYTES + page * SUM_BYTES) == Some(crc32c::crc32c(&self.bytes[place]));
        if is_sound {
            self.seen.insert(page);
        }
        is_sound
    }

    fn place(&self, number: usize) -> Range<usize> {
        let start = head_length(self.count) + number * SUM_BYTES;
        start..start + SUM_BYTES
    }

    fn word(&self, at: usize) -> Option<u32> {
        self.bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }
}

/// Returns the length of everything before the checksums.
fn head_length(count: usize) -> usize {
    HEAD_BYTES + count.div_ceil(PAGE_SUMS) * SUM_BYTES
}

/// Adds the checksums of a file's blocks and returns that of the whole file.
fn add_sums(bytes: &[u8], sums: &mut Vec<u32>) -> u32 {
    bytes.chunks(BLOCK_BYTES).fold(0, |whole, block| {
        sums.push(crc32c::crc32c(block));
        crc32c::crc32c_append(whole, block)
    })
}

fn encode(sums: &[u32]) -> Vec<u8> {
    let table: Vec<u8> = sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
    let mut bytes = Vec::with_capacity(head_length(sums.len()) + table.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&(sums.len() as u32).to_le_bytes());
    for page in table.chunks(PAGE_SUMS * SUM_BYTES) {
        bytes.extend_from_slice(&crc32c::crc32c(page).to_le_bytes());
    }
    bytes.extend_from_slice(&table);
    bytes
}

fn entry(bytes: &[u8], count: usize) -> SumsEntry {
    let file = FileEntry { bytes: bytes.len() as u64, crc32c: crc32c::crc32c(bytes) };
    SumsEntry { file, head_crc32c: crc32c::crc32c(&bytes[..head_length(count)]) }
}
