//! The data folder and the collections in it.

use std::{
    fs::TryLockError,
    io,
    path::{Path, PathBuf},
};

use twn_service::{Engine, EngineOptions, ServiceError};

use super::{Check, no_model::NoModel, try_writing};
use crate::config::Config;

const NAME: &str = "data";
const LOCK: &str = "LOCK";
const LISTED_MAX: usize = 10_000;

/// Checks that the data folder can be used and that every collection in it opens. What a
/// running server has open is left to it.
pub(super) async fn examine(config: &Config, is_running: bool) -> Vec<Check> {
    let folder = &config.data.path;
    if let Err(error) = try_writing(folder) {
        return vec![unusable(&error)];
    }
    if !folder.exists() {
        return vec![Check::ok(NAME, format!("{} will be made", folder.display()))];
    }
    let collections = match collections(folder) {
        Ok(collections) => collections,
        Err(error) => return vec![unusable(&error)],
    };
    let mut checks = vec![Check::ok(NAME, format!("{} can be written", folder.display()))];
    if collections.iter().any(|collection| is_locked(collection)) {
        let detail = format!("{} open in a running server", counted(collections.len()));
        checks.push(if is_running {
            Check::ok(NAME, detail)
        } else {
            let advice = "another server has this folder: use it, stop it, or take other data";
            Check::warn(NAME, detail, advice)
        });
    } else if !collections.is_empty() {
        checks.extend(open_all(config, &collections).await);
    }
    checks
}

fn counted(collections: usize) -> String {
    if collections == 1 { "1 collection".to_owned() } else { format!("{collections} collections") }
}

fn unusable(error: &io::Error) -> Check {
    Check::fail(NAME, error.to_string(), "make the folder writable, or take another with `--data`")
}

fn collections(data: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = data.join("collections");
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)?.take(LISTED_MAX) {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Tells whether some process has the collection open. The lock is given back at once.
fn is_locked(collection: &Path) -> bool {
    let file = fs_err::File::options().read(true).write(true).open(collection.join(LOCK));
    file.is_ok_and(|file| matches!(file.file().try_lock(), Err(TryLockError::WouldBlock)))
}

/// Opens every collection as a server would, and closes it.
async fn open_all(config: &Config, collections: &[PathBuf]) -> Vec<Check> {
    let options = EngineOptions {
        data: config.data.path.clone(),
        search_threads: 1,
        policy: config.reasoning,
        pressure: config.pressure,
        cache: config.cache,
        batch: config.batch,
        limits: config.limits.clone(),
    };
    let engine = match Engine::start(NoModel::new(), options) {
        Ok(engine) => engine,
        Err(error) => return vec![Check::fail(NAME, error.to_string(), "see the message")],
    };
    let mut documents = 0;
    let mut checks = Vec::new();
    for collection in collections {
        let name = collection.file_name().unwrap_or_default().to_string_lossy();
        match engine.collection(&name) {
            Ok(view) => documents += view.stats.documents,
            Err(ServiceError::CollectionNotFound { .. }) => {
                let detail = format!("{} is no collection", collection.display());
                checks.push(Check::warn(NAME, detail, "move it away"));
            }
            Err(error) => {
                let advice = "restore the folder from a backup, or move it away and ingest again";
                checks.push(Check::fail(NAME, error.to_string(), advice));
            }
        }
    }
    engine.shut_down().await;
    let opened = collections.len() - checks.len();
    checks.insert(0, Check::ok(NAME, format!("{} opened, {documents} documents", counted(opened))));
    checks
}
