//! Where the time of one request went.

use std::time::Duration;

use serde::Serialize;
use twn_encoder::EncodeTimings;

/// Where the time of one request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Timings {
    /// Arrival to answer.
    pub total: Duration,
    /// The encoder's stages.
    pub encode: EncodeTimings,
    /// Searching the index.
    pub search: Duration,
    /// Write-ahead log and its fsync.
    pub write: Duration,
}
