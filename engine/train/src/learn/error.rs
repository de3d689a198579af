//! What can go wrong in training.

use std::path::{Path, PathBuf};

use twn_encoder::EncoderError;

use crate::eval::EvalError;

/// A failed training.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A line of the data cannot be used.
    #[error("{path}, line {line}: {problem}", path = .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A file as a whole cannot be used.
    #[error("{path}: {problem}", path = .path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The recipe asks for what cannot be.
    #[error("recipe: {problem}")]
    Recipe {
        /// What is wrong.
        problem: String,
    },
    /// The loss is not finite any more.
    #[error("stage `{stage}`, step {step}: the loss is {loss}")]
    Diverged {
        /// Name of the stage.
        stage: String,
        /// Counted from 1.
        step: usize,
        /// What it is instead.
        loss: f32,
    },
    /// Something that cannot happen did.
    #[error("internal: {problem}")]
    Internal {
        /// What happened.
        problem: String,
    },
    /// The data tell a gate nothing.
    #[error("the gate cannot be fitted: {problem}")]
    NoGate {
        /// Why not.
        problem: String,
    },
    /// The texts make no lexicon.
    #[error("no lexicon can be made: {problem}")]
    NoLexicon {
        /// Why not.
        problem: String,
    },
    /// An evaluation failed.
    #[error(transparent)]
    Evaluation(#[from] EvalError),
    /// The encoder refused or failed.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// Reading or writing a file failed; the message has the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl TrainError {
    pub(crate) fn line(path: &Path, line: usize, problem: impl Into<String>) -> Self {
        Self::Line { path: path.to_owned(), line, problem: problem.into() }
    }

    pub(crate) fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), problem: problem.into() }
    }

    pub(crate) fn recipe(problem: impl Into<String>) -> Self {
        Self::Recipe { problem: problem.into() }
    }

    pub(crate) fn no_lexicon(problem: impl Into<String>) -> Self {
        Self::NoLexicon { problem: problem.into() }
    }

    pub(crate) fn no_gate(problem: impl Into<String>) -> Self {
        Self::NoGate { problem: problem.into() }
    }

    pub(crate) fn tokenizer(problem: String) -> Self {
        Self::Internal { problem: format!("tokenizer: {problem}") }
    }
}
