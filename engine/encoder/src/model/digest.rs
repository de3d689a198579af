//! SHA-256 of files.

use std::{fmt::Write, path::Path};

use sha2::{Digest, Sha256};

use super::mapped::MappedFile;
use crate::error::EncoderError;

/// Bytes hashed between two reports of progress.
const CHUNK: usize = 4 << 20;

/// Hashes the bytes of several files as if they were one, in the order given.
pub(super) fn of_files<'a>(files: impl IntoIterator<Item = &'a MappedFile>) -> String {
    let mut hasher = Sha256::new();
    for file in files {
        hasher.update(file.bytes());
    }
    hex(&hasher.finalize())
}

/// Hashes one file, telling `progress` how many bytes are done and how many there are.
pub(super) fn of_path(
    path: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<String, EncoderError> {
    let file = MappedFile::open(path)?;
    let total = file.bytes().len() as u64;
    let mut hasher = Sha256::new();
    let mut done = 0;
    for chunk in file.bytes().chunks(CHUNK) {
        hasher.update(chunk);
        done += chunk.len() as u64;
        progress(done, total);
    }
    Ok(hex(&hasher.finalize()))
}

/// Writes bytes as lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
