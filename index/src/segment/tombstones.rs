//! `del-<generation>.bin`: the rows of a segment that are dead.
//!
//! In memory they change with every write; on disk there is one file for each
//! manifest that saw a change, and the log has the rest.

use crate::{
    checked::map_checked,
    durable::{remove_file, write_file},
    error::IndexError,
    manifest::{FileEntry, TombstoneEntry},
};
use roaring::RoaringBitmap;
use std::path::Path;

const PREFIX: &str = "del-";
const SUFFIX: &str = ".bin";

/// Writes and fsyncs the dead rows as they were at the moment of a manifest.
pub(crate) fn write(
    folder: &Path,
    generation: u64,
    dead: &RoaringBitmap,
) -> Result<TombstoneEntry, IndexError> {
    let mut bytes = Vec::with_capacity(dead.serialized_size());
    dead.serialize_into(&mut bytes)?;
    write_file(&folder.join(file_name(generation)), &bytes)?;
    let file = FileEntry { bytes: bytes.len() as u64, crc32c: crc32c::crc32c(&bytes) };
    Ok(TombstoneEntry { generation, rows: dead.len(), file })
}

/// Reads the dead rows of a segment of `rows` rows.
pub(crate) fn read(
    folder: &Path,
    entry: &TombstoneEntry,
    rows: u32,
) -> Result<RoaringBitmap, IndexError> {
    let path = folder.join(file_name(entry.generation));
    let bytes = map_checked(&path, &entry.file)?;
    let dead = RoaringBitmap::deserialize_from(bytes.as_slice())
        .map_err(|error| IndexError::corrupt(&path, error.to_string()))?;
    if dead.len() != entry.rows || dead.max().is_some_and(|last| last >= rows) {
        return Err(IndexError::corrupt(path, "it does not hold the rows it should"));
    }
    Ok(dead)
}

/// Removes every file of dead rows but the one of this generation.
pub(crate) fn remove_others(folder: &Path, kept: Option<u64>) -> Result<(), IndexError> {
    let kept = kept.map(file_name);
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with(PREFIX) && Some(name) != kept.as_deref() {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

/// Returns the name of a segment's file of dead rows.
pub(crate) fn file_name(generation: u64) -> String {
    format!("{PREFIX}{generation}{SUFFIX}")
}
