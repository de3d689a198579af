//! Segments: documents that were sealed, with all that searching them takes.
//!
//! A segment is a folder of files written once and then only mapped. Rows are
//! numbered by ascending id. A segment never changes: that a row is dead is
//! known beside it, in tombstones.

mod arrow_file;
mod codes;
mod ids;
mod payload;
pub(crate) mod sections;
pub(crate) mod tombstones;
mod vectors;
mod writer;

pub(crate) use codes::{Codes, RESCORED_PER_HIT};
pub(crate) use ids::Ids;
pub(crate) use vectors::Vectors;
pub(crate) use writer::write;

use crate::{
    document::StoredDocument,
    error::IndexError,
    filter::{Filter, FilterIndex, MatchCache, Matching},
    graph::{Graph, Recall},
    manifest::SegmentEntry,
};
use payload::Payloads;
use sections::map_checked;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

const VECTORS: &str = "vectors.arrow";
const PAYLOAD: &str = "payload.arrow";
const IDS: &str = "ids.bin";
const FILTERS: &str = "filters.bin";
const GRAPH: &str = "graph.bin";
const CODES: &str = "sq8.arrow";

/// One open segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) ids: Ids,
    pub(crate) vectors: Arc<Vectors>,
    pub(crate) filters: FilterIndex,
    pub(crate) graph: Option<Graph>,
    /// What widths of walks find; empty where there is no graph.
    pub(crate) recall_curve: Vec<Recall>,
    /// There where the collection quantises and the segment has a graph.
    pub(crate) codes: Option<Codes>,
    /// Bytes of all its files at the time it was opened.
    pub(crate) bytes: u64,
    matches: MatchCache,
    payloads: Payloads,
    folder: PathBuf,
}

impl Segment {
    /// Maps a segment's files: the small ones checked in full, the large ones
    /// as far as their structure goes (see [`verify`]).
    pub(crate) fn open(
        folder: &Path,
        entry: &SegmentEntry,
        dimension: usize,
    ) -> Result<Self, IndexError> {
        let rows = entry.rows;
        let vectors = Vectors::open(&folder.join(VECTORS), &entry.vectors, dimension, rows)?;
        let graph = match &entry.graph {
            None => None,
            Some(file) => Some(Graph::open(&folder.join(GRAPH), file, rows)?),
        };
        let codes = match &entry.codes {
            None => None,
            Some(file) => Some(Codes::open(&folder.join(CODES), file, dimension, rows)?),
        };
        Ok(Self {
            ids: Ids::open(&folder.join(IDS), &entry.ids, rows)?,
            vectors: Arc::new(vectors),
            filters: FilterIndex::open(&folder.join(FILTERS), &entry.filters, rows)?,
            graph,
            recall_curve: entry.recall_curve.clone(),
            codes,
            bytes: entry.bytes(),
            matches: MatchCache::default(),
            payloads: Payloads::open(&folder.join(PAYLOAD), &entry.payload, rows)?,
            folder: folder.to_path_buf(),
        })
    }

    pub(crate) fn rows(&self) -> u32 {
        self.ids.len()
    }

    /// Returns the rows that match a filter, dead ones included.
    pub(crate) fn matching(&self, filter: &Filter) -> Result<Arc<Matching>, IndexError> {
        if let Some(known) = self.matches.get(filter) {
            return Ok(known);
        }
        let matching = Arc::new(Matching::new(self.filters.evaluate(filter)?, self.rows()));
        self.matches.put(filter, &matching, self.rows());
        Ok(matching)
    }

    /// Returns the id of a row.
    pub(crate) fn id(&self, row: u32) -> Result<String, IndexError> {
        String::from_utf8(self.ids.id(row).to_vec()).map_err(|_| {
            IndexError::corrupt(self.folder.join(IDS), format!("the id of row {row} is no text"))
        })
    }

    /// Reads the document of a row.
    pub(crate) fn read(&self, row: u32) -> Result<StoredDocument, IndexError> {
        let id = self.id(row)?;
        let shown = self.payloads.read(row)?;
        Ok(StoredDocument {
            id,
            text: shown.text,
            payload: shown.payload,
            provenance: shown.provenance,
            thought: shown.thought,
            content_hash: self.ids.content_hash(row),
            sequence: self.ids.sequence(row),
            vector: self.vectors.row(row).to_vec(),
        })
    }
}

/// Returns the folder of a segment.
pub(crate) fn folder(segments: &Path, id: u64) -> PathBuf {
    segments.join(format!("{id:08}"))
}

/// Reads every byte of a segment's files and compares all checksums.
pub(crate) fn verify(folder: &Path, entry: &SegmentEntry) -> Result<(), IndexError> {
    arrow_file::verify(&folder.join(VECTORS), &entry.vectors)?;
    arrow_file::verify(&folder.join(PAYLOAD), &entry.payload)?;
    map_checked(&folder.join(IDS), &entry.ids)?;
    map_checked(&folder.join(FILTERS), &entry.filters)?;
    if let Some(graph) = &entry.graph {
        map_checked(&folder.join(GRAPH), graph)?;
    }
    if let Some(codes) = &entry.codes {
        arrow_file::verify(&folder.join(CODES), codes)?;
    }
    if let Some(dead) = &entry.tombstones {
        tombstones::read(folder, dead, entry.rows)?;
    }
    Ok(())
}
