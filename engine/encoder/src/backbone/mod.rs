//! The frozen decoder.

mod config;

pub use config::BackboneConfig;
