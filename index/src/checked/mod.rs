//! Sealed files that are verified where they are read, and not before.
//!
//! Opening a file maps it and reads nothing. Each block of [`BLOCK_BYTES`] is
//! compared with its checksum the first time that anything in it is read, and a
//! background thread goes through the rest, so that opening takes the same time
//! for any number of rows. Once a file is known to be whole, reading costs one
//! load of a flag more than an ordinary array.
//!
//! ```text
//! manifest -> head of sums.bin -> page of checksums -> block of a sealed file
//! ```
//!
//! Owns checksums and what to do when one differs; knows nothing of what is in
//! the files. Invariant: what an array hands out was verified first. Where that
//! failed, it hands out nothing and raises the [`Alarm`], which is asked before
//! an answer leaves the crate: damage is an error and never a wrong answer.

mod alarm;
mod array;
mod bits;
mod file;
mod sums;

pub(crate) use alarm::Alarm;
pub(crate) use array::{CheckedArray, Links};
pub(crate) use file::{CheckedFile, map_checked};
pub(crate) use sums::Sums;

/// Bytes under one checksum: a page, since that is what a read from disk brings.
pub(crate) const BLOCK_BYTES: usize = 4096;
