//! Texts that others wrote, read from the files of their packages.

pub(super) mod explain;
pub(super) mod markup;
pub(super) mod packages;
pub(super) mod prose;
pub(super) mod tree;
pub(super) mod wordnet;

/// A pair that needs no thought, with the name of what it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) source: String,
    pub(super) query: String,
    pub(super) positives: Vec<String>,
    /// Texts that look as if they answered.
    pub(super) negatives: Vec<String>,
    /// Pairs with the same key are of the same split.
    pub(super) key: String,
}

/// A text alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) source: String,
    pub(super) text: String,
}
