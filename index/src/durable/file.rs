//! A file being written.

use super::observer::{Step, around};
use fs_err::File;
use std::{
    io::{self, ErrorKind, Write},
    os::unix::fs::FileExt,
    path::Path,
};

/// A file that only ever grows at its end, or is cut back.
#[derive(Debug)]
pub(crate) struct DurableFile(File);

impl DurableFile {
    /// Makes a new file. One that has the name already loses the name and not
    /// its content, which may have other names: those of a saved snapshot.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        around(Step::CreateFile, path, || {
            let create = || File::options().append(true).create_new(true).open(path);
            match create() {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    fs_err::remove_file(path)?;
                    create()
                }
                created => created,
            }
        })
        .map(Self)
    }

    /// Opens a file to go on at its end.
    pub(crate) fn append(path: &Path) -> io::Result<Self> {
        File::options().append(true).open(path).map(Self)
    }

    /// Writes bytes at the end, all of them unless there is an error.
    pub(crate) fn put(&self, bytes: &[u8]) -> io::Result<()> {
        around(Step::Write(bytes), self.0.path(), || (&self.0).write_all(bytes))
    }

    /// Puts the file and its length on disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        around(Step::SyncFile, self.0.path(), || self.0.sync_data())
    }

    /// Cuts the file to a length.
    pub(crate) fn truncate(&self, length: u64) -> io::Result<()> {
        around(Step::Truncate(length), self.0.path(), || self.0.set_len(length))
    }

    pub(crate) fn length(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }
}

impl Write for DurableFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what a file has once more and puts it on disk.
///
/// After an fsync that failed, pages may count as clean though the disk never
/// had them, and a later fsync would pass over them. Written again they are
/// dirty again.
pub(crate) fn rewrite(path: &Path) -> io::Result<()> {
    let bytes = fs_err::read(path)?;
    let file = File::options().write(true).open(path)?;
    around(Step::SyncFile, path, || {
        file.file().write_all_at(&bytes, 0)?;
        file.sync_data()
    })
}
