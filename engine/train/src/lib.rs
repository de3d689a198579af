//! Training of encoders, and their evaluation.
//!
//! `eval` says how well an encoder retrieves.
#![forbid(unsafe_code)]

pub mod eval;

pub use eval::*;
