//! Files mapped into memory as Arrow buffers.
#![allow(unsafe_code)]

use crate::error::IndexError;
use arrow::buffer::Buffer;
use bytes::Bytes;
use fs_err::File;
use memmap2::{Advice, Mmap};
use std::{io::ErrorKind, path::Path};

/// Maps a finished file read-only; the map lives as long as any slice of it.
///
/// A mapped file must never be truncated or written: reading a page that is
/// gone ends the process with SIGBUS. Sealed files are therefore written under
/// names nobody maps yet, never changed, and only ever unlinked, which leaves
/// the pages to those who have them mapped.
pub(crate) fn map_file(path: &Path) -> Result<Buffer, IndexError> {
    map(path, None, Advice::Normal)
}

/// Maps a file that has to have a length.
pub(crate) fn map_sized(path: &Path, length: u64) -> Result<Buffer, IndexError> {
    map(path, Some(length), Advice::Normal)
}

/// Maps a file of a known length that is read here and there: a page that is missing is
/// read alone, without its neighbours.
pub(crate) fn map_random(path: &Path, length: u64) -> Result<Buffer, IndexError> {
    map(path, Some(length), Advice::Random)
}

fn map(path: &Path, length: Option<u64>, advice: Advice) -> Result<Buffer, IndexError> {
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
    // Where the system does not take advice, reads are slower and no less right.
    if let Err(error) = map.advise(advice) {
        tracing::debug!(path = %path.display(), %error, "a map goes without advice");
    }
    Ok(Buffer::from(Bytes::from_owner(map)))
}
