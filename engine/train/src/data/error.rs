//! What can go wrong in making data.

use std::path::PathBuf;

/// Data that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A line of an input file cannot be used.
    #[error("{path}, line {line}: {problem}", path = .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// An input has nothing of what it is read for.
    #[error("{path} has no {what}", path = .path.display())]
    Empty {
        /// The file or folder.
        path: PathBuf,
        /// What was expected there.
        what: &'static str,
    },
    /// Reading or writing a file failed; the message has the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A line could not be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}
