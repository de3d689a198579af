//! `ids.bin`: which row a document is, and what is asked about it most.
//!
//! Rows of a segment are sorted by id, so the file is its own index: an id is
//! found by halving, a page of a listing by walking on. Sections: where each id
//! starts (one more than there are rows), the ids end to end, sequence numbers,
//! content hashes.

use super::{
    rows::RowSource,
    sections::{SectionKind, SectionWriter, Sections},
};
use crate::{
    checked::{CheckedArray, CheckedFile},
    error::IndexError,
    manifest::FileEntry,
    simd::prefetch,
};
use std::{cmp::Ordering, path::Path, sync::Arc};

const HASH_BYTES: usize = 32;

/// The ids of a segment, mapped.
///
/// Where a part is damaged, what is returned of it is empty and the segment's
/// alarm is raised, which whoever asked has to look at (see [`crate::checked`]).
#[derive(Debug)]
pub(crate) struct Ids {
    file: Arc<CheckedFile>,
    starts: CheckedArray<u64>,
    bytes: CheckedArray<u8>,
    sequences: CheckedArray<u64>,
    hashes: CheckedArray<u8>,
}

impl Ids {
    /// Writes the ids of rows that are sorted by them.
    pub(super) fn write(path: &Path, rows: &impl RowSource) -> Result<FileEntry, IndexError> {
        let mut starts = Vec::with_capacity(rows.len() + 1);
        let mut bytes = Vec::new();
        starts.push(0_u64);
        for at in 0..rows.len() {
            bytes.extend_from_slice(rows.id(at));
            starts.push(bytes.len() as u64);
        }
        let sequences: Vec<u64> = (0..rows.len()).map(|at| rows.sequence(at)).collect();
        let hashes: Vec<[u8; 32]> = (0..rows.len()).map(|at| rows.content_hash(at)).collect();
        let mut file = SectionWriter::new(SectionKind::Ids);
        file.push(bytemuck::cast_slice(&starts));
        file.push(&bytes);
        file.push(bytemuck::cast_slice(&sequences));
        file.push(hashes.as_flattened());
        file.write(path)
    }

    /// Finds the ids in a mapped file.
    pub(super) fn open(file: &Arc<CheckedFile>, rows: u32) -> Result<Self, IndexError> {
        let sections = Sections::read(file, SectionKind::Ids)?;
        let ids = Self {
            file: Arc::clone(file),
            starts: sections.array(0)?,
            bytes: sections.array(1)?,
            sequences: sections.array(2)?,
            hashes: sections.array(3)?,
        };
        let rows = rows as usize;
        let is_whole = ids.starts.len() == rows + 1
            && ids.sequences.len() == rows
            && ids.hashes.len() == rows * HASH_BYTES
            && ids.starts.slice(rows..rows + 1) == Some(&[ids.bytes.len() as u64]);
        if !is_whole {
            let problem = format!("it does not hold {rows} rows");
            return Err(IndexError::corrupt(file.path(), problem));
        }
        Ok(ids)
    }

    /// Verifies everything, unless `is_over` says so first.
    pub(super) fn check_all(&self, is_over: &dyn Fn() -> bool) -> Result<(), IndexError> {
        if self.file.is_whole() || !self.file.check_all(is_over)? {
            return Ok(());
        }
        if self.starts.unchecked().is_sorted() {
            self.file.set_whole();
        } else {
            self.file.raise("its ids are not in a row");
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> u32 {
        self.sequences.len() as u32
    }

    /// Returns the bytes of a row's id.
    pub(crate) fn id(&self, row: u32) -> &[u8] {
        let row = row as usize;
        match self.starts.read(row..row + 2) {
            &[start, end] => self.bytes.read(start as usize..end as usize),
            _ => &[],
        }
    }

    /// Has what is kept of a row fetched.
    pub(crate) fn prefetch(&self, row: u32) {
        let row = row as usize;
        let hash = row * HASH_BYTES..(row + 1) * HASH_BYTES;
        self.starts.unchecked().get(row..row + 2).into_iter().for_each(prefetch);
        self.sequences.unchecked().get(row..row + 1).into_iter().for_each(prefetch);
        self.hashes.unchecked().get(hash).into_iter().for_each(prefetch);
    }

    pub(crate) fn sequence(&self, row: u32) -> u64 {
        self.sequences.at(row as usize)
    }

    pub(crate) fn content_hash(&self, row: u32) -> [u8; 32] {
        let start = row as usize * HASH_BYTES;
        let hash = self.hashes.read(start..start + HASH_BYTES);
        hash.first_chunk().copied().unwrap_or_default()
    }

    /// Finds the row of an id: `Err` has the row of the next greater one.
    pub(crate) fn find(&self, id: &str) -> Result<u32, u32> {
        self.find_bytes(id.as_bytes())
    }

    /// Finds the row of an id that another segment gave.
    pub(crate) fn find_bytes(&self, id: &[u8]) -> Result<u32, u32> {
        let (mut first, mut end) = (0, self.len());
        while first < end {
            let middle = first + (end - first) / 2;
            match self.id(middle).cmp(id) {
                Ordering::Equal => return Ok(middle),
                Ordering::Less => first = middle + 1,
                Ordering::Greater => end = middle,
            }
        }
        Err(first)
    }
}
