//! One document of a source, or why it is none.

use std::{fmt, sync::Arc};

use prost::Message;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use twn_protos::v1 as pb;

use crate::{
    client,
    convert::json::{MAX_PAYLOAD_DEPTH, to_struct},
};

/// What an item's message needs beside the document itself.
const ITEM_ROOM_BYTES: usize = 64;
const DERIVED_ID_BYTES: usize = 16;

/// The server's limits that a reader keeps, so that nothing larger is ever loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of one message, and of one line or row.
    pub message_bytes: usize,
    /// Bytes of one text.
    pub text_bytes: usize,
}

impl Bounds {
    /// Takes the limits that a server publishes.
    pub fn of(limits: &pb::Limits) -> Self {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            message_bytes: size(limits.max_message_bytes),
            text_bytes: size(limits.max_text_bytes),
        }
    }
}

/// Where a record was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Path of the file as the user would write it; `-` is standard input.
    #[serde(serialize_with = "as_text")]
    pub file: Arc<str>,
    /// Line on which the record begins, counted from 1; absent when it is the whole file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

fn as_text<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// One document of a source, or why it is none.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Where it was found.
    pub place: Place,
    /// The document, or what is wrong with it.
    pub document: Result<pb::DocumentInput, String>,
}

/// The parts of a document, before they are checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Draft {
    pub(crate) id: Option<String>,
    pub(crate) texts: Vec<String>,
    pub(crate) media: Vec<pb::Part>,
    pub(crate) payload: Map<String, Value>,
    pub(crate) vector: Vec<f32>,
}

impl Draft {
    /// Makes the document. One without an id gets one from its content, so that reading
    /// it again names the same document.
    ///
    /// # Errors
    /// Refuses what no server could take, since a message beyond its limits would end
    /// the whole stream.
    pub(crate) fn finish(self, bounds: Bounds) -> Result<pb::DocumentInput, String> {
        if depth(&self.payload) > MAX_PAYLOAD_DEPTH {
            return Err(format!("the payload nests deeper than {MAX_PAYLOAD_DEPTH} levels"));
        }
        let text_bytes: usize = self.texts.iter().map(String::len).sum();
        if text_bytes > bounds.text_bytes {
            let most = bounds.text_bytes;
            return Err(format!("the text has {text_bytes} bytes, the server takes {most}"));
        }
        let texts = self.texts.into_iter().flat_map(|text| client::text(text).parts);
        let content = pb::Content { parts: self.media.into_iter().chain(texts).collect() };
        let mut document = pb::DocumentInput {
            id: self.id.unwrap_or_default(),
            content: (!content.parts.is_empty()).then_some(content),
            payload: (!self.payload.is_empty()).then(|| to_struct(self.payload)),
            vector: self.vector,
        };
        if document.id.is_empty() {
            document.id = hex(&digest(&document)[..DERIVED_ID_BYTES]);
        }
        let bytes = document.encoded_len() + ITEM_ROOM_BYTES;
        if bytes > bounds.message_bytes {
            let most = bounds.message_bytes;
            return Err(format!("the document has {bytes} bytes, the server takes {most}"));
        }
        Ok(document)
    }
}

/// SHA-256 of a document; maps are ordered, so equal documents have equal digests.
pub(crate) fn digest(document: &pb::DocumentInput) -> [u8; 32] {
    Sha256::digest(document.encode_to_vec()).into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Levels of objects and lists, the payload itself included.
fn depth(payload: &Map<String, Value>) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(of).max().unwrap_or(0),
            Value::Object(fields) => 1 + fields.values().map(of).max().unwrap_or(0),
            _ => 0,
        }
    }
    1 + payload.values().map(of).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BOUNDS: Bounds = Bounds { message_bytes: 1_000, text_bytes: 500 };

    fn draft(text: &str) -> Draft {
        Draft { texts: vec![text.into()], ..Draft::default() }
    }

    #[test]
    fn an_id_comes_from_the_content() {
        let ids = ["a", "b", "a"].map(|text| draft(text).finish(BOUNDS).unwrap().id);
        assert_eq!(ids[0].len(), 32);
        assert_eq!(ids[0], ids[2]);
        assert_ne!(ids[0], ids[1]);
        let named = Draft { id: Some("n".into()), ..draft("a") };
        assert_eq!(named.finish(BOUNDS).unwrap().id, "n");
    }

    #[test]
    fn what_would_end_the_stream_is_refused_here() {
        let long = draft(&"x".repeat(501)).finish(BOUNDS).unwrap_err();
        assert_eq!(long, "the text has 501 bytes, the server takes 500");

        let mut nested = json!(1);
        for _ in 0..MAX_PAYLOAD_DEPTH {
            nested = json!([nested]);
        }
        let mut deep = draft("a");
        deep.payload.insert("k".into(), nested);
        assert!(deep.finish(BOUNDS).unwrap_err().contains("nests deeper"));

        let wide = Draft { vector: vec![0.5; 250], ..draft("a") };
        assert!(wide.finish(BOUNDS).unwrap_err().contains("the server takes 1000"));
    }
}
