//! Segments: documents that were sealed, with all that searching them takes.
//!
//! A segment is a folder of files written once and then only mapped. Rows are
//! numbered by ascending id. A segment never changes: that a row is dead is
//! known beside it, in tombstones.

mod arrow_file;
mod codes;
mod columns;
mod ids;
mod matrix;
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
    checked::{Alarm, CheckedFile, Sums, map_checked},
    document::StoredDocument,
    error::IndexError,
    filter::{Filter, FilterIndex, MatchCache, Matching},
    graph::{Graph, Recall},
    manifest::{FileEntry, SegmentEntry},
    partitions::Partitions,
    projection::Projection,
    schema::Column,
};
use payload::{Payloads, Shown};
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
const PARTITIONS: &str = "partitions.bin";
const SUMS: &str = "sums.bin";

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
    /// There where the segment has a graph, unless it was written before there were any.
    pub(crate) partitions: Option<Partitions>,
    /// Bytes of all its files at the time it was opened.
    pub(crate) bytes: u64,
    /// The fields of its payloads.
    pub(crate) columns: Vec<Column>,
    matches: MatchCache,
    payloads: Payloads,
    folder: PathBuf,
    alarm: Arc<Alarm>,
}

impl Segment {
    /// Maps a segment's files and verifies what says where things are in them;
    /// the rest is verified as it is read (see [`crate::checked`]).
    pub(crate) fn open(
        folder: &Path,
        entry: &SegmentEntry,
        dimension: usize,
    ) -> Result<Self, IndexError> {
        let rows = entry.rows;
        let count = CheckedFile::count_blocks(sealed_files(entry).map(|(_, file)| file.bytes));
        let sums = Arc::new(Sums::open(&folder.join(SUMS), &entry.sums, count)?);
        // What is shown with a hit is of no weight for which hits there are, so
        // it has an alarm of its own.
        let (alarm, quiet) = (Arc::<Alarm>::default(), Arc::<Alarm>::default());
        let mut next_sum = 0;
        let mut open = |name: &str, file: &FileEntry| {
            let alarm = if name == PAYLOAD { &quiet } else { &alarm };
            CheckedFile::open(&folder.join(name), file, &sums, &mut next_sum, alarm)
        };
        // In the order of `sealed_files`, which is that of the checksums.
        let vectors = Vectors::open(&open(VECTORS, &entry.vectors)?, dimension, rows)?;
        let payloads = Payloads::open(&open(PAYLOAD, &entry.payload)?, rows, &entry.columns)?;
        let ids = Ids::open(&open(IDS, &entry.ids)?, rows)?;
        let filters = FilterIndex::open(&open(FILTERS, &entry.filters)?, rows)?;
        let graph = entry.graph.as_ref().map(|file| Graph::open(&open(GRAPH, file)?, rows));
        let graph = graph.transpose()?;
        let codes =
            entry.codes.as_ref().map(|file| Codes::open(&open(CODES, file)?, dimension, rows));
        let codes = codes.transpose()?;
        let partitions = entry.partitions.as_ref();
        let partitions = partitions
            .map(|file| Partitions::open(&open(PARTITIONS, file)?, dimension, rows))
            .transpose()?;
        Ok(Self {
            codes,
            partitions,
            ids,
            vectors: Arc::new(vectors),
            filters,
            graph,
            recall_curve: entry.recall_curve.clone(),
            bytes: entry.bytes(),
            matches: MatchCache::default(),
            payloads,
            columns: entry.columns.clone(),
            folder: folder.to_path_buf(),
            alarm,
        })
    }

    /// Refuses if anything that was read of it is damaged; to be asked before
    /// an answer that comes from it is given out.
    pub(crate) fn check_sound(&self) -> Result<(), IndexError> {
        self.alarm.check()
    }

    /// Verifies what searches read and has not been yet, unless `is_over` says
    /// so first.
    pub(crate) fn check_all(&self, is_over: &dyn Fn() -> bool) -> Result<(), IndexError> {
        // Roughly by how often a search reads of it.
        if let Some(graph) = &self.graph {
            graph.check_all(is_over)?;
        }
        if let Some(codes) = &self.codes {
            codes.check_all(is_over)?;
        }
        if let Some(partitions) = &self.partitions {
            partitions.check_all(is_over)?;
        }
        self.vectors.check_all(is_over)?;
        self.ids.check_all(is_over)?;
        self.filters.check_all(is_over)
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
        self.payloads.read(row, Projection::ALL)
    }

