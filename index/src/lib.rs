//! Durable collections of vectors, searched by likeness and filtered by payload.
//!
//! A [`Collection`] lives in a folder. What is written goes to a log and into
//! memory at once, and is found from then on; in the background it is sealed
//! into segments: Arrow files that are mapped and never read into memory as a
//! whole, with a proximity graph and filter columns beside them. This crate is
//! synchronous and knows nothing of models, networks or runtimes.
//!
//! # Cast of types
//!
//! - [`Collection`] is the one thing to hold: [`Collection::apply`] writes,
//!   [`Collection::snapshot`] reads.
//! - [`CollectionConfig`] is what a collection is told once, at its creation.
//! - [`Document`], with a [`UnitVector`], goes in by an [`Operation`] and comes
//!   back as a [`StoredDocument`].
//! - [`Durability`] is what a write waits for, [`Applied`] its receipt.
//! - [`Snapshot`] is the collection at one moment: [`Snapshot::search`],
//!   [`Snapshot::get`], [`Snapshot::list`], [`Snapshot::count`].
//! - [`Filter`] is a condition on payloads; the same for sealed documents and
//!   for those just written.
//! - [`SearchOutcome`] has the [`Hit`]s and a [`Plan`] that says how they were
//!   found.
//! - [`Schema`] declares what payload fields hold; [`Snapshot::fields`] tells
//!   what they do.
//! - [`SavedSnapshot`] is a collection kept as it was, under a name:
//!   [`Collection::save_snapshot`], [`Collection::restore_snapshot`].
//! - [`Verified`] is what reading every byte has found: [`Collection::verify`].
//! - [`observer`] lets tests see and fail each change to the disk.
//! - [`IndexError`] says what went wrong and whose fault it was.
//!
//! # Example
//!
//! ```
//! use twn_index::{
//!     Collection, CollectionConfig, Document, Durability, Operation, SearchOptions, UnitVector,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("fruit");
//! let collection = Collection::create(&path, CollectionConfig::new(3))?;
//! let apple = Document {
//!     id: "apple".to_owned(),
//!     vector: UnitVector::new(vec![1.0, 0.2, 0.0])?,
//!     text: "An apple a day".to_owned(),
//!     payload: serde_json::from_str(r#"{"colour": "red", "price": 0.5}"#)?,
//!     provenance: "{}".to_owned(),
//!     thought: None,
//!     content_hash: [0; 32],
//! };
//! collection.apply(vec![Operation::Upsert(Box::new(apple))], Durability::Durable)?;
//!
//! let query = UnitVector::new(vec![1.0, 0.0, 0.0])?;
//! let outcome = collection.snapshot().search(&query, &SearchOptions::new(10))?;
//! assert_eq!(outcome.hits[0].document.id, "apple");
//!
//! drop(collection);
//! let reopened = Collection::open(&path)?;
//! assert_eq!(reopened.stats().documents, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - An acknowledged durable write is there after any crash; a batch is there
//!   in full or not at all.
//! - A sealed file never changes. Its checksum is in the manifest.
//! - Each id has at most one live row, that of its greatest sequence number.
//! - Reads never wait for writes.
//! - `unsafe` is in two modules: mapping files, and vector instructions.
#![deny(unsafe_code)]

mod checked;
mod codec;
mod collection;
mod config;
mod document;
mod durable;
mod error;
mod filter;
mod graph;
mod manifest;
#[doc(hidden)]
pub mod parse;
mod partitions;
mod projection;
mod schema;
mod segment;
mod simd;
mod snapshot;
mod tail;
mod vector;
mod wal;

pub use codec::payload::MAX_PAYLOAD_DEPTH;
pub use collection::{
    Collection, Compacted, Damage, MAX_SNAPSHOTS, SavedSnapshot, Stats, Verified,
};
pub use config::{
    CollectionConfig, CompactionConfig, HnswConfig, MAX_DIMENSION, MAX_EF, MAX_FINGERPRINT_BYTES,
    MAX_SEAL_ROWS, MAX_SEGMENTS, Quantization,
};
pub use document::{
    Applied, Document, Durability, MAX_ID_BYTES, MAX_PAYLOAD_BYTES, MAX_PROVENANCE_BYTES,
    MAX_TEXT_BYTES, MAX_THOUGHT_BYTES, Operation, Outcome, StoredDocument,
};
pub use durable::observer;
pub use error::IndexError;
pub use filter::{
    FieldValue, Filter, MAX_FIELD_BYTES, MAX_FILTER_CLAUSES, MAX_FILTER_DEPTH, MAX_FILTER_VALUES,
};
pub use projection::Projection;
pub use schema::{FieldInfo, FieldKind, MAX_INTEGER, MAX_SCHEMA_FIELDS, Schema, parse_instant};
pub use snapshot::{
    Filtering, Hit, MAX_LIMIT, MIN_RECALL_TARGET, Plan, Ranked, Ranking, SearchOptions,
    SearchOutcome, Snapshot, Strategy,
};
pub use vector::UnitVector;
pub use wal::{MAX_BATCH_BYTES, MAX_BATCH_OPERATIONS};
