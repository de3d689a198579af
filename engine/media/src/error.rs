//! What can be wrong with a piece of media.

use std::time::Duration;

use crate::format::Format;

/// Why a piece of media was not read.
///
/// All but [`Tool`](Self::Tool), [`Busy`](Self::Busy) and [`Io`](Self::Io) are the
/// caller's fault.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// There are no bytes.
    #[error("file is empty")]
    Empty,
    /// The first bytes are of no format that is read here.
    #[error("{format} is not among the formats read as {kind}: {readable}")]
    Format {
        /// What the first bytes announce.
        format: Format,
        /// What it was given as, with its article.
        kind: &'static str,
        /// The formats that are.
        readable: &'static str,
    },
    /// The format is read, this kind of it is not.
    #[error("{format} with {what} is not supported; {advice}")]
    Unsupported {
        /// The file's format.
        format: Format,
        /// For example `CMYK colours`.
        what: String,
        /// What to do instead.
        advice: &'static str,
    },
    /// The file ends too early, or its bytes contradict themselves.
    #[error("{format} file is damaged: {problem}")]
    Damaged {
        /// The file's format.
        format: Format,
        /// What was found.
        problem: String,
    },
    /// A limit would be exceeded.
    #[error("{what} is {got}, at most {max} is accepted")]
    Limit {
        /// What is limited, with its unit.
        what: &'static str,
        /// What the file has.
        got: u64,
        /// The limit.
        max: u64,
    },
    /// Reading took too long and was given up.
    #[error("{what} took longer than {} ms", .max.as_millis())]
    Time {
        /// What was being done.
        what: &'static str,
        /// The limit.
        max: Duration,
    },
    /// One side is more than 200 times the other.
    #[error("image of {width} x {height} pixels: one side may be at most 200 times the other")]
    AspectRatio {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
    /// There is no such page.
    #[error("page {page} (from 0) does not exist: the document has {pages}")]
    NoSuchPage {
        /// The page asked for, from 0.
        page: u32,
        /// Pages of the document.
        pages: usize,
    },
    /// The program that reads video files is absent or cannot be started.
    #[error("video files need the program `{program}`: {problem}; send the frames instead")]
    Tool {
        /// The program's name or path.
        program: String,
        /// Why it did not run.
        problem: String,
    },
    /// Earlier files that took too long are still being worked on.
    #[error("too many documents that exceeded their time are still being rendered")]
    Busy,
    /// Reading or writing a temporary file failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl MediaError {
    /// Tells whether the caller's input is at fault, not the machine.
    pub fn is_callers_fault(&self) -> bool {
        !matches!(self, Self::Tool { .. } | Self::Busy | Self::Io(_))
    }

    /// Refuses more than `max` of something.
    pub(crate) fn check_limit(what: &'static str, got: u64, max: u64) -> Result<(), Self> {
        if got > max { Err(Self::Limit { what, got, max }) } else { Ok(()) }
    }
}
