//! A document on its way in: validated, fingerprinted, and turned into the index's form.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use twn_encoder::{Content, Media, MediaKind, Part, ReasoningPolicy, Usage};
use twn_index::{Document, Schema, UnitVector};

use crate::{error::ServiceError, limits::Limits};

/// Payload key that tells where a document's media came from.
const MEDIA_KEY: &str = "media";

/// A document to store.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DocumentInput {
    /// The caller's id.
    pub id: String,
    /// What is embedded and kept.
    pub content: Content,
    /// Kept as it is, for hits and filters.
    pub payload: Map<String, Value>,
    /// Stored instead of an encoded vector.
    pub vector: Option<Vec<f32>>,
}

/// A document that has passed validation.
pub(crate) struct ValidDocument {
    pub(crate) id: String,
    pub(crate) content: Content,
    payload: Map<String, Value>,
    pub(crate) vector: Option<UnitVector>,
    pub(crate) content_hash: [u8; 32],
}

/// What, beside the document itself, decides about its vector.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WriteContext {
    pub(crate) collection: String,
    pub(crate) dimension: usize,
    pub(crate) schema: Schema,
    pub(crate) instruction: Option<String>,
    pub(crate) policy: ReasoningPolicy,
    pub(crate) encoder_fingerprint: String,
}

/// Where a part of media came from, if it says so.
fn reference(part: &Part) -> Option<Value> {
    let Part::Media(media) = part else { return None };
    if media.uri.is_empty() {
        return None;
    }
    let mut reference = Map::new();
    reference.insert("kind".to_owned(), media.kind.name().into());
    reference.insert("uri".to_owned(), media.uri.as_str().into());
    if media.kind == MediaKind::Page {
        // Counted from 1, as readers do.
        reference.insert("page".to_owned(), (u64::from(media.page) + 1).into());
    }
    Some(Value::Object(reference))
}

impl DocumentInput {
    /// Checks everything that can be checked without encoding. `field` is the
    /// document's path in the request.
    pub(crate) fn validate(
        mut self,
        field: &str,
        context: &WriteContext,
        limits: &Limits,
    ) -> Result<ValidDocument, ServiceError> {
        self.refer_to_media();
        check_id(&self.id, &format!("{field}.id"), limits)?;
        let payload_field = format!("{field}.payload");
        check_payload(&self.payload, &payload_field, limits)?;
        let checked = context.schema.check_payload(&self.id, &self.payload);
        checked.map_err(|error| {
            ServiceError::from_index(error, &context.collection, &payload_field)
        })?;

        let content_field = format!("{field}.content");
        let vector = match &self.vector {
            Some(values) => {
                let vector_field = format!("{field}.vector");
                check_content_bounds(&self.content, &content_field, limits)?;
                Some(unit_vector(values, context.dimension, &context.collection, &vector_field)?)
            }
            None => {
                check_content(&self.content, &content_field, limits)?;
                None
            }
        };
        let content_hash = self.hash(context);
        let Self { id, content, payload, .. } = self;
        Ok(ValidDocument { id, content, payload, vector, content_hash })
    }

    /// Keeps where its media came from in the payload's `media`, unless the caller has put
    /// something there: the bytes themselves are not stored.
    fn refer_to_media(&mut self) {
        let references: Vec<Value> = self.content.parts.iter().filter_map(reference).collect();
        if !references.is_empty() && !self.payload.contains_key(MEDIA_KEY) {
            self.payload.insert(MEDIA_KEY.to_owned(), Value::Array(references));
        }
    }

