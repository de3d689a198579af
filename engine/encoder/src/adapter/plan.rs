//! What adapters that are yet to be trained look like.

use serde::{Deserialize, Serialize};

use super::{Instructions, Interface, ThoughtFormat};
use crate::{capitals::Capitals, pooling::Pooling};

/// Shapes and texts of adapters that are yet to be trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdapterPlan {
    /// Rank of the reasoning adapter, at least 1.
    pub reasoning_rank: usize,
    /// Rank of the embedding adapter, at least 1.
    pub embedding_rank: usize,
    /// `alpha / rank` of both.
    pub scale: f64,
    /// Number of embedding-query tokens, 1 to 64.
    pub queries: usize,
    /// How the two adapters meet.
    pub interface: Interface,
    /// What becomes the embedding.
    pub pooling: Pooling,
    /// Length of the embeddings; `None` leaves the pooled states as they are.
    pub dimension: Option<usize>,
    /// After how many of the backbone's layers the gate reads the query states; `None` reads
    /// them after the final norm.
    pub gate_depth: Option<usize>,
    /// How thoughts are marked and bounded.
    pub thought: ThoughtFormat,
    /// Instructions for inputs that bring none.
    pub instructions: Instructions,
    /// How text in capitals alone is read.
    pub capitals: Capitals,
}

impl Default for AdapterPlan {
    fn default() -> Self {
        Self {
            reasoning_rank: 8,
            embedding_rank: 8,
            scale: 2.0,
            queries: 8,
            interface: Interface::Cache,
            pooling: Pooling::Mean,
            dimension: None,
            gate_depth: None,
            thought: ThoughtFormat::default(),
            instructions: Instructions::default(),
            capitals: Capitals::default(),
        }
    }
}
