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
use crate::{error::IndexError, manifest::FileEntry};
use arrow::buffer::{Buffer, ScalarBuffer};
use std::{cmp::Ordering, path::Path};

const HASH_BYTES: usize = 32;

/// The ids of a segment, mapped.
#[derive(Debug)]
pub(crate) struct Ids {
    starts: ScalarBuffer<u64>,
    bytes: Buffer,
    sequences: ScalarBuffer<u64>,
    hashes: Buffer,
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

    /// Maps the ids and checks their checksum and order of starts.
    pub(super) fn open(path: &Path, entry: &FileEntry, rows: u32) -> Result<Self, IndexError> {
        let sections = Sections::open(path, SectionKind::Ids, entry)?;
        let ids = Self {
            starts: sections.scalars(0)?,
            bytes: sections.bytes(1)?,
            sequences: sections.scalars(2)?,
            hashes: sections.bytes(3)?,
        };
        let rows = rows as usize;
        let is_whole = ids.starts.len() == rows + 1
            && ids.starts.is_sorted()
            && ids.starts[rows] == ids.bytes.len() as u64
            && ids.sequences.len() == rows
            && ids.hashes.len() == rows * HASH_BYTES;
        if !is_whole {
            return Err(IndexError::corrupt(path, format!("it does not hold {rows} rows")));
        }
        Ok(ids)
    }

    pub(crate) fn len(&self) -> u32 {
        self.sequences.len() as u32
    }

    /// Returns the bytes of a row's id.
    pub(crate) fn id(&self, row: u32) -> &[u8] {
        let row = row as usize;
        &self.bytes[self.starts[row] as usize..self.starts[row + 1] as usize]
    }

    pub(crate) fn sequence(&self, row: u32) -> u64 {
        self.sequences[row as usize]
    }

    pub(crate) fn content_hash(&self, row: u32) -> [u8; 32] {
        let start = row as usize * HASH_BYTES;
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(&self.hashes[start..start + HASH_BYTES]);
        hash
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
