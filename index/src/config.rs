//! What a collection is told once, at its creation.

use crate::{
    error::{IndexError, check_option},
    schema::Schema,
};
use serde::{Deserialize, Serialize};

/// The largest dimension a collection accepts.
pub const MAX_DIMENSION: usize = 16_384;

/// The largest tail, in rows, that may be asked for before sealing.
pub const MAX_SEAL_ROWS: usize = 4_000_000;

/// Length of a log file, in bytes, below which none is sealed for its length.
const SEAL_LOG_BYTES: u64 = 512 << 20;

/// Length from which every log file is sealed, whatever `seal_rows` says.
const SEAL_LOG_BYTES_MAX: u64 = 8 << 30;

/// Bytes that a log has room for, for each of `seal_rows` documents, beside the vector.
const ROW_BYTES: usize = 1024;

/// The most segments that may be allowed to stand beside each other.
pub const MAX_SEGMENTS: usize = 1000;

/// The widest search, in candidates kept, that may be asked for.
pub const MAX_EF: usize = 10_000;

/// The longest encoder fingerprint, in bytes.
pub const MAX_FINGERPRINT_BYTES: usize = 1024;

/// How the graph of each sealed segment is built and walked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HnswConfig {
    /// Neighbours kept per row in the upper layers; level 0 keeps twice as many.
    pub m: usize,
    /// Candidates kept while a row is inserted.
    pub ef_construction: usize,
    /// Candidates kept while searching, where the query does not say.
    pub ef_search: usize,
}

impl Default for HnswConfig {
    fn default() -> Self {
        Self { m: 16, ef_construction: 200, ef_search: 64 }
    }
}

impl HnswConfig {
    /// Refuses parameters the builder cannot work with.
    pub fn validate(&self) -> Result<(), IndexError> {
        // The builder ends the process above 256 and reads 256 back as 0.
        check_option("hnsw.m", self.m, 2, 255)?;
        // Fewer candidates than level 0 has neighbours make a graph with holes.
        check_option("hnsw.ef_construction", self.ef_construction, 2 * self.m + 1, MAX_EF)?;
        check_option("hnsw.ef_search", self.ef_search, 1, MAX_EF)
    }
}

/// Whether walks compare smaller copies of the vectors first.
///
/// The vectors themselves are kept either way, and every score is theirs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantization {
    /// Walks compare the vectors as they are.
    #[default]
    None,
    /// Walks compare copies of one byte a value, a quarter of the memory to
    /// read; the best of what they find is compared again in full.
    Sq8,
}

/// When sealed segments are merged in the background.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactionConfig {
    /// Whether it happens by itself; [`crate::Collection::compact`] works anyway.
    pub is_automatic: bool,
    /// The share of dead rows above which a segment is written anew, in percent.
    pub dead_percent: usize,
    /// Segments above which the smaller ones are merged.
    pub max_segments: usize,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        Self { is_automatic: true, dead_percent: 20, max_segments: 8 }
    }
}

impl CompactionConfig {
    /// Refuses values out of their ranges, naming the field.
    pub fn validate(&self) -> Result<(), IndexError> {
        check_option("compaction.dead_percent", self.dead_percent, 1, 100)?;
        check_option("compaction.max_segments", self.max_segments, 1, MAX_SEGMENTS)
    }
}

/// What a collection is told once, at its creation, and keeps in its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionConfig {
    /// Length of every vector, from 2 to [`MAX_DIMENSION`].
    pub dimension: usize,
    /// The encoder whose vectors these are; empty where vectors are supplied.
    pub encoder_fingerprint: String,
    /// How graphs are built and walked.
    pub hnsw: HnswConfig,
    /// Whether walks compare smaller copies of the vectors first.
    #[serde(default)]
    pub quantization: Quantization,
    /// Rows in the tail that make the background thread seal it.
    pub seal_rows: usize,
    /// When segments are merged.
    pub compaction: CompactionConfig,
    /// What declared payload fields hold.
    pub schema: Schema,
    /// When the collection was created, in milliseconds since 1970.
    pub created_unix_ms: u64,
}

impl CollectionConfig {
    /// Makes a configuration with defaults for everything but the dimension.
    pub fn new(dimension: usize) -> Self {
        Self {
            dimension,
            encoder_fingerprint: String::new(),
            hnsw: HnswConfig::default(),
            quantization: Quantization::None,
            seal_rows: 20_000,
            compaction: CompactionConfig::default(),
            schema: Schema::default(),
            created_unix_ms: 0,
        }
    }

    /// Length of a log file, in bytes, that makes the background thread seal however few
    /// rows are in it: it bounds the memory of the tail and the time that opening takes.
    /// `seal_rows` documents of [`ROW_BYTES`] beside the vector have room below 8 GiB.
    pub(crate) fn seal_log_bytes(&self) -> u64 {
        let row_bytes = (self.dimension * size_of::<f32>() + ROW_BYTES) as u64;
        row_bytes.saturating_mul(self.seal_rows as u64).clamp(SEAL_LOG_BYTES, SEAL_LOG_BYTES_MAX)
    }

    /// Refuses values out of their ranges, naming the field.
    pub fn validate(&self) -> Result<(), IndexError> {
        check_option("dimension", self.dimension, 2, MAX_DIMENSION)?;
        check_option("seal_rows", self.seal_rows, 1, MAX_SEAL_ROWS)?;
        let fingerprint_bytes = self.encoder_fingerprint.len();
        check_option("encoder_fingerprint", fingerprint_bytes, 0, MAX_FINGERPRINT_BYTES)?;
        self.hnsw.validate()?;
        self.compaction.validate()?;
        self.schema.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut CollectionConfig), refused_option: Option<&str>) {
        let mut config = CollectionConfig::new(8);
        change(&mut config);
        let refused = match config.validate() {
            Ok(()) => None,
            Err(IndexError::BadOption { option, .. }) => Some(option),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(refused, refused_option);
    }

    #[test]
    fn a_log_has_room_for_the_rows_asked_for() {
        let mut config = CollectionConfig::new(128);
        assert_eq!(config.seal_log_bytes(), SEAL_LOG_BYTES);
        config.seal_rows = 1_000_000;
        assert_eq!(config.seal_log_bytes(), 1_000_000 * (512 + 1024));
        config.dimension = MAX_DIMENSION;
        config.seal_rows = MAX_SEAL_ROWS;
        assert_eq!(config.seal_log_bytes(), SEAL_LOG_BYTES_MAX);
    }

    #[test]
    fn parameters_outside_their_ranges_are_refused_by_name() {
        check(|_| {}, None);
        check(|config| config.dimension = 1, Some("dimension"));
        check(|config| config.dimension = MAX_DIMENSION + 1, Some("dimension"));
        check(|config| config.seal_rows = 0, Some("seal_rows"));
        check(|config| config.hnsw.m = 256, Some("hnsw.m"));
        check(|config| config.hnsw.ef_construction = 32, Some("hnsw.ef_construction"));
        check(|config| config.hnsw.ef_search = 0, Some("hnsw.ef_search"));
        check(|config| config.compaction.dead_percent = 0, Some("compaction.dead_percent"));
        check(|config| config.compaction.max_segments = 0, Some("compaction.max_segments"));
        check(|config| config.encoder_fingerprint = "x".repeat(1025), Some("encoder_fingerprint"));
    }
}
