//! A line of a training file.

use serde::{Deserialize, Serialize};

/// What a training text teaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A query whose document has other words, until something is worked out.
    Resolving,
    /// A question and its explanation.
    Explain,
    /// A pair that needs no thought.
    Plain,
    /// A text alone, to learn a teacher's vector from.
    Distill,
}

impl Kind {
    /// The kinds that are pairs.
    pub const PAIRS: [Self; 3] = [Self::Resolving, Self::Explain, Self::Plain];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolving => "resolving",
            Self::Explain => "explain",
            Self::Plain => "plain",
            Self::Distill => "distill",
        }
    }
}

/// A training example: a query with the documents it should and should not find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// What it teaches.
    pub kind: Kind,
    /// Instruction of the query, if it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// The query, or with [`Kind::Distill`] the text.
    pub query: String,
    /// Documents that answer the query.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub positives: Vec<String>,
    /// Documents that look as if they did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub negatives: Vec<String>,
    /// What to think before the query is embedded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thought: Option<String>,
    /// Where the text comes from: a family of queries, a package, a data set.
    pub source: String,
}
