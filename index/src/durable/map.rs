//! Files mapped into memory as Arrow buffers.
#![allow(unsafe_code)]

use crate::error::IndexError;
use arrow::buffer::Buffer;
use bytes::Bytes;
use fs_err::File;
use memmap2::Mmap;
use std::path::Path;

/// Maps a finished file read-only; the map lives as long as any slice of it.
///
/// A mapped file must never be truncated or written: reading a page that is
/// gone ends the process with SIGBUS. Sealed files are therefore written under
/// names nobody maps yet, never changed, and only ever unlinked, which leaves
/// the pages to those who have them mapped.
pub(crate) fn map_file(path: &Path) -> Result<Buffer, IndexError> {
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Err(IndexError::corrupt(path, "it is empty"));
    }
    // SAFETY: the map is read-only and the file is not modified while mapped:
    // the collection's lock keeps other processes of ours out, and within this
    // one sealed files are never opened for writing (see above).
    let map = unsafe { Mmap::map(file.file()) }.map_err(IndexError::Io)?;
    Ok(Buffer::from(Bytes::from_owner(map)))
}
