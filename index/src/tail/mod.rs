//! The tail: documents that are in the log but in no segment yet.

mod map;

pub(crate) use map::{Place, Tail};

use crate::{
    document::{Document, StoredDocument},
    projection::Projection,
};
use serde_json::Map;

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

    /// Copies what is wanted of the document out.
    pub(crate) fn to_stored(&self, wanted: Projection) -> StoredDocument {
        let document = &self.document;
        let mut stored = StoredDocument {
            id: document.id.clone(),
            text: String::new(),
            payload: Map::new(),
            provenance: String::new(),
            thought: None,
            content_hash: document.content_hash,
            sequence: self.sequence,
            vector: Vec::new(),
        };
        if wanted.text {
            stored.text.clone_from(&document.text);
        }
        if wanted.payload {
            stored.payload.clone_from(&document.payload);
        }
        if wanted.provenance {
            stored.provenance.clone_from(&document.provenance);
            stored.thought.clone_from(&document.thought);
        }
        if wanted.vector {
            stored.vector.extend_from_slice(self.vector());
        }
        stored
    }
}
