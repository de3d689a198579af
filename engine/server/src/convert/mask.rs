//! Which fields of a document a request wants back.

use serde_json::{Map, Value};
use twn_protos::v1 as pb;
use twn_service::{Projection, ServiceError};

/// Paths that one mask may name.
pub(crate) const MAX_MASK_PATHS: usize = 256;

/// Which fields of a document to return.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Mask {
    /// Payload paths; `None` means the whole payload.
    payload: Option<Vec<String>>,
    pub(crate) omit_text: bool,
    pub(crate) include_vector: bool,
    pub(crate) include_usage: bool,
}

impl Mask {
    /// Reads a mask; an absent one asks for text and the whole payload.
    pub(crate) fn read(message: Option<pb::DocumentMask>) -> Result<Self, ServiceError> {
        let message = message.unwrap_or_default();
        let payload = message.payload.map(|mask| mask.paths);
        let paths = payload.as_ref().map_or(0, Vec::len);
        if paths > MAX_MASK_PATHS {
            let problem = format!("has {paths} paths, at most {MAX_MASK_PATHS} are allowed");
            return Err(ServiceError::invalid("mask.payload", problem));
        }
        Ok(Self {
            payload,
            omit_text: message.omit_text,
            include_vector: message.include_vector,
            include_usage: message.include_usage,
        })
    }

    /// What has to be read of a document to give what was asked for.
    pub(crate) fn projection(&self) -> Projection {
        Projection {
            text: !self.omit_text,
            payload: self.payload.as_ref().is_none_or(|paths| !paths.is_empty()),
            provenance: self.include_usage,
            vector: self.include_vector,
        }
    }

    /// Keeps what was asked for. A path is a key, or keys joined by dots that step into
    /// objects; one that leads nowhere is no error.
    pub(crate) fn payload(&self, payload: Map<String, Value>) -> Map<String, Value> {
        let Some(paths) = &self.payload else { return payload };
        let mut kept = Map::new();
        for path in paths {
            copy(&payload, path, &mut kept);
        }
        kept
    }
}

fn copy(from: &Map<String, Value>, path: &str, to: &mut Map<String, Value>) {
    if let Some(value) = from.get(path) {
        to.insert(path.to_owned(), value.clone());
    } else if let Some((key, rest)) = path.split_once('.')
        && let Some(Value::Object(inner)) = from.get(key)
        && leads_somewhere(inner, rest)
        && let Value::Object(kept) = to.entry(key).or_insert_with(|| Value::Object(Map::new()))
    {
        copy(inner, rest, kept);
    }
}

fn leads_somewhere(from: &Map<String, Value>, path: &str) -> bool {
    if from.contains_key(path) {
        return true;
    }
    let Some((key, rest)) = path.split_once('.') else { return false };
    matches!(from.get(key), Some(Value::Object(inner)) if leads_somewhere(inner, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(paths: Option<&[&str]>, want: Value) {
        let payload = json!({"a": 1, "by": {"name": "x", "age": 3, "of": {"k": 0}}, "d.t": true});
        let paths = paths.map(|paths| prost_types::FieldMask {
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
        });
        let mask = Mask::read(Some(pb::DocumentMask { payload: paths, ..Default::default() }));
        let Value::Object(payload) = payload else { unreachable!() };
        assert_eq!(Value::Object(mask.unwrap().payload(payload)), want);
    }

    #[test]
    fn absent_means_all_and_empty_means_none() {
        check(None, json!({"a": 1, "by": {"name": "x", "age": 3, "of": {"k": 0}}, "d.t": true}));
        check(Some(&[]), json!({}));
    }

    #[test]
    fn paths_step_into_objects() {
        check(Some(&["a", "by.name"]), json!({"a": 1, "by": {"name": "x"}}));
        check(Some(&["by.name", "by.of.k"]), json!({"by": {"name": "x", "of": {"k": 0}}}));
        check(Some(&["by", "by.name"]), json!({"by": {"name": "x", "age": 3, "of": {"k": 0}}}));
        check(Some(&["d.t", "absent", "a.b", "by.absent"]), json!({"d.t": true}));
    }

    #[test]
    fn too_many_paths_are_refused() {
        let payload = Some(prost_types::FieldMask { paths: vec![String::new(); 257] });
        let mask = pb::DocumentMask { payload, ..Default::default() };
        let error = Mask::read(Some(mask)).unwrap_err().to_string();
        assert_eq!(error, "mask.payload: has 257 paths, at most 256 are allowed");
    }
}
