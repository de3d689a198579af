//! Read-only memory maps of model files: the only `unsafe` among the model's files.

use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::model_file;
use crate::error::EncoderError;

/// A file mapped into memory for reading.
#[derive(Debug)]
pub(super) struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

impl MappedFile {
    /// Maps a whole file.
    ///
    /// # Errors
    /// Fails when the file cannot be opened, is no regular file, or is empty.
    pub(super) fn open(path: &Path) -> Result<Self, EncoderError> {
        let file = fs_err::File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(model_file(path, "is not a regular file"));
        }
        if metadata.len() == 0 {
            return Err(model_file(path, "is empty"));
        }
        // SAFETY: the map is read-only and private to this type. What remains is that another
        // process changes the file under us: a write could alter bytes we have checked, and a
        // truncation raises SIGBUS on the next read. Model files are written once, to a
        // temporary name, and renamed into place (see `pull`), so nothing of ours does that,
        // and the documentation tells users not to edit a model in place while it is served.
        // The bytes are only ever read as plain integers, for which every pattern is valid.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self { path: path.to_owned(), map })
    }

    /// The file's path as it was opened.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The whole file.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.map
    }
}
