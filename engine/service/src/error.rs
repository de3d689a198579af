//! What a request can fail with, by whose fault it is. The server maps each variant
//! to one gRPC code; nothing here knows of gRPC.

use std::time::Duration;

use twn_encoder::{EncoderError, MediaError};
use twn_index::IndexError;

/// A failed request.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A field of the request cannot be used.
    #[error("{field}: {problem}")]
    InvalidArgument {
        /// Path of the field in the request, in the protocol's names.
        field: String,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// The request asks for something that this build cannot do.
    #[error("{problem}")]
    Unsupported {
        /// What is not supported.
        problem: String,
    },
    /// There is no such collection.
    #[error("collection `{name}` does not exist")]
    CollectionNotFound {
        /// The name asked for.
        name: String,
    },
    /// There is such a collection already.
    #[error("collection `{name}` already exists")]
    CollectionExists {
        /// The name asked for.
        name: String,
    },
    /// The collection's state forbids the request.
    #[error("collection `{name}`: {problem}")]
    FailedPrecondition {
        /// The collection.
        name: String,
        /// What stands in the way and what to do.
        problem: String,
    },
    /// The collection's files are damaged.
    #[error("collection `{name}` is damaged: {problem}")]
    DataLoss {
        /// The collection.
        name: String,
        /// What was found.
        problem: String,
    },
    /// The disk is full; nothing was lost, and the same request works once there is space.
    #[error("collection `{name}` cannot grow, the disk is full: {problem}")]
    DiskFull {
        /// The collection.
        name: String,
        /// What the system said.
        problem: String,
    },
    /// There is more work than the limits allow; try again later.
    #[error("server is busy, {what} is full: retry in {} ms", .retry_after.as_millis())]
    Overloaded {
        /// Which queue or quota is full.
        what: &'static str,
        /// When a retry makes sense.
        retry_after: Duration,
    },
    /// The server is starting or stopping.
    #[error("server is {state}")]
    Unavailable {
        /// `loading the model` or `shutting down`.
        state: &'static str,
    },
    /// The request's deadline passed.
    #[error("deadline exceeded while {stage}")]
    DeadlineExceeded {
        /// What was going on.
        stage: &'static str,
    },
    /// The caller went away.
    #[error("request was cancelled")]
    Cancelled,
    /// Our fault.
    #[error("internal error: {problem}")]
    Internal {
        /// What happened.
        problem: String,
    },
}

impl ServiceError {
    /// Blames a field of the request.
    pub fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::InvalidArgument { field: field.into(), problem: problem.into() }
    }

    /// Tells whether the same request may succeed later.
    pub fn is_retriable(&self) -> bool {
        matches!(
            self,
            Self::Overloaded { .. } | Self::Unavailable { .. } | Self::DeadlineExceeded { .. }
        )
    }

    /// Translates an encoder's failure on the content at `field`.
    pub fn from_encoder(error: EncoderError, field: &str) -> Self {
        match error {
            EncoderError::UnsupportedPart { .. } => {
                Self::Unsupported { problem: format!("{field}: {error}") }
            }
            // Nothing is wrong with the request: this machine lacks a program.
            EncoderError::Media { source: MediaError::Tool { .. }, .. } => {
                Self::Unsupported { problem: format!("{field}: {error}") }
            }
            EncoderError::Media { source: MediaError::Busy, .. } => {
                Self::Unavailable { state: "busy with documents that take too long" }
            }
            EncoderError::InstructionTooLong { .. } => {
                Self::invalid("instruction", error.to_string())
            }
            _ if error.is_callers_fault() => Self::invalid(field, error.to_string()),
            _ => Self::Internal { problem: error.to_string() },
        }
    }

    /// Translates an index failure in collection `name`, blaming `field` for the caller's faults.
    pub fn from_index(error: IndexError, name: &str, field: &str) -> Self {
        if let IndexError::AlreadyExists { .. } = error {
            return Self::CollectionExists { name: name.to_owned() };
        }
        if error.is_callers_fault() {
            return Self::invalid(field, error.to_string());
        }
        Self::from_index_shared(&error, name)
    }

    /// Translates an index failure that is not the caller's and that several callers meet.
    pub(crate) fn from_index_shared(error: &IndexError, name: &str) -> Self {
        let (name, problem) = (name.to_owned(), error.to_string());
        match error {
            IndexError::Closed => Self::CollectionNotFound { name },
            IndexError::Locked { .. }
            | IndexError::NewerFormat { .. }
            | IndexError::OlderFormat { .. }
            | IndexError::Poisoned { .. } => Self::FailedPrecondition { name, problem },
            _ if error.is_disk_full() => Self::DiskFull { name, problem },
            IndexError::Corrupt { .. } => Self::DataLoss { name, problem },
            _ => Self::Internal { problem: format!("collection `{name}`: {problem}") },
        }
    }
}