    /// Reads the document of a row.
    pub(crate) fn read(
        &self,
        row: u32,
        projection: Projection,
    ) -> Result<StoredDocument, IndexError> {
        let id = self.id(row)?;
        let shown = match projection.shows() {
            true => self.payloads.read(row, projection)?,
            false => Shown::default(),
        };
        let mut vector = Vec::new();
        if projection.vector {
            self.vectors.check(&[row]);
            vector.extend_from_slice(self.vectors.row(row));
        }
        Ok(StoredDocument {
            id,
            text: shown.text.into_owned(),
            payload: shown.payload.into_owned(),
            provenance: shown.provenance.into_owned(),
            thought: shown.thought.map(Cow::into_owned),
            content_hash: self.ids.content_hash(row),
            sequence: self.ids.sequence(row),
            vector,
        })
    }
}

/// Returns the folder of a segment.
pub(crate) fn folder(segments: &Path, id: u64) -> PathBuf {
    segments.join(format!("{id:08}"))
}

/// Returns the files of a segment that have checksums for their blocks, by name,
/// in the order of these.
fn sealed_files(entry: &SegmentEntry) -> impl Iterator<Item = (&'static str, &FileEntry)> {
    let always = [
        (VECTORS, &entry.vectors),
        (PAYLOAD, &entry.payload),
        (IDS, &entry.ids),
        (FILTERS, &entry.filters),
    ];
    let graph = entry.graph.as_ref().map(|graph| (GRAPH, graph));
    let codes = entry.codes.as_ref().map(|codes| (CODES, codes));
    let partitions = entry.partitions.as_ref().map(|partitions| (PARTITIONS, partitions));
    always.into_iter().chain(graph).chain(codes).chain(partitions)
}

/// Returns the files of a segment that never change, by name: those to link
/// and to verify. Its tombstones are apart, since each manifest may have others.
pub(crate) fn all_files(entry: &SegmentEntry) -> impl Iterator<Item = (&'static str, &FileEntry)> {
    sealed_files(entry).chain([(SUMS, &entry.sums.file)])
}

/// Reads every byte of a segment's sealed files and compares all checksums.
pub(crate) fn verify(folder: &Path, entry: &SegmentEntry) -> Result<(), IndexError> {
    let mut files = all_files(entry);
    files.try_for_each(|(name, file)| map_checked(&folder.join(name), file).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Collection, CollectionConfig, Document, Durability, Filtering, Operation, SearchOptions,
        UnitVector, manifest,
    };
    use serde_json::json;

    fn document(number: usize) -> Operation {
        let values = (0..8).map(|at| ((number * 31 + at * 17) % 101) as f32 - 50.0).collect();
        let payload = json!({"number": number});
        Operation::Upsert(Box::new(Document {
            id: format!("{number:06}"),
            vector: UnitVector::new(values).unwrap(),
            text: String::new(),
            payload: payload.as_object().unwrap().clone(),
            provenance: String::new(),
            thought: None,
            content_hash: [0; 32],
        }))
    }

    /// Segments were written without partitions until there were any.
    #[test]
    fn segments_without_partitions_are_searched_as_before_and_merged_into_some_with() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("collection");
        let collection = Collection::create(&root, CollectionConfig::new(8)).unwrap();
        collection.apply((0..9000).map(document).collect(), Durability::Durable).unwrap();
        collection.seal().unwrap();
        collection.close().unwrap();
        let mut manifest = manifest::load(&root).unwrap();
        let entry = &mut manifest.segments[0];
        let folder = folder(&root.join("seg"), entry.id);
        assert!(entry.partitions.take().is_some());
        fs_err::remove_file(folder.join(PARTITIONS)).unwrap();
        fs_err::remove_file(folder.join(SUMS)).unwrap();
        let sealed: Vec<_> =
            sealed_files(entry).map(|(name, file)| (folder.join(name), file)).collect();
        entry.sums = Sums::write(&folder.join(SUMS), &sealed).unwrap();
        let text = serde_json::to_string(&entry).unwrap();
        assert!(!text.contains("partitions"), "{text}");
        manifest::store(&root, &manifest).unwrap();

        let collection = Collection::open(&root).unwrap();
        collection.verify().unwrap().into_result().unwrap();
        let filter = Filter::Range {
            field: "number".to_owned(),
            gt: None,
            gte: Some(4600.0),
            lt: None,
            lte: None,
        };
        let query = UnitVector::new(vec![1.0; 8]).unwrap();
        let options = SearchOptions { filter: Some(filter), ..SearchOptions::new(10) };
        let ranking = collection.snapshot().rank(&query, &options).unwrap();
        assert_eq!(ranking.plan.filtering, Some(Filtering::Scan));
        assert_eq!(ranking.ids.len(), 10);
        collection
            .apply(vec![Operation::Delete("000001".to_owned())], Durability::Durable)
            .unwrap();
        collection.compact().unwrap();
        let again = collection.snapshot().rank(&query, &options).unwrap();
        assert_eq!(again.plan.filtering, Some(Filtering::Probe));
        assert_eq!(again.ids[0], ranking.ids[0]);
    }
}
