//! Training of encoders, and their evaluation.
//!
//! `data` makes examples and test collections, `learn` trains adapters on them, and `eval`
//! says how well an encoder retrieves. Knows no collection and no server.
#![forbid(unsafe_code)]

pub mod data;
pub mod eval;
pub mod learn;

pub use eval::*;
