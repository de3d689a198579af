//! Files mapped into memory as Arrow buffers.
#![allow(unsafe_code)]

use crate::error::IndexError;
use arrow::buffer::Buffer;
use bytes::Bytes;
use fs_err::File;
use memmap2::{Advice, Mmap};
use std::{io::ErrorKind, ops::Range, path::Path, sync::Arc};

/// Asks the system to read parts of a map that will be needed soon, without
/// waiting for them: many at once take little longer than one.
#[derive(Debug)]
pub(crate) struct Ahead(Arc<Mmap>);

impl Ahead {
    pub(crate) fn will_need(&self, range: Range<usize>) {
        // Without it the pages are read one by one as they are touched.
        let _ = self.0.advise_range(Advice::WillNeed, range.start, range.len());
    }
}

/// A map that lives as long as those who read it and those who read ahead.
struct Shared(Arc<Mmap>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Maps a finished file read-only; the map lives as long as any slice of it.
///
/// A mapped file must never be truncated or written: reading a page that is
/// gone ends the process with SIGBUS. Sealed files are therefore written under
/// names nobody maps yet, never changed, and only ever unlinked, which leaves
/// the pages to those who have them mapped.
pub(crate) fn map_file(path: &Path) -> Result<Buffer, IndexError> {
    map(path, None).map(|(bytes, _)| bytes)
}

/// Maps a file that has to have a length.
pub(crate) fn map_sized(path: &Path, length: u64) -> Result<Buffer, IndexError> {
    map(path, Some(length)).map(|(bytes, _)| bytes)
}

/// Maps a file that has to have a length, and returns what reads ahead in it.
pub(crate) fn map_ahead(path: &Path, length: u64) -> Result<(Buffer, Ahead), IndexError> {
    map(path, Some(length))
}

fn map(path: &Path, length: Option<u64>) -> Result<(Buffer, Ahead), IndexError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(IndexError::corrupt(path, "it is missing"));
        }
        opened => opened?,
    };
    let got = file.metadata()?.len();
    if let Some(length) = length.filter(|&length| length != got) {
        let problem = format!("it has {got} bytes, its manifest says {length}");
        return Err(IndexError::corrupt(path, problem));
    }
    if got == 0 {
        return Err(IndexError::corrupt(path, "it is empty"));
    }
    // SAFETY: the map is read-only and the file is not modified while mapped:
    // the collection's lock keeps other processes of ours out, and within this
    // one sealed files are never opened for writing (see above).
    let map = unsafe { Mmap::map(file.file()) }.map_err(IndexError::Io)?;
    let map = Arc::new(map);
    let bytes = Buffer::from(Bytes::from_owner(Shared(Arc::clone(&map))));
    Ok((bytes, Ahead(map)))
}
