//! Turning rows, of a tail or of older segments, into a segment's files.

use super::{
    CODES, Codes, FILTERS, GRAPH, IDS, Ids, PARTITIONS, PAYLOAD, Payloads, RowSource, SUMS,
    VECTORS, Vectors, sealed_files,
};
use crate::{
    checked::{CheckedFile, Sums},
    config::{CollectionConfig, Quantization},
    durable::{create_folder, remove_file, sync_folder},
    error::IndexError,
    filter::FilterWriter,
    graph::{self, MAX_ROWS, MIN_GRAPH_ROWS, Stop},
    manifest::{FileEntry, SegmentEntry, SumsEntry},
    partitions,
    schema::ColumnScan,
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
    rows: &impl RowSource,
    stop: &Stop,
) -> Result<SegmentEntry, IndexError> {
    let row_count = u32::try_from(rows.len()).ok().filter(|&rows| rows <= MAX_ROWS);
    let row_count = row_count.ok_or_else(|| IndexError::Build {
        problem: format!("{} rows are more than a segment can number", rows.len()),
    })?;
    create_folder(folder)?;
    let vectors_path = folder.join(VECTORS);
    let vectors_entry = Vectors::write(&vectors_path, config.dimension, rows)?;
    let ids = Ids::write(&folder.join(IDS), rows)?;
    let (mut filters, mut columns) = (FilterWriter::default(), ColumnScan::default());
    for row in 0..row_count {
        let payload = rows.shown(row as usize)?.payload;
        filters.add(row, &payload);
        columns.add(&payload);
    }
    let columns = columns.finish(&config.schema);
    let payload = Payloads::write(&folder.join(PAYLOAD), rows, &columns)?;
    let filters = filters.write(&folder.join(FILTERS))?;
    let vectors = CheckedFile::just_written(&vectors_path, &vectors_entry)?;
    let vectors = Arc::new(Vectors::open(&vectors, config.dimension, row_count)?);
    let quantised = match config.quantization {
        Quantization::Sq8 if row_count >= MIN_GRAPH_ROWS => {
            let path = folder.join(CODES);
            let entry = Codes::write(&path, &vectors)?;
            let codes = CheckedFile::just_written(&path, &entry)?;
            let codes = Codes::open(&codes, config.dimension, row_count)?;
            Some((entry, codes))
        }
        Quantization::Sq8 | Quantization::None => None,
    };
    let codes = quantised.as_ref().map(|(_, codes)| codes);
    let built = graph::build(&folder.join(GRAPH), &vectors, codes, &config.hnsw, stop)?;
    // Codes serve walks alone: a scan is exact.
    let keeps_codes = built.as_ref().is_some_and(|built| built.is_for_codes);
    if quantised.is_some() && !keeps_codes {
        remove_file(&folder.join(CODES))?;
    }
    let codes = quantised.filter(|_| keeps_codes).map(|(entry, _)| entry);
    let (graph, recall_curve) = match built {
        Some(built) => (Some(built.file), built.recall_curve),
        None => (None, Vec::new()),
    };
    let partitions = graph
        .is_some()
        .then(|| partitions::build(&folder.join(PARTITIONS), &vectors, stop))
        .transpose()?;
    let mut entry = SegmentEntry {
        id,
        rows: row_count,
        vectors: vectors_entry,
        payload,
        ids,
        filters,
        graph,
        recall_curve,
        codes,
        partitions,
        columns,
        tombstones: None,
        sums: SumsEntry { file: FileEntry { bytes: 0, crc32c: 0 }, head_crc32c: 0 },
    };
    let files: Vec<_> =
        sealed_files(&entry).map(|(name, file)| (folder.join(name), file)).collect();
    entry.sums = Sums::write(&folder.join(SUMS), &files)?;
    sync_folder(folder)?;
    Ok(entry)
}
