//! Every parser of this crate as a function of bytes, for fuzzing.
//!
//! A file's checksum keeps damaged bytes from being parsed at all. These go past
//! it, since whoever can write a file can write its checksum: nothing they write
//! may make a parser panic, read outside the file, or run without end.

use crate::{
    error::IndexError,
    filter::{FieldValue, Filter, FilterIndex},
    graph::Graph,
    manifest::{self, FileEntry, Manifest},
    wal,
};
use std::path::Path;

fn written(
    folder: &Path,
    name: &str,
    bytes: &[u8],
) -> std::io::Result<(std::path::PathBuf, FileEntry)> {
    let path = folder.join(name);
    fs_err::write(&path, bytes)?;
    Ok((path, FileEntry { bytes: bytes.len() as u64, crc32c: crc32c::crc32c(bytes) }))
}

/// Replays `bytes` as the only log file of a collection; returns its operations.
pub fn log(folder: &Path, bytes: &[u8]) -> Result<u64, IndexError> {
    const NUMBER: u64 = 1;
    fs_err::write(wal::file_path(folder, NUMBER), bytes)?;
    let mut operations = 0;
    wal::replay(folder, NUMBER, true, 1, |_, _| {
        operations += 1;
        Ok(())
    })?;
    Ok(operations)
}

/// Reads `bytes` as a manifest behind a header that fits them.
pub fn manifest(folder: &Path, bytes: &[u8]) -> Result<(), IndexError> {
    let path = folder.join("manifest");
    fs_err::write(&path, manifest::with_header(bytes)?)?;
    let manifest: Manifest = manifest::read_checked_json(&path)?;
    manifest.config.validate()
}

/// Opens `bytes` as the graph of a segment.
pub fn graph(folder: &Path, bytes: &[u8], rows: u32) -> Result<(), IndexError> {
    let (path, entry) = written(folder, "graph.bin", bytes)?;
    Graph::open(&path, &entry, rows).map(drop)
}

/// Opens `bytes` as the filter file of a segment and asks it everything about
/// the field `a`.
pub fn filters(folder: &Path, bytes: &[u8], rows: u32) -> Result<(), IndexError> {
    let (path, entry) = written(folder, "filters.bin", bytes)?;
    let index = FilterIndex::open(&path, &entry, rows)?;
    let field = || "a".to_owned();
    let values =
        [FieldValue::Text("x".to_owned()), FieldValue::Number(1.0), FieldValue::Bool(true)];
    let questions = [
        Filter::Exists { field: field() },
        Filter::In { field: field(), values: values.into() },
        Filter::Range { field: field(), gt: Some(-1e9), gte: None, lt: None, lte: Some(1e9) },
        Filter::TimeRange { field: field(), gt: None, gte: Some(0), lt: Some(i64::MAX), lte: None },
    ];
    for question in questions {
        let rows_found = index.evaluate(&Filter::Not(Box::new(question)))?;
        if rows_found.max().is_some_and(|last| last >= rows) {
            return Err(IndexError::corrupt(path, "it gives rows that are not there"));
        }
    }
    Ok(())
}
