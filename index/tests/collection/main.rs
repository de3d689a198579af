//! Collections from outside: what a caller is promised, on a real file system.
//!
//! Tests of crashes, failing disks and damaged bytes go through some dozens of points
//! each; `TWN_INDEX_POINTS=300` makes that 300, which is every step of the disk that
//! their scenario has.

mod compaction;
mod concurrency;
mod corruption;
mod crash;
mod history;
mod kill;
mod model;
mod parse;
mod partitions;
mod planned;
mod power;
mod quantised;
mod recall;
mod saved;
mod schema;
mod support;
