//! What can go wrong, and whose fault it is.

use std::path::PathBuf;

/// Every way in which a collection can refuse or fail.
///
/// Errors fall into three families: the caller's fault (see
/// [`IndexError::is_callers_fault`]), a state of the collection that an
/// operator has to look at, and failures of the machine underneath.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A vector's length differs from the collection's dimension.
    #[error("{what} has {got} dimensions, collection expects {want}")]
    DimensionMismatch {
        /// Which vector: `query vector`, or the vector of a named document.
        what: String,
        /// The vector's length.
        got: usize,
        /// The collection's dimension.
        want: usize,
    },
    /// A vector that has no direction.
    #[error("bad vector: {problem}")]
    BadVector {
        /// What is wrong with it.
        problem: String,
    },
    /// An id that cannot name a document.
    #[error("bad document id: {problem}")]
    BadId {
        /// What is wrong with it.
        problem: String,
    },
    /// A document with a part beyond its limit.
    #[error("bad document `{id}`: {problem}")]
    BadDocument {
        /// The document's id.
        id: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A schema that no payload can follow.
    #[error("bad schema: {problem}")]
    BadSchema {
        /// What is wrong with it.
        problem: String,
    },
    /// A saved snapshot that cannot be made, found or removed by this name.
    #[error("snapshot `{name}`: {problem}")]
    BadSnapshot {
        /// The snapshot's name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A filter that says nothing, too much, or another kind than is declared.
    #[error("bad filter: {problem}")]
    BadFilter {
        /// What is wrong with it.
        problem: String,
    },
    /// A limit or search option out of its range.
    #[error("bad option `{option}`: {got} is outside {least}..={most}")]
    BadOption {
        /// The option's name.
        option: &'static str,
        /// The value given.
        got: usize,
        /// The least allowed.
        least: usize,
        /// The most allowed.
        most: usize,
    },
    /// A share of the nearest documents that cannot be aimed at.
    #[error("bad recall target: {got} is outside 0.5..=1")]
    BadRecallTarget {
        /// The share given.
        got: f32,
    },
    /// One call with more operations or bytes than one log record may hold.
    #[error("batch of {got} {unit} is over the limit of {most}")]
    BatchTooLarge {
        /// The batch's size.
        got: usize,
        /// `operations` or `bytes`.
        unit: &'static str,
        /// The most allowed.
        most: usize,
    },
    /// A folder that already holds a collection.
    #[error("collection at {} exists already", path.display())]
    AlreadyExists {
        /// The collection's folder.
        path: PathBuf,
    },
    /// A folder that holds no collection.
    #[error("no collection at {}", path.display())]
    NotFound {
        /// The folder looked into.
        path: PathBuf,
    },
    /// Another process, or another handle in this one, has the collection open.
    #[error("collection at {} is open elsewhere", path.display())]
    Locked {
        /// The collection's folder.
        path: PathBuf,
    },
    /// The collection was closed through this handle.
    #[error("collection is closed")]
    Closed,
    /// A file that is not what was written.
    #[error("{} is corrupt: {problem}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// A file of a later version of this crate.
    #[error("{} has format {found}, this version reads up to {supported}", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format this version reads.
        supported: u32,
    },
    /// A file of an earlier version of this crate that this one cannot read.
    #[error(
        "{} has format {found}, this version reads {oldest} and later: write its documents into a \
         new collection, with the version that wrote them or from their source",
        path.display()
    )]
    OlderFormat {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The oldest format this version reads.
        oldest: u32,
    },
    /// The collection went read-only, since what it wrote may not be on disk.
    #[error("collection is read-only after a failed write: {problem}")]
    Poisoned {
        /// The failure that made it so.
        problem: String,
    },
    /// A segment could not be built.
    #[error("segment was not built: {problem}")]
    Build {
        /// Why not.
        problem: String,
    },
    /// Arrow refused to encode or decode a file.
    #[error("{}: {source}", path.display())]
    Arrow {
        /// The file.
        path: PathBuf,
        /// Arrow's own error.
        source: arrow::error::ArrowError,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl IndexError {
    /// Tells whether a correct caller would not have met this error.
    ///
    /// The other errors are the collection's or the machine's, and the same
    /// call may succeed later.
    pub fn is_callers_fault(&self) -> bool {
        matches!(
            self,
            Self::DimensionMismatch { .. }
                | Self::BadVector { .. }
                | Self::BadId { .. }
                | Self::BadDocument { .. }
                | Self::BadFilter { .. }
                | Self::BadSchema { .. }
                | Self::BadSnapshot { .. }
                | Self::BadOption { .. }
                | Self::BadRecallTarget { .. }
                | Self::BatchTooLarge { .. }
                | Self::AlreadyExists { .. }
                | Self::NotFound { .. }
        )
    }

    /// Tells whether the disk, or a quota on it, is full: the same call
    /// succeeds once there is space again.
    pub fn is_disk_full(&self) -> bool {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let kind = match self {
            Self::Io(error) => error.kind(),
            Self::Arrow { source: arrow::error::ArrowError::IoError(_, error), .. } => error.kind(),
            _ => return false,
        };
        matches!(kind, StorageFull | QuotaExceeded | FileTooLarge)
    }

    /// Names a corrupt file and what was found in it.
    pub(crate) fn corrupt(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Corrupt { path: path.into(), problem: problem.into() }
    }
}

/// Refuses a value outside a closed range, naming the option.
pub(crate) fn check_option(
    option: &'static str,
    got: usize,
    least: usize,
    most: usize,
) -> Result<(), IndexError> {
    if (least..=most).contains(&got) {
        return Ok(());
    }
    Err(IndexError::BadOption { option, got, least, most })
}
