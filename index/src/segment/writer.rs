//! Turning the rows of a tail into a segment's files.

use super::{FILTERS, GRAPH, IDS, Ids, PAYLOAD, Payloads, VECTORS, Vectors};
use crate::{
    config::CollectionConfig,
    durable::sync_folder,
    error::IndexError,
    filter::FilterWriter,
    graph::{self, Stop},
    manifest::SegmentEntry,
    tail::TailRow,
};
use std::{path::Path, sync::Arc};

/// Writes a segment, durable but for its folder's name in the folder above.
///
/// `rows` are sorted by id. The vectors are written first and mapped, so that
/// the graph is built over the page cache and not over a second copy.
pub(crate) fn write(
    folder: &Path,
    id: u64,
    config: &CollectionConfig,
    rows: &[Arc<TailRow>],
    stop: &Stop,
) -> Result<SegmentEntry, IndexError> {
    let row_count = u32::try_from(rows.len()).map_err(|_| IndexError::Build {
        problem: format!("{} rows are more than a segment can number", rows.len()),
    })?;
    fs_err::create_dir_all(folder)?;
    let vectors_path = folder.join(VECTORS);
    let vectors_entry = Vectors::write(&vectors_path, config.dimension, rows)?;
    let payload = Payloads::write(&folder.join(PAYLOAD), rows)?;
    let ids = Ids::write(&folder.join(IDS), rows)?;
    let mut filters = FilterWriter::default();
    for (row, tail_row) in (0..row_count).zip(rows) {
        filters.add(row, &tail_row.document.payload);
    }
    let filters = filters.write(&folder.join(FILTERS))?;
    let vectors = Vectors::open(&vectors_path, &vectors_entry, config.dimension, row_count)?;
    let graph = graph::build(&folder.join(GRAPH), &Arc::new(vectors), &config.hnsw, stop)?;
    sync_folder(folder)?;
    Ok(SegmentEntry {
        id,
        rows: row_count,
        vectors: vectors_entry,
        payload,
        ids,
        filters,
        graph,
        tombstones: None,
    })
}
