//! One operation as bytes: what a log record is made of.

use super::{Reader, payload, put_counted};
use crate::{
    document::{Document, Operation},
    vector::UnitVector,
};

const UPSERT: u8 = 1;
const UPSERT_WITH_THOUGHT: u8 = 2;
const DELETE: u8 = 3;

/// Appends one validated operation.
pub(crate) fn encode(operation: &Operation, out: &mut Vec<u8>) {
    match operation {
        Operation::Upsert(document) => encode_document(document, out),
        Operation::Delete(id) => {
            out.push(DELETE);
            put_counted(out, id.as_bytes());
        }
    }
}

/// Reads one operation.
pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Operation> {
    match reader.u8()? {
        UPSERT => decode_document(reader, false),
        UPSERT_WITH_THOUGHT => decode_document(reader, true),
        DELETE => Some(Operation::Delete(reader.text()?.to_owned())),
        _ => None,
    }
}

fn encode_document(document: &Document, out: &mut Vec<u8>) {
    out.push(if document.thought.is_some() { UPSERT_WITH_THOUGHT } else { UPSERT });
    put_counted(out, document.id.as_bytes());
    put_counted(out, bytemuck::cast_slice(document.vector.as_slice()));
    put_counted(out, document.text.as_bytes());
    let mut payload_bytes = Vec::new();
    payload::encode(&document.payload, &mut payload_bytes);
    put_counted(out, &payload_bytes);
    put_counted(out, document.provenance.as_bytes());
    if let Some(thought) = &document.thought {
        put_counted(out, thought.as_bytes());
    }
    out.extend_from_slice(&document.content_hash);
}

fn decode_document(reader: &mut Reader<'_>, has_thought: bool) -> Option<Operation> {
    let id = reader.text()?.to_owned();
    let (values, rest) = reader.counted()?.as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let values = values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    Some(Operation::Upsert(Box::new(Document {
        id,
        vector: UnitVector::from_stored(values),
        text: reader.text()?.to_owned(),
        payload: payload::decode(reader.counted()?)?,
        provenance: reader.text()?.to_owned(),
        thought: if has_thought { Some(reader.text()?.to_owned()) } else { None },
        content_hash: reader.hash()?,
    })))
}
