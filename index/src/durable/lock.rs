//! One writer per collection, by an advisory lock on a file in its folder.

use crate::error::IndexError;
use fs_err::File;
use std::{fs::TryLockError, path::Path};

/// The name of the file that is locked; its content means nothing.
const LOCK_NAME: &str = "LOCK";

/// Holds a collection's folder for this process until dropped.
#[derive(Debug)]
pub(crate) struct FolderLock {
    file: File,
}

impl FolderLock {
    /// Takes the lock or says who cannot have it; never waits.
    pub(crate) fn acquire(folder: &Path) -> Result<Self, IndexError> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(LOCK_NAME))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(IndexError::Locked { path: folder.to_path_buf() }),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }
}

impl Drop for FolderLock {
    /// Closing the file is not enough: a process being started at this moment has a
    /// copy of every open file until it runs its own program, and the lock with it.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "a collection's lock is given up by closing its file");
        }
    }
}
