//! What can go wrong in an evaluation.

use std::path::{Path, PathBuf};

use twn_encoder::EncoderError;

/// A failed evaluation.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A line of the test collection cannot be used.
    #[error("{path}, line {line}: {problem}", path = .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The test collection as a whole cannot be used.
    #[error("{path}: {problem}", path = .path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The encoder refused or failed on an input.
    #[error("cannot encode {what}: {source}")]
    Encode {
        /// Which document or query.
        what: String,
        /// What the encoder said.
        source: EncoderError,
    },
    /// A source that is not an encoder in this process failed on an input.
    #[error("cannot embed {what}: {problem}")]
    Source {
        /// Which document or query.
        what: String,
        /// What went wrong.
        problem: String,
    },
    /// The encoder gave a vector that cannot be ranked.
    #[error("encoder gave {what} a vector with {problem}")]
    Vector {
        /// Which document or query.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An option's value cannot be used.
    #[error("option `{option}`: {problem}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// Reading or writing a file failed; the message has the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl EvalError {
    pub(super) fn line(path: &Path, line: usize, problem: impl Into<String>) -> Self {
        Self::Line { path: path.to_owned(), line, problem: problem.into() }
    }

    pub(super) fn data(path: &Path, problem: impl Into<String>) -> Self {
        Self::Data { path: path.to_owned(), problem: problem.into() }
    }
}
