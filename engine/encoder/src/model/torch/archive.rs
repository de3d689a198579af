//! The zip around a pickle and its numbers.

use std::io::{Cursor, Read};

use zip::{CompressionMethod, ZipArchive, result::ZipError};

use crate::model::cursor::Problem;

/// A pickle of names and shapes has no business being larger.
const PROGRAM_BYTES_MAX: u64 = 4 << 20;
const ENTRIES_MAX: usize = 1 << 14;
const PROGRAM: &str = "data.pkl";
/// How files from before PyTorch 1.6 begin: a pickle of a magic number.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// An opened file, whose entries all lie in one folder.
pub(super) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    folder: String,
    file_bytes: u64,
}

impl<'a> Archive<'a> {
    /// Reads the directory and checks that this is a file of tensors in little-endian order.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, Problem> {
        if bytes.starts_with(LEGACY) {
            return Err("is in the format that PyTorch wrote before version 1.6; load it with \
                        PyTorch and save it again"
                .to_owned());
        }
        if !bytes.starts_with(b"PK\x03\x04") {
            return Err("is no file of `torch.save`: it does not begin as a zip does".to_owned());
        }
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
        if zip.len() > ENTRIES_MAX {
            return Err(format!("has {} entries, at most {ENTRIES_MAX} are read", zip.len()));
        }
        let folder = folder_of(&zip)?;
        let mut archive = Self { zip, folder, file_bytes: bytes.len() as u64 };
        if archive.has("constants.pkl") {
            return Err("is a TorchScript program, not a file of tensors; save the module's \
                        `state_dict()`"
                .to_owned());
        }
        // Absent before PyTorch 2.1, which wrote the machine's order without saying so.
        if archive.has("byteorder") {
            let order = archive.read("byteorder", 16)?;
            if order.trim_ascii() != b"little" {
                let order = String::from_utf8_lossy(&order).into_owned();
                return Err(format!("has byte order `{order}`; only `little` is read"));
            }
        }
        Ok(archive)
    }

    /// Reads the pickle.
    pub(super) fn program(&mut self) -> Result<Vec<u8>, Problem> {
        self.read(PROGRAM, PROGRAM_BYTES_MAX)
    }

    /// Reads the numbers of a storage, at most `max` bytes.
    pub(super) fn storage(&mut self, key: &str, max: u64) -> Result<Vec<u8>, Problem> {
        self.read(&format!("data/{key}"), max)
    }

    fn has(&self, name: &str) -> bool {
        self.zip.index_for_name(&format!("{}{name}", self.folder)).is_some()
    }

    fn read(&mut self, name: &str, max: u64) -> Result<Vec<u8>, Problem> {
        let name = format!("{}{name}", self.folder);
        let entry = self.zip.by_name(&name).map_err(|error| match error {
            ZipError::FileNotFound => format!("has no entry `{name}`"),
            other => damaged(other),
        })?;
        if entry.compression() != CompressionMethod::Stored {
            return Err(format!("entry `{name}` is compressed, which `torch.save` never does"));
        }
        let size = entry.size();
        if size > max {
            return Err(format!("entry `{name}` has {size} bytes, at most {max} are read"));
        }
        if size != entry.compressed_size() || size > self.file_bytes {
            return Err(format!("entry `{name}` claims {size} bytes, which are not there"));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        // One byte more, since the checksum is looked at where the entry ends.
        entry
            .take(size.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| format!("entry `{name}` is damaged: {error}"))?;
        if bytes.len() as u64 != size {
            return Err(format!("entry `{name}` is cut short"));
        }
        Ok(bytes)
    }
}

/// Finds the folder that the pickle is in, with its slash.
fn folder_of(zip: &ZipArchive<Cursor<&[u8]>>) -> Result<String, Problem> {
    let mut folders = zip
        .file_names()
        .filter_map(|name| name.strip_suffix(PROGRAM))
        .filter(|folder| folder.find('/') == folder.len().checked_sub(1));
    match (folders.next(), folders.next()) {
        (Some(folder), None) => Ok(folder.to_owned()),
        (None, _) => Err(format!("is a zip without `{PROGRAM}`, so no file of `torch.save`")),
        (Some(_), Some(_)) => Err(format!("has several entries named `{PROGRAM}`")),
    }
}

fn damaged(error: ZipError) -> Problem {
    format!("is no whole zip: {error}")
}
