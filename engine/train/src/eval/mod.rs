//! Evaluation of encoders: test collections in, retrieval quality out.
//!
//! Reads BEIR folders, embeds their documents and queries through the [`Source`] seam (an
//! encoder in this process, or whoever implements it), ranks every document by cosine and
//! scores the rankings beside baselines. Every query is embedded directly and, where that
//! is asked for, after a thought; modes, the gate's quality and the frontier are read off.
//! Knows no collection and no protocol. Invariant: the same data, encoder and options give
//! the same figures, times aside.
//!
//! | module | owns |
//! |---|---|
//! | `beir` | reading a test collection |
//! | `source`, `local` | the seam; an encoder in this process behind it |
//! | `encode` | driving an encoder: batches, routes, thoughts side by side |
//! | `documents`, `cache` | the corpus's embeddings, kept on disk between evaluations |
//! | `ranking` | exact nearest documents and their margin |
//! | `metrics` | nDCG, recall, reciprocal rank, hits |
//! | `outcome` | a query's direct and reasoned result |
//! | `calibration` | whether the gate knows when thinking helps |
//! | `frontier`, `plot` | what quality costs, and its picture |
//! | `significance` | whether a difference between two systems is one |
//! | `bm25`, `baseline` | systems to stand beside an encoder |
//! | `mmeb` | MMEB-V2: 78 tasks over images, videos and pages |
//! | `evaluate`, `row`, `kinds`, `latency`, `report` | the whole run and what it says |

mod baseline;
mod beir;
mod bm25;
mod cache;
mod calibration;
mod documents;
mod encode;
mod error;
mod evaluate;
mod frontier;
mod kinds;
mod latency;
mod local;
mod metrics;
mod outcome;
mod plot;
mod ranking;
mod report;
mod row;
mod significance;
mod source;

pub mod mmeb;

pub use baseline::{evaluate_bm25, read_baseline};
pub use beir::{Beir, BeirDocument, BeirQuery};
pub use bm25::Bm25;
pub use calibration::{GateReport, ReliabilityBin, auroc, expected_calibration_error, reliability};
pub use error::EvalError;
pub use evaluate::{EncoderEvaluation, EvalOptions, Progress, Stage, evaluate};
pub use frontier::{Frontier, FrontierPoint};
pub use kinds::{KindReport, KindRow};
pub use latency::{Latency, RouteLatency};
pub use local::{LocalOptions, LocalSource};
pub use metrics::{Gain, QueryScores, Relevance, hit, ndcg, recall, reciprocal_rank};
pub use outcome::{Judged, JudgedThought, QueryOutcome};
pub use plot::frontier_svg;
pub(crate) use ranking::{Rows, rank};
pub use report::{Choice, Comparison, DataSummary, Report, ReportOptions};
pub use row::{Evaluation, QueryResult, Row, mode_name};
pub use significance::{Significance, paired_bootstrap};
pub use source::{AfterThought, EmbedOptions, Embedded, Input, Pass, Source, SourceInfo, Think};
