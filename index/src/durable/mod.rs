//! Writing so that it is still there afterwards.
//!
//! Owns every fsync of a folder, the replacement of whole files, the lock on a
//! collection and the mapping of sealed files. Knows nothing of what is in them.

mod lock;
mod map;

pub(crate) use lock::FolderLock;
pub(crate) use map::map_file;

use crate::error::IndexError;
use fs_err::File;
use std::{io::Write, path::Path};

/// Makes the names in a folder durable: files created, renamed or removed.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), IndexError> {
    File::open(folder)?.sync_all()?;
    Ok(())
}

/// Writes a file so that a crash leaves either the old one or the new one.
pub(crate) fn replace_file(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), IndexError> {
    let temporary = folder.join(format!("{name}{TEMPORARY_SUFFIX}"));
    write_file(&temporary, bytes)?;
    fs_err::rename(&temporary, folder.join(name))?;
    sync_folder(folder)
}

/// Writes and fsyncs a whole file; its name is durable after [`sync_folder`].
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), IndexError> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(())
}

/// Ends the name of a file that is not finished.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";
