//! Documents on their way in and out.

use twn_protos::v1 as pb;
use twn_service::{DocumentInput, Hit, ServiceError, StoredDocument, Usage};

use super::{content::content, json, mask::Mask, usage::usage};

/// Reads a document whose path in the request is `field`. Content may be absent when
/// the vector is given; the engine refuses it otherwise.
pub(crate) fn input(
    message: pb::DocumentInput,
    field: &str,
) -> Result<DocumentInput, ServiceError> {
    let pb::DocumentInput { id, content: parts, payload, vector } = message;
    Ok(DocumentInput {
        id,
        content: content(parts.unwrap_or_default(), &format!("{field}.content"))?,
        payload: json::from_struct(payload, &format!("{field}.payload"))?,
        vector: (!vector.is_empty()).then_some(vector),
    })
}

/// Writes a stored document, as much of it as the mask asks for.
pub(crate) fn stored(document: StoredDocument, mask: &Mask) -> pb::Document {
    let usage = mask.include_usage.then(|| provenance(&document)).flatten();
    pb::Document {
        id: document.id,
        text: if mask.omit_text { String::new() } else { document.text },
        payload: Some(json::to_struct(mask.payload(document.payload))),
        vector: if mask.include_vector { document.vector } else { Vec::new() },
        usage,
        sequence: document.sequence,
    }
}

/// Writes one hit.
pub(crate) fn hit(hit: Hit, mask: &Mask) -> pb::Hit {
    pb::Hit { score: hit.score, document: Some(stored(hit.document, mask)) }
}

/// Reads how the vector was made; the engine has written it as JSON.
fn provenance(document: &StoredDocument) -> Option<pb::Usage> {
    match serde_json::from_str::<Usage>(&document.provenance) {
        Ok(made) => Some(usage(made, document.thought.clone())),
        Err(error) => {
            tracing::warn!(id = document.id, %error, "unreadable provenance");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use twn_service::RouteReason;

    fn document() -> StoredDocument {
        let made = Usage::not_encoded(RouteReason::VectorSupplied, "f");
        StoredDocument {
            id: "a".into(),
            text: "words".into(),
            payload: json!({"lang": "en", "year": 3}).as_object().unwrap().clone(),
            provenance: serde_json::to_string(&made).unwrap(),
            thought: Some("hm".into()),
            content_hash: [0; 32],
            sequence: 4,
            vector: vec![1.0, 0.0],
        }
    }

    #[test]
    fn mask_decides_what_is_returned() {
        let plain = stored(document(), &Mask::default());
        assert_eq!((plain.text.as_str(), plain.sequence), ("words", 4));
        assert_eq!(plain.payload.unwrap().fields.len(), 2);
        assert!(plain.vector.is_empty() && plain.usage.is_none());

        let payload = Some(prost_types::FieldMask { paths: vec!["lang".into()] });
        let asked = pb::DocumentMask {
            payload,
            omit_text: true,
            include_vector: true,
            include_usage: true,
        };
        let full = stored(document(), &Mask::read(Some(asked)).unwrap());
        assert!(full.text.is_empty());
        assert_eq!(full.payload.unwrap().fields.into_keys().collect::<Vec<_>>(), ["lang"]);
        assert_eq!(full.vector, [1.0, 0.0]);
        let usage = full.usage.unwrap();
        assert_eq!(usage.route_reason(), pb::RouteReason::VectorSupplied);
        assert_eq!(usage.thought.as_deref(), Some("hm"));
    }

    #[test]
    fn unreadable_provenance_costs_only_itself() {
        let broken = StoredDocument { provenance: "{".into(), ..document() };
        let asked = pb::DocumentMask { include_usage: true, ..Default::default() };
        let mask = Mask::read(Some(asked)).unwrap();
        let message = stored(broken, &mask);
        assert_eq!((message.id.as_str(), message.usage), ("a", None));
    }
}
