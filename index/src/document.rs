//! What is stored, and what may be done to it.

use crate::{
    codec::payload::{self, MAX_PAYLOAD_DEPTH},
    error::IndexError,
    vector::UnitVector,
};
use serde_json::{Map, Value};

/// The longest document id, in bytes.
pub const MAX_ID_BYTES: usize = 512;
/// The longest document text, in bytes.
pub const MAX_TEXT_BYTES: usize = 16 << 20;
/// The largest payload, in bytes of its encoding.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;
/// The longest provenance, in bytes.
pub const MAX_PROVENANCE_BYTES: usize = 64 << 10;
/// The longest thought, in bytes.
pub const MAX_THOUGHT_BYTES: usize = 1 << 20;

/// A document as it is handed in.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Names the document within its collection: 1 to [`MAX_ID_BYTES`] bytes.
    pub id: String,
    /// What the document is found by.
    pub vector: UnitVector,
    /// The text shown with a hit.
    pub text: String,
    /// Fields to filter by and to show.
    pub payload: Map<String, Value>,
    /// How the vector was made, as JSON that this crate does not read.
    pub provenance: String,
    /// The chain of thought behind the vector, if there was one.
    pub thought: Option<String>,
    /// A hash of the content, to tell an unchanged document by.
    pub content_hash: [u8; 32],
}

/// A document as it is read back.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredDocument {
    /// The document's name.
    pub id: String,
    /// Its text.
    pub text: String,
    /// Its payload.
    pub payload: Map<String, Value>,
    /// How its vector was made.
    pub provenance: String,
    /// The thought behind its vector.
    pub thought: Option<String>,
    /// The hash it was stored with.
    pub content_hash: [u8; 32],
    /// The sequence number of the operation that stored it.
    pub sequence: u64,
    /// Its vector, of length 1.
    pub vector: Vec<f32>,
}

/// One change to a collection.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Stores a document, in place of any with the same id.
    Upsert(Box<Document>),
    /// Removes the document of this id, if there is one.
    Delete(String),
}

/// What [`crate::Collection::apply`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Visible and handed to the operating system: survives the end of the
    /// process, though not that of the machine.
    Accepted,
    /// On disk: survives a power failure.
    Durable,
}

/// What an operation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There was no such document; now there is.
    Inserted,
    /// The document took the place of an earlier version.
    Updated,
    /// The document was there and is gone.
    Deleted,
    /// There was no document to delete.
    Missing,
}

/// The receipt for one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The operation's place in the collection's history, from 1.
    pub sequence: u64,
    /// What it did.
    pub outcome: Outcome,
}

impl Operation {
    /// Refuses an operation that a collection of this dimension cannot store.
    pub fn validate(&self, dimension: usize) -> Result<(), IndexError> {
        match self {
            Self::Upsert(document) => document.validate(dimension),
            Self::Delete(id) => validate_id(id),
        }
    }
}

impl Document {
    fn validate(&self, dimension: usize) -> Result<(), IndexError> {
        validate_id(&self.id)?;
        if self.vector.dimension() != dimension {
            return Err(IndexError::DimensionMismatch {
                what: format!("vector of document `{}`", self.id),
                got: self.vector.dimension(),
                want: dimension,
            });
        }
        self.check_bytes("text", self.text.len(), MAX_TEXT_BYTES)?;
        self.check_bytes("provenance", self.provenance.len(), MAX_PROVENANCE_BYTES)?;
        let thought_bytes = self.thought.as_ref().map_or(0, String::len);
        self.check_bytes("thought", thought_bytes, MAX_THOUGHT_BYTES)?;
        if !payload::is_shallow(&self.payload) {
            let problem = format!("payload nests deeper than {MAX_PAYLOAD_DEPTH} levels");
            return Err(IndexError::BadDocument { id: self.id.clone(), problem });
        }
        let mut encoded = Vec::new();
        payload::encode(&self.payload, &mut encoded);
        self.check_bytes("payload", encoded.len(), MAX_PAYLOAD_BYTES)
    }

    fn check_bytes(&self, part: &str, got: usize, most: usize) -> Result<(), IndexError> {
        if got <= most {
            return Ok(());
        }
        let problem = format!("{part} of {got} bytes is over the limit of {most}");
        Err(IndexError::BadDocument { id: self.id.clone(), problem })
    }
}

/// Refuses an id that is empty or too long.
fn validate_id(id: &str) -> Result<(), IndexError> {
    if id.is_empty() {
        return Err(IndexError::BadId { problem: "it is empty".to_owned() });
    }
    if id.len() > MAX_ID_BYTES {
        let problem = format!("{} bytes are over the limit of {MAX_ID_BYTES}", id.len());
        return Err(IndexError::BadId { problem });
    }
    Ok(())
}