    /// Digests everything that decides about what would be stored.
    fn hash(&self, context: &WriteContext) -> [u8; 32] {
        let mut digest = Sha256::new();
        let mut field = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        };
        field(&(self.content.parts.len() as u64).to_le_bytes());
        for part in &self.content.parts {
            match part {
                Part::Text(text) => field(text.as_bytes()),
                Part::Media(media) => {
                    let Media { kind, frames_per_second, page, .. } = media;
                    field(format!("{kind:?} {frames_per_second} {page}").as_bytes());
                    media.files.iter().for_each(|file| field(file));
                }
            }
        }
        field(Value::Object(self.payload.clone()).to_string().as_bytes());
        for value in self.vector.iter().flatten() {
            field(&value.to_le_bytes());
        }
        let policy = context.policy.effective();
        field(format!("{policy:?}").as_bytes());
        field(context.instruction.as_deref().unwrap_or_default().as_bytes());
        field(context.encoder_fingerprint.as_bytes());
        digest.finalize().into()
    }
}

impl ValidDocument {
    /// Completes the document with its vector and provenance.
    pub(crate) fn into_stored(
        self,
        vector: UnitVector,
        usage: &Usage,
        thought: Option<String>,
    ) -> Result<Document, ServiceError> {
        let provenance = serde_json::to_string(usage)
            .map_err(|error| ServiceError::Internal { problem: error.to_string() })?;
        Ok(Document {
            id: self.id,
            vector,
            text: self.content.joined_text(),
            payload: self.payload,
            provenance,
            thought,
            content_hash: self.content_hash,
        })
    }
}

/// Checks a document id.
pub(crate) fn check_id(id: &str, field: &str, limits: &Limits) -> Result<(), ServiceError> {
    match id.len() {
        0 => Err(ServiceError::invalid(field, "is empty")),
        got if got > limits.max_id_bytes => {
            let problem = format!("has {got} bytes, at most {} are allowed", limits.max_id_bytes);
            Err(ServiceError::invalid(field, problem))
        }
        _ => Ok(()),
    }
}

/// Checks content that is to be encoded.
pub(crate) fn check_content(
    content: &Content,
    field: &str,
    limits: &Limits,
) -> Result<(), ServiceError> {
    if content.parts.is_empty() {
        return Err(ServiceError::invalid(field, "has no parts, at least one is needed"));
    }
    check_content_bounds(content, field, limits)
}

fn check_content_bounds(
    content: &Content,
    field: &str,
    limits: &Limits,
) -> Result<(), ServiceError> {
    let parts = content.parts.len();
    if parts > limits.max_parts {
        let problem = format!("has {parts} parts, at most {} are allowed", limits.max_parts);
        return Err(ServiceError::invalid(format!("{field}.parts"), problem));
    }
    let text_bytes: usize = content
        .parts
        .iter()
        .map(|part| if let Part::Text(text) = part { text.len() } else { 0 })
        .sum();
    if text_bytes > limits.max_text_bytes {
        let max = limits.max_text_bytes;
        let problem = format!("has {text_bytes} bytes of text, at most {max} are allowed");
        return Err(ServiceError::invalid(field, problem));
    }
    Ok(())
}

fn check_payload(
    payload: &Map<String, Value>,
    field: &str,
    limits: &Limits,
) -> Result<(), ServiceError> {
    if payload.is_empty() {
        return Ok(());
    }
    let got = serde_json::to_string(payload).map_or(usize::MAX, |json| json.len());
    if got > limits.max_payload_bytes {
        let max = limits.max_payload_bytes;
        let problem = format!("has {got} bytes as JSON, at most {max} are allowed");
        return Err(ServiceError::invalid(field, problem));
    }
    Ok(())
}

/// Checks and normalises a supplied vector for a collection of `dimension`.
pub(crate) fn unit_vector(
    values: &[f32],
    dimension: usize,
    collection: &str,
    field: &str,
) -> Result<UnitVector, ServiceError> {
    let got = values.len();
    if got != dimension {
        let problem =
            format!("has {got} dimensions, collection `{collection}` expects {dimension}");
        return Err(ServiceError::invalid(field, problem));
    }
    UnitVector::new(values.to_vec())
        .map_err(|error| ServiceError::from_index(error, collection, field))
}
