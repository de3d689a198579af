//! Every parser of this crate as a function of bytes, for fuzzing.
//!
//! A file's checksum keeps damaged bytes from being parsed at all. These go past
//! it, since whoever can write a file can write its checksum: nothing they write
//! may make a parser panic, read outside the file, or run without end.

use crate::{
    checked::CheckedFile,
    error::IndexError,
    filter::{FieldValue, Filter, FilterIndex},
    graph::{Graph, Space, Walk, with_scratch},
    manifest::{self, FileEntry, Manifest},
    partitions::{Effort, Partitions, Probe},
    wal,
};
use std::{path::Path, sync::Arc};

/// Writes a sealed file with checksums that fit it.
fn written(folder: &Path, name: &str, bytes: &[u8]) -> Result<Arc<CheckedFile>, IndexError> {
    let path = folder.join(name);
    fs_err::write(&path, bytes)?;
    let entry = FileEntry { bytes: bytes.len() as u64, crc32c: crc32c::crc32c(bytes) };
    CheckedFile::alone(&path, &entry)
}

/// Rows in a line, the lowest of which is the nearest.
struct Line;

impl Space for Line {
    fn closeness(&self, rows: &[u32], out: &mut Vec<f32>) {
        out.clear();
        out.extend(rows.iter().map(|&row| -(row as f32)));
    }
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

/// Opens `bytes` as the graph of a segment, walks it in both ways, and
/// looks through all of it.
pub fn graph(folder: &Path, bytes: &[u8], rows: u32) -> Result<(), IndexError> {
    let file = written(folder, "graph.bin", bytes)?;
    let graph = Graph::open(&file, rows)?;
    let mut found = Vec::new();
    let walk = Walk { graph: &graph, space: &Line, ef: 16, budget: u64::MAX };
    with_scratch(|scratch| {
        walk.run(scratch, &mut found);
        walk.run_gated(|row| row.is_multiple_of(3), scratch, &mut found);
    });
    graph.check_all(&|| false)?;
    file.check_sound()
}

/// Opens `bytes` as the partitions of a segment, probes all of them, and looks through the
/// file.
pub fn partitions(
    folder: &Path,
    bytes: &[u8],
    dimension: usize,
    rows: u32,
) -> Result<(), IndexError> {
    let file = written(folder, "partitions.bin", bytes)?;
    let partitions = Partitions::open(&file, dimension, rows)?;
    let bits = vec![u64::MAX / 3; (rows as usize).div_ceil(64)];
    let probe = Probe {
        partitions: &partitions,
        query: &vec![0.5; dimension],
        admitted: &partitions.in_order(&bits),
        effort: Effort { breadth: u64::MAX, patience: 1e9 },
        wanted: 4,
        kept: 16,
    };
    let mut found = Vec::new();
    probe.run(|row| row % 9 != 0, &mut found);
    partitions.check_all(&|| false)?;
    file.check_sound()
}

/// Opens `bytes` as the filter file of a segment and asks it everything about
/// the field `a`.
pub fn filters(folder: &Path, bytes: &[u8], rows: u32) -> Result<(), IndexError> {
    let file = written(folder, "filters.bin", bytes)?;
    let index = FilterIndex::open(&file, rows)?;
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
            return Err(IndexError::corrupt(file.path(), "it gives rows that are not there"));
        }
    }
    file.check_sound()
}
