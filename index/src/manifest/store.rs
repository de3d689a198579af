//! Manifests on disk: `CURRENT` -> `MANIFEST-n`.
//!
//! A manifest file is a line of JSON with the format and the checksum of what
//! follows, and the manifest as JSON after it. `CURRENT` is the manifest's name
//! and the name's checksum. Both are replaced atomically, the manifest first.

use super::Manifest;
use crate::{
    durable::{TEMPORARY_SUFFIX, replace_file},
    error::IndexError,
};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The version of the collection's format, files of a segment included.
const FORMAT: u32 = 1;

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
pub(crate) fn store(root: &Path, manifest: &Manifest) -> Result<(), IndexError> {
    let body = serde_json::to_vec(manifest).map_err(std::io::Error::from)?;
    let header = Header { format: FORMAT, crc32c: crc32c::crc32c(&body) };
    let mut bytes = serde_json::to_vec(&header).map_err(std::io::Error::from)?;
    bytes.push(b'\n');
    bytes.extend_from_slice(&body);
    let name = file_name(manifest.number);
    replace_file(root, &name, &bytes)?;
    let current = format!("{name} {:08x}\n", crc32c::crc32c(name.as_bytes()));
    replace_file(root, CURRENT, current.as_bytes())
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
    let bytes = fs_err::read(&path)?;
    let split = bytes.iter().position(|&byte| byte == b'\n');
    let (head, body) = match split {
        Some(split) => (&bytes[..split], &bytes[split + 1..]),
        None => return Err(IndexError::corrupt(path, "it has no header line")),
    };
    let header: Header = serde_json::from_slice(head)
        .map_err(|error| IndexError::corrupt(&path, format!("header: {error}")))?;
    if header.format > FORMAT {
        return Err(IndexError::NewerFormat { path, found: header.format, supported: FORMAT });
    }
    if header.format != FORMAT || header.crc32c != crc32c::crc32c(body) {
        return Err(IndexError::corrupt(path, "its checksum differs"));
    }
    let manifest: Manifest = serde_json::from_slice(body)
        .map_err(|error| IndexError::corrupt(&path, error.to_string()))?;
    if file_name(manifest.number) != name {
        return Err(IndexError::corrupt(path, format!("it is number {}", manifest.number)));
    }
    Ok(manifest)
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
            fs_err::remove_file(entry.path())?;
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
