//! The services of `twn.v1`: each call is translated, handed to the engine and
//! answered.
//!
//! Knows the protocol and the engine, and decides nothing about either. Invariants:
//! whatever a client sends ends in an answer with a documented code; a client that
//! goes away takes its work with it; a client that does not read holds a bounded
//! amount of memory.

mod access;
mod access_log;
mod answer_body;
mod collection;
mod context;
mod deadline;
mod duplex;
mod embed;
mod host;
mod info;
mod ingest;
mod ingest_stream;
mod maintenance;
mod multiplex;
mod panics;
mod search;

pub(crate) use access::Access;
pub(crate) use collection::CollectionRpc;
pub(crate) use embed::EmbedRpc;
pub(crate) use host::Host;
pub(crate) use info::InfoRpc;
pub(crate) use ingest::IngestRpc;
pub(crate) use maintenance::MaintenanceRpc;
pub(crate) use search::SearchRpc;
