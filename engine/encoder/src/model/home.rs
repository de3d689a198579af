//! The folder that pulled models are kept in.
//!
//! ```text
//! models/NAME/          the model, its licence, and verified.json
//! downloads/NAME/       what a pull fetched and has not yet unpacked
//! locks/NAME.lock       held while NAME is being pulled
//! ```

use std::{
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use serde::{Deserialize, Serialize};

use super::catalogue::CatalogueEntry;
use crate::error::EncoderError;

const MARKER: &str = "verified.json";

/// Finds the folder: `TWN_HOME`, or `twn` in the user's cache folder.
///
/// # Errors
/// Fails when neither `TWN_HOME`, `XDG_CACHE_HOME` nor `HOME` is set.
pub fn default_home() -> Result<PathBuf, EncoderError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(home) = variable("TWN_HOME") {
        return Ok(home.into());
    }
    // The base directory specification ignores relative paths.
    let cache = variable("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    cache
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache")))
        .map(|cache| cache.join("twn"))
        .ok_or_else(|| EncoderError::Option {
            option: "TWN_HOME",
            problem: "is not set, and neither is HOME: set it to a folder for models".to_owned(),
        })
}

/// Finds a pulled model's folder; `None` when it is not there or was changed since.
pub fn find(home: &Path, model: &CatalogueEntry) -> Option<PathBuf> {
    let folder = model_folder(home, model);
    let marker = fs_err::read(folder.join(MARKER)).ok()?;
    let marker: Marker = serde_json::from_slice(&marker).ok()?;
    let actual = Marker::of(&folder, model).ok()?;
    (marker == actual).then_some(folder)
}

/// The folder that a model is kept in, whether or not it is there.
pub(super) fn model_folder(home: &Path, model: &CatalogueEntry) -> PathBuf {
    home.join("models").join(model.name)
}

/// The folder that a model is fetched to.
pub(super) fn downloads_folder(home: &Path, model: &CatalogueEntry) -> PathBuf {
    home.join("downloads").join(model.name)
}

/// The file that is locked during a pull.
pub(super) fn lock_path(home: &Path, model: &CatalogueEntry) -> PathBuf {
    home.join("locks").join(format!("{}.lock", model.name))
}

/// Says that a file had the right digest when it had this size and time, so that it need not
/// be hashed at every start.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    file: String,
    sha256: String,
    bytes: u64,
    modified_ns: u64,
}

impl Marker {
    /// Describes the model's file as it lies in its folder.
    fn of(folder: &Path, model: &CatalogueEntry) -> std::io::Result<Self> {
        let metadata = fs_err::metadata(folder.join(model.file_name()))?;
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            file: model.file_name().to_owned(),
            sha256: model.sha256.to_owned(),
            bytes: metadata.len(),
            modified_ns: u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX),
        })
    }
}

/// Notes that the model's file has just been verified.
pub(super) fn mark_verified(folder: &Path, model: &CatalogueEntry) -> std::io::Result<()> {
    let marker = serde_json::to_vec_pretty(&Marker::of(folder, model)?)?;
    let partial = folder.join("verified.json.partial");
    fs_err::write(&partial, marker)?;
    fs_err::rename(partial, folder.join(MARKER))
}
