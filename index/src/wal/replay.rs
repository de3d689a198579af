//! Reading a log back after a stop, planned or not.

use super::{FILE_HEADER_BYTES, FORMAT, MAGIC, file_path, record::Record};
use crate::{codec::Reader, document::Operation, durable::map_file, error::IndexError};
use std::path::Path;

/// Where a log file's whole records end.
pub(crate) struct ReplayEnd {
    /// Length of the file up to there; `None` where not even the header of the
    /// last file was written, which therefore has to be started again.
    pub(crate) length: Option<u64>,
    /// The sequence number that the next record has to have.
    pub(crate) next_sequence: u64,
}

/// Reads a log file from its start, handing over each operation in order.
///
/// Only the last file may end in a torn record, and only where no later record
/// says that it had been durable; anything else that does not read as it was
/// written is [`IndexError::Corrupt`].
pub(crate) fn replay(
    folder: &Path,
    number: u64,
    is_last: bool,
    next_sequence: u64,
    mut each: impl FnMut(u64, Operation) -> Result<(), IndexError>,
) -> Result<ReplayEnd, IndexError> {
    let path = file_path(folder, number);
    let file_length = fs_err::metadata(&path)?.len();
    if is_last && file_length < FILE_HEADER_BYTES as u64 {
        // A file is durable with its header before a record enters it.
        return Ok(ReplayEnd { length: None, next_sequence });
    }
    let bytes = map_file(&path)?;
    check_header(&path, &bytes, number)?;

    let mut next_sequence = next_sequence;
    let mut at = FILE_HEADER_BYTES;
    while let Some(record) = Record::parse(&bytes[at..]) {
        if record.sequence != next_sequence {
            let problem = format!(
                "record at byte {at} has sequence {}, expected {next_sequence}",
                record.sequence
            );
            return Err(IndexError::corrupt(path, problem));
        }
        let operations = record.operations().ok_or_else(|| {
            IndexError::corrupt(&path, format!("record at byte {at} has an unreadable operation"))
        })?;
        for operation in operations {
            each(next_sequence, operation)?;
            next_sequence += 1;
        }
        at += record.bytes;
    }
    if at < bytes.len() {
        check_torn(&path, &bytes, at, is_last, next_sequence)?;
    }
    Ok(ReplayEnd { length: Some(at as u64), next_sequence })
}

fn check_header(path: &Path, bytes: &[u8], number: u64) -> Result<(), IndexError> {
    let mut reader = Reader::new(bytes);
    let fields = (|| Some((reader.take(8)?, reader.u32()?, reader.u64()?, reader.u32()?)))();
    let Some((magic, format, got_number, checksum)) = fields else {
        return Err(IndexError::corrupt(path, "it ends within its header"));
    };
    if magic != MAGIC || checksum != crc32c::crc32c(&bytes[..FILE_HEADER_BYTES - 4]) {
        return Err(IndexError::corrupt(path, "its header is not that of a log file"));
    }
    if format > FORMAT {
        let path = path.to_path_buf();
        return Err(IndexError::NewerFormat { path, found: format, supported: FORMAT });
    }
    if got_number != number {
        return Err(IndexError::corrupt(path, format!("its header says it is file {got_number}")));
    }
    Ok(())
}

/// Decides whether the bytes from `at` on, which are no record, may be dropped.
fn check_torn(
    path: &Path,
    bytes: &[u8],
    at: usize,
    is_last: bool,
    next_sequence: u64,
) -> Result<(), IndexError> {
    if !is_last {
        let problem = format!("bytes from {at} on are no record, and another file follows");
        return Err(IndexError::corrupt(path, problem));
    }
    // Every later byte may begin a record, since a broken length tells nothing
    // about where the next one is.
    let survivors = (at + 1..bytes.len()).filter_map(|start| Record::parse(&bytes[start..]));
    for survivor in survivors {
        if survivor.durable >= next_sequence {
            let problem = format!(
                "the record at byte {at} is unreadable, though sequence {} after it \
                 says that everything up to {} was on disk",
                survivor.sequence, survivor.durable
            );
            return Err(IndexError::corrupt(path, problem));
        }
    }
    Ok(())
}
