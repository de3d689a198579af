//! Evaluation of encoders: test collections in, retrieval quality out.
//!
//! Reads BEIR folders, encodes their documents and queries through the
//! [`Embedder`](twn_encoder::Embedder) seam, ranks every document by cosine and scores
//! the rankings beside a BM25 baseline. Knows no collection and no server. Invariant:
//! the same data, encoder and options give the same figures, times aside.
//!
//! | module | owns |
//! |---|---|
//! | `beir` | reading a test collection |
//! | `encode` | driving the encoder: batches, routes, thoughts side by side |
//! | `cache` | document embeddings kept on disk between evaluations |
//! | `ranking` | exact nearest documents |
//! | `bm25` | the lexical baseline |
//! | `metrics` | nDCG, recall, reciprocal rank, hits |
//! | `significance` | whether a difference between two systems is one |
//! | `evaluate`, `report` | the whole run and what it says |

mod beir;
mod bm25;
mod cache;
mod encode;
mod error;
mod evaluate;
mod metrics;
mod ranking;
mod report;
mod significance;

pub use beir::{Beir, BeirDocument, BeirQuery};
pub use bm25::Bm25;
pub use error::EvalError;
pub use evaluate::{EvalOptions, Progress, Stage, evaluate, evaluate_bm25};
pub use metrics::{Gain, QueryScores, Relevance, hit, ndcg, recall, reciprocal_rank};
pub use report::{Comparison, DataSummary, Evaluation, Report, Row, mode_name};
pub use significance::{Significance, paired_bootstrap};
