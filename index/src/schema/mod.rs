//! What the fields of payloads hold: declared once, or seen in what was stored.
//!
//! A declared field holds values of its kind, lists of them, null, or nothing;
//! a document with anything else there is refused, and so is a filter that asks
//! for another kind. Any other field is free: it may hold what it likes, and
//! where all values of a segment are of one kind they become a typed column of
//! its Arrow file all the same (see `infer`).

mod infer;
mod instant;

pub(crate) use infer::{Column, ColumnScan, merge};
pub use instant::parse_instant;

use crate::{
    error::IndexError,
    filter::{FieldValue, Filter, MAX_FIELD_BYTES, find},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt};

/// The most fields a schema declares.
pub const MAX_SCHEMA_FIELDS: usize = 256;

/// The largest integer, in either direction, that a declared integer field
/// takes: up to here a float holds each of them, so filters compare exactly.
pub const MAX_INTEGER: u64 = 1 << 53;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// A string, compared exactly.
    Keyword,
    /// A whole number from -2^53 to 2^53; `3.0` counts as 3.
    Integer,
    /// A number.
    Float,
    /// A truth value.
    Bool,
    /// A string with an RFC 3339 date and time, compared as a point in time.
    Timestamp,
}

impl fmt::Display for FieldKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Keyword => "keyword",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Timestamp => "timestamp",
        })
    }
}

impl FieldKind {
    /// Tells whether a single value, neither null nor a list, is of this kind.
    fn admits(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Keyword, Value::String(_)) | (Self::Bool, Value::Bool(_)) => true,
            (Self::Float, Value::Number(_)) => true,
            (Self::Integer, Value::Number(number)) => number
                .as_f64()
                .is_some_and(|number| number.fract() == 0.0 && number.abs() <= MAX_INTEGER as f64),
            (Self::Timestamp, Value::String(text)) => parse_instant(text).is_some(),
            _ => false,
        }
    }

    fn is_compared_with(self, value: &FieldValue) -> bool {
        matches!(
            (self, value),
            (Self::Keyword | Self::Timestamp, FieldValue::Text(_))
                | (Self::Integer | Self::Float, FieldValue::Number(_))
                | (Self::Bool, FieldValue::Bool(_))
        )
    }
}

/// The kinds of the fields that were declared when a collection was created, by
/// path; a dot steps into an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Schema {
    /// The declared fields.
    pub fields: BTreeMap<String, FieldKind>,
}

/// A field as [`crate::Snapshot::fields`] reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldInfo {
    /// Path of the field.
    pub path: String,
    /// What it holds; absent where its values are of kinds that do not mix.
    pub kind: Option<FieldKind>,
    /// Whether the schema declares it.
    pub is_declared: bool,
}

impl Schema {
    /// Refuses paths that no payload can have, naming them.
    pub fn validate(&self) -> Result<(), IndexError> {
        let refuse = |problem| Err(IndexError::BadSchema { problem });
        if self.fields.len() > MAX_SCHEMA_FIELDS {
            let got = self.fields.len();
            return refuse(format!("{got} fields are over the limit of {MAX_SCHEMA_FIELDS}"));
        }
        for path in self.fields.keys() {
            if path.len() > MAX_FIELD_BYTES {
                return refuse(format!("a field name has over {MAX_FIELD_BYTES} bytes"));
            }
            if path.split('.').any(str::is_empty) {
                return refuse(format!("field `{path}` has an empty step"));
            }
            let ancestors = path.match_indices('.').map(|(dot, _)| &path[..dot]);
            if let Some(parent) = ancestors.into_iter().find(|at| self.fields.contains_key(*at)) {
                return refuse(format!("field `{parent}` cannot hold values and `{path}` both"));
            }
        }
        Ok(())
    }

    /// Refuses a payload with a value of another kind in a declared field.
    pub fn check_payload(&self, id: &str, payload: &Map<String, Value>) -> Result<(), IndexError> {
        for (path, &kind) in &self.fields {
            let Some(value) = find(payload, path) else { continue };
            let strange = match value {
                Value::Array(items) => {
                    items.iter().find(|item| !item.is_null() && !kind.admits(item))
                }
                value => (!value.is_null() && !kind.admits(value)).then_some(value),
            };
            if let Some(strange) = strange {
                return Err(IndexError::BadDocument {
                    id: id.to_owned(),
                    problem: format!("field `{path}` is {}, not of kind {kind}", shown(strange)),
                });
            }
        }
        Ok(())
    }

