//! Segments: documents that were sealed, with all that searching them takes.
//!
//! A segment is a folder of files written once and then only mapped. Rows are
//! numbered by ascending id. A segment never changes: that a row is dead is
//! known beside it, in tombstones.

mod arrow_file;
mod codes;
mod columns;
mod ids;
mod payload;
mod rows;
pub(crate) mod sections;
pub(crate) mod tombstones;
mod vectors;
mod writer;

pub(crate) use codes::{Codes, RESCORED_PER_HIT};
pub(crate) use ids::Ids;
pub(crate) use rows::{MergedRows, RowSource};
pub(crate) use vectors::Vectors;
pub(crate) use writer::write;

use crate::{
    document::StoredDocument,
    error::IndexError,
    filter::{Filter, FilterIndex, MatchCache, Matching},
    graph::{Graph, Recall},
    manifest::{FileEntry, SegmentEntry},
    schema::Column,
};
use payload::{Payloads, Shown};
use sections::map_checked;
use std::{
    borrow::Cow,
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
    /// The fields of its payloads.
    pub(crate) columns: Vec<Column>,
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
            payloads: Payloads::open(&folder.join(PAYLOAD), &entry.payload, rows, &entry.columns)?,
            columns: entry.columns.clone(),
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

    /// Reads what a row shows, lent from the map.
    pub(crate) fn shown(&self, row: u32) -> Result<Shown<'_>, IndexError> {
        self.payloads.read(row)
    }

    /// Reads the document of a row.
    pub(crate) fn read(&self, row: u32) -> Result<StoredDocument, IndexError> {
        let id = self.id(row)?;
        let shown = self.shown(row)?;
        Ok(StoredDocument {
            id,
            text: shown.text.into_owned(),
            payload: shown.payload.into_owned(),
            provenance: shown.provenance.into_owned(),
            thought: shown.thought.map(Cow::into_owned),
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

/// Returns the files of a segment that never change, by name: those to link
/// and to verify. Its tombstones are apart, since each manifest may have others.
pub(crate) fn sealed_files(entry: &SegmentEntry) -> Vec<(&'static str, &FileEntry)> {
    let mut files = vec![
        (VECTORS, &entry.vectors.file),
        (PAYLOAD, &entry.payload.file),
        (IDS, &entry.ids),
        (FILTERS, &entry.filters),
    ];
    files.extend(entry.graph.as_ref().map(|graph| (GRAPH, graph)));
    files.extend(entry.codes.as_ref().map(|codes| (CODES, &codes.file)));
    files
}

/// Reads every byte of a segment's sealed files and compares all checksums.
pub(crate) fn verify(folder: &Path, entry: &SegmentEntry) -> Result<(), IndexError> {
    let mut files = sealed_files(entry).into_iter();
    files.try_for_each(|(name, file)| map_checked(&folder.join(name), file).map(drop))
}
