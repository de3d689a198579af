//! Documents out of files and into a server.
//!
//! Owns the formats (JSONL, CSV, folders of text), the journal of what a server has
//! acknowledged, and the conversation of an ingest stream. Invariant: every record of
//! every source is accounted for once: written, unchanged, skipped or failed with its
//! place and reason. Nothing is held that is larger than the server's limits.

mod csv;
mod journal;
mod jsonl;
mod lines;
mod media;
mod queue;
mod record;
mod report;
mod retry;
mod sender;
mod source;
mod text;

pub use journal::{Journal, journal_path};
pub(crate) use lines::{Line, Lines};
pub(crate) use media::read_image;
pub(crate) use record::Draft;
pub use record::{Bounds, Place, Record};
pub use report::{Failure, Report};
pub use sender::{Job, send};
pub(crate) use source::PAGE_DPI;
pub use source::{Fields, Format, Source};
