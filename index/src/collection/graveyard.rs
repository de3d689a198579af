//! Segments that no manifest names any more, while someone may still read them.
//!
//! Mapped files outlive their names on most file systems, though not on all,
//! and their space is free only once both are gone. So a folder is removed when
//! the last snapshot that reads it is, or else by the next opening, which finds
//! it unnamed.

use crate::{durable::remove_folder, segment::Segment};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// Folders waiting for their readers.
#[derive(Debug, Default)]
pub(super) struct Graveyard(Mutex<Vec<Grave>>);

#[derive(Debug)]
struct Grave {
    segment: Weak<Segment>,
    folder: PathBuf,
}

impl Graveyard {
    /// Takes in a segment that the manifest on disk no longer names.
    pub(super) fn add(&self, segment: &Arc<Segment>, folder: PathBuf) {
        self.graves().push(Grave { segment: Arc::downgrade(segment), folder });
    }

    /// Removes the folders that nobody reads; returns how many are left.
    pub(super) fn sweep(&self) -> usize {
        let mut graves = self.graves();
        graves.retain(|grave| {
            if grave.segment.strong_count() > 0 {
                return true;
            }
            match remove_folder(&grave.folder) {
                Ok(()) => false,
                Err(error) => {
                    let folder = grave.folder.display();
                    tracing::warn!(%folder, %error, "an old segment is left behind");
                    true
                }
            }
        });
        graves.len()
    }

    fn graves(&self) -> std::sync::MutexGuard<'_, Vec<Grave>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
