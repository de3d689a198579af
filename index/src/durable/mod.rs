//! Writing so that it is still there afterwards.
//!
//! Owns every change to the disk: each create, write, fsync, rename, link and
//! removal of the crate goes through here and past the `observer`. Owns the lock
//! on a collection and the mapping of sealed files too. Knows nothing of what is
//! in them.
//!
//! # When the disk refuses
//!
//! - A write that fails is taken back; its caller gets the error, and the next
//!   write is tried as if nothing had been. So a full disk refuses writes until
//!   there is space again.
//! - An fsync of the log that fails, or of the folder that `CURRENT` was just
//!   replaced in, leaves unknown what the disk has. The collection goes
//!   read-only until it is opened again, which settles it.
//! - Any other failure while a segment, tombstones, manifest or snapshot is
//!   written only means that this one is not there: what was before still counts.

mod file;
mod lock;
mod map;
pub mod observer;
mod pieces;

pub(crate) use file::{DurableFile, rewrite};
pub(crate) use lock::FolderLock;
pub(crate) use map::{Ahead, map_ahead, map_file, map_sized};
pub(crate) use pieces::InPieces;

use fs_err::File;
use observer::{Step, around};
use std::{
    io::{self, ErrorKind},
    path::Path,
};

/// Ends the name of a file or folder that is not finished.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// Makes the names in a folder durable: files created, renamed or removed.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    around(Step::SyncFolder, folder, || File::open(folder)?.sync_all())
}

/// Writes and fsyncs a whole file; its name is durable after [`sync_folder`].
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = DurableFile::create(path)?;
    file.put(bytes)?;
    file.sync()
}

/// Makes a folder, and those above it that are missing.
pub(crate) fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_folder(parent)?;
    }
    around(Step::CreateFolder, folder, || fs_err::create_dir(folder))
}

/// Moves a file or folder within one file system.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    around(Step::Rename(to), from, || fs_err::rename(from, to))
}

/// Removes a file; one that is not there is no error.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    forgive_missing(around(Step::RemoveFile, path, || fs_err::remove_file(path)))
}

/// Removes a folder with all it has; one that is not there is no error.
pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    forgive_missing(around(Step::RemoveFolder, path, || fs_err::remove_dir_all(path)))
}

/// Gives a sealed file a second name, or where the file system cannot, a copy
/// under that name. Durable but for the name after this returns.
pub(crate) fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    let linked = around(Step::Link(to), from, || fs_err::hard_link(from, to));
    match linked {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::CrossesDevices | ErrorKind::TooManyLinks | ErrorKind::Unsupported
            ) =>
        {
            copy(from, to, None)
        }
        linked => linked,
    }
}

/// Copies a file, or its first `length` bytes; durable but for its name.
pub(crate) fn copy(from: &Path, to: &Path, length: Option<u64>) -> io::Result<()> {
    let file = DurableFile::create(to)?;
    let mut left = io::Read::take(File::open(from)?, length.unwrap_or(u64::MAX));
    let mut pieces = InPieces::new(file);
    let copied = io::copy(&mut left, &mut pieces)?;
    let file = pieces.finish()?;
    match length {
        Some(length) if copied != length => Err(io::Error::new(
            ErrorKind::UnexpectedEof,
            format!("{} has {copied} bytes instead of {length}", from.display()),
        )),
        _ => file.sync(),
    }
}

fn forgive_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
