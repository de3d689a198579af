//! What was found damaged, remembered for everyone who reads the same files.

use crate::error::IndexError;
use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// The first damage found in some files. Once raised it stays: what has been
/// read since may be incomplete.
#[derive(Debug, Default)]
pub(crate) struct Alarm(OnceLock<Found>);

#[derive(Debug)]
struct Found {
    path: PathBuf,
    problem: String,
}

impl Alarm {
    /// Raises the alarm, and tells the operator the first time.
    pub(super) fn raise(&self, path: &Path, problem: String) {
        if self.0.get().is_none() {
            tracing::error!(path = %path.display(), problem, "a sealed file is damaged");
        }
        // Of several only the first counts.
        let _ = self.0.set(Found { path: path.to_path_buf(), problem });
    }

    /// Refuses if anything was found damaged.
    pub(crate) fn check(&self) -> Result<(), IndexError> {
        self.0.get().map_or(Ok(()), |found| Err(IndexError::corrupt(&found.path, &found.problem)))
    }
}
