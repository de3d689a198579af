//! The manifest: which sealed files make up a collection, and from where on
//! the log adds to them.
//!
//! A manifest describes one moment: everything up to `last_sequence` is in its
//! segments and tombstones, everything after it in the log files from
//! `wal_start` on. Each seal and each compaction writes a new one; `CURRENT`
//! names the one that counts (see `store`).
//!
//! A compaction's segment may lack rows that an operation after `last_sequence`
//! deleted or replaced. That operation is on disk in the log by then, and
//! replaying it over a row that is gone comes to the same.

mod store;

pub(crate) use store::{
    current_path, exists, load, names, path, read_checked_json, remove_others, store,
    to_checked_json, with_header,
};

use crate::{config::CollectionConfig, graph::Recall, schema::Column};
use serde::{Deserialize, Serialize};

/// The state of a collection at the moment of a seal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Counts manifests; part of the file's name.
    pub(crate) number: u64,
    pub(crate) config: CollectionConfig,
    /// The last operation that the segments and tombstones include.
    pub(crate) last_sequence: u64,
    /// The log file with the operations after that.
    pub(crate) wal_start: u64,
    /// The id the next segment gets; ids are never used twice.
    pub(crate) next_segment: u64,
    pub(crate) segments: Vec<SegmentEntry>,
}

/// One segment, with what its files have to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SegmentEntry {
    pub(crate) id: u64,
    pub(crate) rows: u32,
    pub(crate) vectors: FileEntry,
    pub(crate) payload: FileEntry,
    pub(crate) ids: FileEntry,
    pub(crate) filters: FileEntry,
    /// Absent where the segment is small enough, or its vectors strange enough,
    /// that scanning it is the better search.
    pub(crate) graph: Option<FileEntry>,
    /// What widths of walks of the graph find.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) recall_curve: Vec<Recall>,
    /// The quantised vectors, where the collection has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) codes: Option<FileEntry>,
    /// The partitions of its rows; absent where there is no graph, and where the segment was
    /// written before there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) partitions: Option<FileEntry>,
    /// The checksums of the blocks of all these files.
    pub(crate) sums: SumsEntry,
    /// The fields of its payloads, those with a column in the Arrow file and
    /// those without.
    pub(crate) columns: Vec<Column>,
    pub(crate) tombstones: Option<TombstoneEntry>,
}

impl SegmentEntry {
    /// Returns the bytes of all the segment's files.
    pub(crate) fn bytes(&self) -> u64 {
        let tombstones = self.tombstones.as_ref().map(|entry| &entry.file);
        let some = [&self.graph, &self.codes, &self.partitions].map(Option::as_ref);
        let some = some.into_iter().chain([tombstones]).flatten();
        let always =
            [&self.vectors, &self.payload, &self.ids, &self.filters, &self.sums.file].into_iter();
        always.chain(some).map(|file| file.bytes).sum()
    }
}

/// A sealed file's size and checksum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    pub(crate) bytes: u64,
    pub(crate) crc32c: u32,
}

/// The file of checksums, the head of which is read at every opening.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SumsEntry {
    pub(crate) file: FileEntry,
    /// Checksum of everything before the blocks' checksums.
    pub(crate) head_crc32c: u32,
}

/// The rows of a segment that were dead at the moment of the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TombstoneEntry {
    /// Part of the file's name; the number of the manifest that wrote it.
    pub(crate) generation: u64,
    pub(crate) rows: u64,
    pub(crate) file: FileEntry,
}
