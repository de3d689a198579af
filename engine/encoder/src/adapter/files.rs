//! Where an adapter folder's files come from: a folder, or this build itself.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use crate::{
    error::EncoderError,
    model::{TensorHeader, safetensors_header},
};

/// Files no larger than this are read: adapters of the largest backbones stay well below.
const BYTES_MAX: u64 = 4 << 30;

/// An adapter folder's files.
#[derive(Debug, Clone, Copy)]
pub(super) enum Files<'a> {
    /// On disk.
    Folder(&'a Path),
    /// In this build, by their paths within the folder.
    Embedded {
        /// Names them in errors.
        name: &'static str,
        /// Paths and contents.
        files: &'static [(&'static str, &'static [u8])],
    },
}

impl Files<'_> {
    /// Reads a file by its path within the folder.
    ///
    /// # Errors
    /// Fails when it is missing or too large.
    pub(super) fn read(&self, file: &str) -> Result<Cow<'static, [u8]>, EncoderError> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(file);
                let size = fs_err::metadata(&path)?.len();
                if size > BYTES_MAX {
                    let problem = format!("file has {size} bytes, at most {BYTES_MAX} are read");
                    return Err(EncoderError::ModelFile { path, problem });
                }
                Ok(fs_err::read(path)?.into())
            }
            Self::Embedded { files, .. } => {
                let found = files.iter().find(|(name, _)| *name == file);
                let (_, bytes) = found.ok_or_else(|| EncoderError::ModelFile {
                    path: self.path(file),
                    problem: "is not in this build".to_owned(),
                })?;
                Ok((*bytes).into())
            }
        }
    }

    /// Reads a text file.
    ///
    /// # Errors
    /// Fails as [`Self::read`], and when the file is not UTF-8.
    pub(super) fn text(&self, file: &str) -> Result<String, EncoderError> {
        String::from_utf8(self.read(file)?.into_owned()).map_err(|error| EncoderError::ModelFile {
            path: self.path(file),
            problem: error.to_string(),
        })
    }

    /// Reads the header of a safetensors file.
    ///
    /// # Errors
    /// Fails when it is missing or damaged.
    pub(super) fn header(&self, file: &str) -> Result<Vec<TensorHeader>, EncoderError> {
        let path = self.path(file);
        match self {
            Self::Folder(_) => safetensors_header(&path, &mut fs_err::File::open(&path)?),
            Self::Embedded { .. } => safetensors_header(&path, &mut self.read(file)?.as_ref()),
        }
    }

    /// Lists the files of a folder, with those of its folders, sorted.
    ///
    /// # Errors
    /// Fails when a folder cannot be read.
    pub(super) fn list(&self) -> Result<Vec<String>, EncoderError> {
        let mut found = Vec::new();
        match self {
            Self::Embedded { files, .. } => {
                found.extend(files.iter().map(|(name, _)| (*name).to_owned()));
            }
            Self::Folder(folder) => {
                for entry in fs_err::read_dir(folder)? {
                    let (path, name) = named(entry?);
                    if !path.is_dir() {
                        found.push(name);
                        continue;
                    }
                    for entry in fs_err::read_dir(&path)? {
                        found.push(format!("{name}/{}", named(entry?).1));
                    }
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Tells whether a file is there.
    pub(super) fn has(&self, file: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(file).is_file(),
            Self::Embedded { files, .. } => files.iter().any(|(name, _)| *name == file),
        }
    }

    /// Where a file lies, for errors.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join(file),
            Self::Embedded { name, .. } => Path::new(name).join(file),
        }
    }
}

fn named(entry: fs_err::DirEntry) -> (PathBuf, String) {
    (entry.path(), entry.file_name().to_string_lossy().into_owned())
}