    /// Refuses a filter that compares a declared field with another kind.
    pub fn check_filter(&self, filter: &Filter) -> Result<(), IndexError> {
        if self.fields.is_empty() {
            return Ok(());
        }
        let check = |field: &String, is_fitting: &dyn Fn(FieldKind) -> bool, what: &str| {
            let kind = self.fields.get(field).filter(|kind| !is_fitting(**kind));
            kind.map_or(Ok(()), |kind| {
                let problem = format!("field `{field}` is of kind {kind}, compared with {what}");
                Err(IndexError::BadFilter { problem })
            })
        };
        match filter {
            Filter::And(parts) | Filter::Or(parts) => {
                parts.iter().try_for_each(|part| self.check_filter(part))
            }
            Filter::Not(part) => self.check_filter(part),
            Filter::Match { field, value } => {
                check(field, &|kind| kind.is_compared_with(value), &value.to_string())
            }
            Filter::In { field, values } => values.iter().try_for_each(|value| {
                check(field, &|kind| kind.is_compared_with(value), &value.to_string())
            }),
            Filter::Range { field, .. } => {
                let is_number = |kind| matches!(kind, FieldKind::Integer | FieldKind::Float);
                check(field, &is_number, "a range of numbers")
            }
            Filter::TimeRange { field, .. } => {
                check(field, &|kind| kind == FieldKind::Timestamp, "a range of times")
            }
            Filter::Exists { .. } => Ok(()),
        }
    }
}

/// Shows a value in an error, cut where it is long.
fn shown(value: &Value) -> String {
    const MOST: usize = 60;
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list in a list".to_owned(),
        value => {
            let text = value.to_string();
            match text.char_indices().nth(MOST) {
                None => text,
                Some((end, _)) => format!("{}…", &text[..end]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Schema {
        let fields = [
            ("lang", FieldKind::Keyword),
            ("year", FieldKind::Integer),
            ("price.net", FieldKind::Float),
            ("open", FieldKind::Bool),
            ("at", FieldKind::Timestamp),
        ];
        Schema { fields: fields.map(|(path, kind)| (path.to_owned(), kind)).into() }
    }

    #[track_caller]
    fn check(payload: Value, refused_for: Option<&str>) {
        let result = schema().check_payload("x", payload.as_object().unwrap());
        match (result, refused_for) {
            (Ok(()), None) => {}
            (Err(error), Some(reason)) => {
                assert!(error.is_callers_fault());
                assert!(error.to_string().contains(reason), "{error}");
            }
            (result, _) => panic!("{payload} gave {result:?}"),
        }
    }

    #[test]
    fn declared_fields_hold_their_kind_and_nothing_else() {
        check(json!({}), None);
        check(json!({"lang": null, "year": [], "free": {"a": [1, "b"]}}), None);
        check(json!({"lang": ["en", null, "de"], "year": 3.0, "price": {"net": 1}}), None);
        check(json!({"open": false, "at": "2024-01-01T12:00:00+01:00"}), None);
        check(json!({"lang": 1}), Some("`lang` is 1, not of kind keyword"));
        check(json!({"lang": ["en", 2]}), Some("`lang` is 2"));
        check(json!({"lang": {"a": 1}}), Some("an object"));
        check(json!({"lang": [["en"]]}), Some("a list in a list"));
        check(json!({"year": 1.5}), Some("kind integer"));
        check(json!({"year": 9_007_199_254_740_994_u64}), Some("kind integer"));
        check(json!({"year": "1994"}), Some(r#""1994""#));
        check(json!({"price": {"net": "1"}}), Some("`price.net`"));
        check(json!({"at": "yesterday"}), Some("kind timestamp"));
        check(json!({"open": "x".repeat(500)}), Some("…"));
    }

    #[test]
    fn schemas_that_no_payload_can_follow_are_refused() {
        let with = |paths: &[&str]| Schema {
            fields: paths.iter().map(|path| ((*path).to_owned(), FieldKind::Bool)).collect(),
        };
        assert!(with(&["a.b", "a.c", "ab"]).validate().is_ok());
        for bad in [&["a", "a.b"][..], &["a", "a.b.c"], &[""], &["a..b"], &[".a"]] {
            assert!(with(bad).validate().unwrap_err().is_callers_fault(), "{bad:?}");
        }
        let long = "x".repeat(MAX_FIELD_BYTES + 1);
        assert!(with(&[&long]).validate().is_err());
    }

    #[test]
    fn filters_of_another_kind_are_refused() {
        let text = |field: &str| Filter::Match {
            field: field.to_owned(),
            value: FieldValue::Text("x".to_owned()),
        };
        let time = |field: &str| Filter::TimeRange {
            field: field.to_owned(),
            gt: Some(0),
            gte: None,
            lt: None,
            lte: None,
        };
        for good in [text("lang"), text("free"), text("at"), time("at"), time("free")] {
            assert!(schema().check_filter(&good).is_ok(), "{good:?}");
        }
        for bad in [text("year"), time("lang"), Filter::Not(Box::new(text("open")))] {
            let error = schema().check_filter(&Filter::And(vec![text("lang"), bad])).unwrap_err();
            assert!(error.is_callers_fault() && error.to_string().contains("of kind"), "{error}");
        }
    }
}
