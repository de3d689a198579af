//! The engine between the network and the parts: collections, ingest and search
//! pipelines, batching and admission.
//!
//! Knows the encoder and the index, but no protobuf: the server translates. Tokio
//! moves requests; one thread owns the model; a fixed pool searches; one task writes
//! to each collection. Invariant: whatever is acknowledged is as durable as was asked
//! for, and every answer carries how it was made.
//!
//! [`Engine`] is the way in; [`Call`] carries a request's deadline and cancellation.

#![forbid(unsafe_code)]

mod admission;
mod batcher;
mod cache;
mod call;
mod collections;
mod document;
mod drain;
mod embedding;
mod encoding;
mod engine;
mod error;
mod explanation;
mod flights;
mod gate_curve;
mod ingest;
mod limits;
mod maintenance;
mod policy;
mod pressure;
mod search;
mod search_pool;
mod timings;
mod writer;

pub use cache::CacheOptions;
pub use call::{Call, CallGuard};
pub use collections::{CollectionView, CreateCollection};
pub use document::DocumentInput;
pub use embedding::EmbedRequest;
pub use encoding::Encoded;
pub use engine::{BatchOptions, Engine, EngineOptions};
pub use error::ServiceError;
pub use explanation::{Explanation, ExplanationCost};
pub use ingest::{IngestSession, WriteOptions, WriteStatus, Written};
pub use limits::Limits;
pub use policy::{ConvergenceRequest, PolicyDefaults, PolicyRequest};
pub use pressure::PressureOptions;
pub use search::{Found, Query, Ranking, SearchAnswer, SearchExplanation, SearchRequest};
pub use timings::Timings;
pub use twn_encoder::adapter::GatePoint;
pub use twn_encoder::{
    Content, Convergence, EmbedKind, EncoderInfo, Media, MediaKind, Part, Pressure, ReasoningMode,
    Route, RouteReason, StopReason, ThresholdSource, TokenCost, Usage,
};
pub use twn_index::{
    CollectionConfig, Compacted, CompactionConfig, Damage, Durability, FieldInfo, FieldKind,
    FieldValue, Filter, Filtering, Hit, HnswConfig, MAX_FILTER_CLAUSES, MAX_FILTER_DEPTH,
    MIN_RECALL_TARGET, Plan, Projection, Quantization, SavedSnapshot, Schema, Stats,
    StoredDocument, Strategy, Verified,
};
