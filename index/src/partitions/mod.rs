//! The rows of a segment in partitions: groups that lie close together.
//!
//! A filter that admits too many rows to scan them all, and too few for a walk of the graph to
//! come by, is answered from these: the partitions nearest to the query are probed one after
//! the other, and of their rows only those admitted are compared, first by codes that lie
//! beside each other. After Jégou, Douze and Schmid, "Product Quantization for Nearest
//! Neighbor Search" (2011), section IV, with numbers of four bits in the place of products.
//!
//! ```text
//! training -> codes -> file -> (map) -> probe
//! ```
//! This module knows nothing of filters: it is given a bit for each row.

mod codes;
mod file;
mod probe;
mod training;

pub(crate) use file::Partitions;
pub(crate) use probe::{Effort, Probe};

use crate::{
    error::IndexError,
    graph::{Stop, on_threads},
    manifest::FileEntry,
    segment::Vectors,
};
use std::path::Path;

/// Partitions the rows of a segment and writes that, fsynced.
pub(crate) fn build(path: &Path, vectors: &Vectors, stop: &Stop) -> Result<FileEntry, IndexError> {
    on_threads(|| Partitions::write(path, vectors, stop))
}
