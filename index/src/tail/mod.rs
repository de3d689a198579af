//! The tail: documents that are in the log but in no segment yet.

mod map;

pub(crate) use map::{Place, Tail};

use crate::document::{Document, StoredDocument};

/// A document of the tail with its place in history.
#[derive(Debug)]
pub(crate) struct TailRow {
    pub(crate) document: Document,
    pub(crate) sequence: u64,
}

impl TailRow {
    pub(crate) fn id(&self) -> &str {
        &self.document.id
    }

    pub(crate) fn vector(&self) -> &[f32] {
        self.document.vector.as_slice()
    }

    /// Copies the document out.
    pub(crate) fn to_stored(&self) -> StoredDocument {
        let document = &self.document;
        StoredDocument {
            id: document.id.clone(),
            text: document.text.clone(),
            payload: document.payload.clone(),
            provenance: document.provenance.clone(),
            thought: document.thought.clone(),
            content_hash: document.content_hash,
            sequence: self.sequence,
            vector: self.vector().to_vec(),
        }
    }
}
