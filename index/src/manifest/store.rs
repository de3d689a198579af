//! Manifests on disk: `CURRENT` -> `MANIFEST-n`.
//!
//! A manifest file is a line of JSON with the format and the checksum of what
//! follows, and the manifest as JSON after it. `CURRENT` is the manifest's name
//! and the name's checksum. Both are replaced atomically, the manifest first.

use super::Manifest;
use crate::{
    durable::{TEMPORARY_SUFFIX, remove_file, rename, sync_folder, write_file},
    error::IndexError,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::path::{Path, PathBuf};

/// The version of the collection's format, files of a segment included.
const FORMAT: u32 = 4;

/// The oldest version that is read: its segments have no partitions.
const OLDEST: u32 = 3;

const CURRENT: &str = "CURRENT";
const PREFIX: &str = "MANIFEST-";

/// The line before a manifest.
#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    crc32c: u32,
}

/// Tells whether a folder holds a collection.
pub(crate) fn exists(root: &Path) -> bool {
    root.join(CURRENT).exists()
}

/// Makes a manifest the one that counts; durable when this returns.
///
/// After an error the earlier one still counts, except that
/// [`IndexError::Poisoned`] says that it is unknown which of the two does: all
/// files of both have to stay, and no third manifest may follow.
pub(crate) fn store(root: &Path, manifest: &Manifest) -> Result<(), IndexError> {
    let bytes = to_checked_json(manifest)?;
    let name = file_name(manifest.number);
    write_file(&root.join(&name), &bytes)?;
    sync_folder(root)?;
    let current = format!("{name} {:08x}\n", crc32c::crc32c(name.as_bytes()));
    let temporary = root.join(format!("{CURRENT}{TEMPORARY_SUFFIX}"));
    write_file(&temporary, current.as_bytes())?;
    let switched = rename(&temporary, &root.join(CURRENT));
    if switched.is_err() && read_current(root).is_ok_and(|current| current != name) {
        return Ok(switched?);
    }
    switched.and_then(|()| sync_folder(root)).map_err(|error| IndexError::Poisoned {
        problem: format!("it is unknown whether {name} is on disk: {error}"),
    })
}

/// Reads the manifest that counts.
pub(crate) fn load(root: &Path) -> Result<Manifest, IndexError> {
    if !exists(root) {
        return Err(IndexError::NotFound { path: root.to_path_buf() });
    }
    let name = read_current(root)?;
    let path = root.join(&name);
    if !path.exists() {
        return Err(IndexError::corrupt(path, "it is missing, though CURRENT names it"));
    }
    let manifest: Manifest = read_checked_json(&path)?;
    if file_name(manifest.number) != name {
        return Err(IndexError::corrupt(path, format!("it is number {}", manifest.number)));
    }
    Ok(manifest)
}

/// Encodes a value as JSON behind a line with the format and a checksum.
pub(crate) fn to_checked_json(value: &impl Serialize) -> Result<Vec<u8>, IndexError> {
    with_header(&serde_json::to_vec(value).map_err(std::io::Error::from)?)
}

/// Puts the line with format and checksum before a body.
pub(crate) fn with_header(body: &[u8]) -> Result<Vec<u8>, IndexError> {
    let header = Header { format: FORMAT, crc32c: crc32c::crc32c(body) };
    let mut bytes = serde_json::to_vec(&header).map_err(std::io::Error::from)?;
    bytes.push(b'\n');
    bytes.extend_from_slice(body);
    Ok(bytes)
}

/// Reads back what [`to_checked_json`] made.
pub(crate) fn read_checked_json<T: DeserializeOwned>(path: &Path) -> Result<T, IndexError> {
    let bytes = fs_err::read(path)?;
    let split = bytes.iter().position(|&byte| byte == b'\n');
    let (head, body) = match split {
        Some(split) => (&bytes[..split], &bytes[split + 1..]),
        None => return Err(IndexError::corrupt(path, "it has no header line")),
    };
    let header: Header = serde_json::from_slice(head)
        .map_err(|error| IndexError::corrupt(path, format!("header: {error}")))?;
    let path_buf = || path.to_path_buf();
    if header.format > FORMAT {
        return Err(IndexError::NewerFormat {
            path: path_buf(),
            found: header.format,
            supported: FORMAT,
        });
    }
    if (1..OLDEST).contains(&header.format) {
        return Err(IndexError::OlderFormat {
            path: path_buf(),
            found: header.format,
            oldest: OLDEST,
        });
    }
    if header.format < OLDEST || header.crc32c != crc32c::crc32c(body) {
        return Err(IndexError::corrupt(path, "its checksum differs"));
    }
    serde_json::from_slice(body).map_err(|error| IndexError::corrupt(path, error.to_string()))
}

/// Returns the names of the manifests in a folder, whether they count or not.
pub(crate) fn names(root: &Path) -> Result<Vec<String>, IndexError> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(root)? {
        let name = entry?.file_name().into_string();
        names.extend(name.ok().filter(|name| name.starts_with(PREFIX)));
    }
    Ok(names)
}

/// Returns where the name of the manifest that counts is kept.
pub(crate) fn current_path(root: &Path) -> PathBuf {
    root.join(CURRENT)
}

/// Returns where the manifest of a number is kept.
pub(crate) fn path(root: &Path, number: u64) -> PathBuf {
    root.join(file_name(number))
}

/// Removes every manifest but the one of this number, and unfinished files.
pub(crate) fn remove_others(root: &Path, kept: u64) -> Result<(), IndexError> {
    let kept = file_name(kept);
    for entry in fs_err::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_old = name.starts_with(PREFIX) && name != kept;
        if is_old || name.ends_with(TEMPORARY_SUFFIX) {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

fn read_current(root: &Path) -> Result<String, IndexError> {
    let path = root.join(CURRENT);
    let text = String::from_utf8(fs_err::read(&path)?)
        .map_err(|_| IndexError::corrupt(&path, "it is not text"))?;
    let parts = text.strip_suffix('\n').and_then(|line| line.split_once(' '));
    match parts {
        Some((name, checksum))
            if checksum == format!("{:08x}", crc32c::crc32c(name.as_bytes())) =>
        {
            Ok(name.to_owned())
        }
        _ => Err(IndexError::corrupt(path, "its checksum differs")),
    }
}

fn file_name(number: u64) -> String {
    format!("{PREFIX}{number}")
}
