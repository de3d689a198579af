//! One log record: the operations of one `apply`, all or none.
//!
//! ```text
//! body length   u32
//! body crc32c   u32
//! sequence      u64   of the first operation; the others follow one by one
//! durable       u64   the last sequence known to be on disk at the time
//! header crc32c u32   over the 24 bytes above
//! body          count u32, then the operations
//! ```
//! The header has a checksum of its own, so that a length is believed before
//! anything is read by it. `durable` lets replay tell a torn end, whose records
//! nobody was promised, from rot in the middle, whose records somebody was.

use crate::{
    codec::{self, Reader},
    document::Operation,
    error::IndexError,
};

/// Bytes of a record before its body.
pub(super) const HEADER_BYTES: usize = 28;

/// Bytes of a header that its own checksum covers.
const HEADER_CHECKED_BYTES: usize = HEADER_BYTES - 4;

/// The most operations one record holds.
pub const MAX_BATCH_OPERATIONS: usize = 16_384;

/// The largest body of a record.
pub const MAX_BATCH_BYTES: usize = 256 << 20;

/// A record whose place in the log is not known yet.
///
/// Encoding and the checksum of the body are most of the work of an append, and
/// need no lock; only the header waits for the sequence number.
pub(crate) struct Draft {
    bytes: Vec<u8>,
}

impl Draft {
    /// Encodes validated operations, refusing more than one record may hold.
    pub(crate) fn new(operations: &[Operation]) -> Result<Self, IndexError> {
        let (got, most) = (operations.len(), MAX_BATCH_OPERATIONS);
        if got > most {
            return Err(IndexError::BatchTooLarge { got, unit: "operations", most });
        }
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.extend_from_slice(&(got as u32).to_le_bytes());
        for operation in operations {
            codec::document::encode(operation, &mut bytes);
            let (got, most) = (bytes.len() - HEADER_BYTES, MAX_BATCH_BYTES);
            if got > most {
                return Err(IndexError::BatchTooLarge { got, unit: "bytes", most });
            }
        }
        let body = &bytes[HEADER_BYTES..];
        let (length, checksum) = (body.len() as u32, crc32c::crc32c(body));
        bytes[0..4].copy_from_slice(&length.to_le_bytes());
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        Ok(Self { bytes })
    }

    /// Fills in the header and returns the record's bytes.
    pub(super) fn finish(&mut self, sequence: u64, durable: u64) -> &[u8] {
        self.bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
        self.bytes[16..24].copy_from_slice(&durable.to_le_bytes());
        let checksum = crc32c::crc32c(&self.bytes[..HEADER_CHECKED_BYTES]);
        self.bytes[24..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
        &self.bytes
    }
}

/// A record found whole in a log.
pub(super) struct Record<'a> {
    pub(super) sequence: u64,
    pub(super) durable: u64,
    /// Header and body together.
    pub(super) bytes: usize,
    body: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads the record at the start of `bytes`, if a whole one is there.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let checked = bytes.get(..HEADER_CHECKED_BYTES)?;
        let mut reader = Reader::new(bytes);
        let (length, body_checksum) = (reader.u32()?, reader.u32()?);
        let (sequence, durable) = (reader.u64()?, reader.u64()?);
        if reader.u32()? != crc32c::crc32c(checked) {
            return None;
        }
        let body = reader.take(usize::try_from(length).ok()?)?;
        let is_whole = crc32c::crc32c(body) == body_checksum;
        is_whole.then_some(Self { sequence, durable, bytes: HEADER_BYTES + body.len(), body })
    }

    /// Reads the operations; `None` means a record that was never written by us.
    pub(super) fn operations(&self) -> Option<Vec<Operation>> {
        let mut reader = Reader::new(self.body);
        let count = usize::try_from(reader.u32()?).ok()?;
        if count > MAX_BATCH_OPERATIONS {
            return None;
        }
        let operations = (0..count).map(|_| codec::document::decode(&mut reader));
        let operations = operations.collect::<Option<Vec<_>>>()?;
        reader.is_at_end().then_some(operations)
    }
}
