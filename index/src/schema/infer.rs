//! Finding out what the fields of a segment hold.
//!
//! Integers among floats become floats, times among other strings become
//! keywords. Kinds that do not mix make no column: those values are in the
//! payload itself, and filters see each of them as what it is.

use super::{FieldKind, Schema, parse_instant};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The most fields of one segment that become columns: the first by name.
const MAX_COLUMNS: usize = 256;

/// A field as a segment holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) path: String,
    /// Absent where kinds do not mix; the field then has no column.
    pub(crate) kind: Option<FieldKind>,
    /// Whether any row has a list there; the column is then one of lists.
    pub(crate) is_list: bool,
}

/// What was seen in one field.
#[derive(Debug, Default)]
struct Seen {
    /// Absent before the first value.
    kind: Option<Option<FieldKind>>,
    is_list: bool,
}

/// Collects payloads row by row.
#[derive(Debug, Default)]
pub(crate) struct ColumnScan {
    fields: BTreeMap<String, Seen>,
}

impl ColumnScan {
    pub(crate) fn add(&mut self, payload: &Map<String, Value>) {
        self.add_object(None, payload);
    }

    fn add_object(&mut self, path: Option<&str>, object: &Map<String, Value>) {
        for (key, value) in object {
            // No path leads to a key with a dot, and null holds nothing.
            if key.contains('.') || value.is_null() {
                continue;
            }
            let path = match path {
                None => key.clone(),
                Some(parent) => format!("{parent}.{key}"),
            };
            match value {
                // The object itself holds no value; that of a row may.
                Value::Object(inner) => self.add_object(Some(&path), inner),
                Value::Array(items) => {
                    let seen = self.fields.entry(path).or_default();
                    seen.is_list = true;
                    items.iter().for_each(|item| seen.add(item));
                }
                value => self.fields.entry(path).or_default().add(value),
            }
        }
    }

    /// Returns the fields seen that hold a value; declared ones are of their kind.
    pub(crate) fn finish(self, schema: &Schema) -> Vec<Column> {
        let column = |(path, seen): (String, Seen)| {
            let declared = schema.fields.get(&path).copied().map(Some);
            let kind = declared.or(seen.kind)?;
            Some(Column { path, kind, is_list: seen.is_list })
        };
        self.fields.into_iter().filter_map(column).take(MAX_COLUMNS).collect()
    }
}

impl Seen {
    fn add(&mut self, value: &Value) {
        let kind = match value {
            Value::Null => return,
            Value::Bool(_) => Some(FieldKind::Bool),
            Value::Number(number) if number.is_i64() => Some(FieldKind::Integer),
            Value::Number(_) => Some(FieldKind::Float),
            // Once there was another text, asking again would not change it.
            Value::String(_) if self.kind == Some(Some(FieldKind::Keyword)) => return,
            Value::String(text) if parse_instant(text).is_some() => Some(FieldKind::Timestamp),
            Value::String(_) => Some(FieldKind::Keyword),
            Value::Array(_) | Value::Object(_) => None,
        };
        self.kind = Some(match self.kind {
            None => kind,
            Some(earlier) => merge(earlier, kind),
        });
    }
}

/// Returns the kind that holds values of both kinds, if there is one.
pub(crate) fn merge(a: Option<FieldKind>, b: Option<FieldKind>) -> Option<FieldKind> {
    use FieldKind::{Float, Integer, Keyword, Timestamp};
    match (a?, b?) {
        (a, b) if a == b => Some(a),
        (Integer, Float) | (Float, Integer) => Some(Float),
        (Keyword, Timestamp) | (Timestamp, Keyword) => Some(Keyword),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(values: &[Value], expected: Option<(Option<FieldKind>, bool)>) {
        let mut scan = ColumnScan::default();
        for value in values {
            scan.add(json!({"a": {"x": value}}).as_object().unwrap());
        }
        let columns = scan.finish(&Schema::default());
        let expected = expected.map(|(kind, is_list)| Column { path: "a.x".into(), kind, is_list });
        assert_eq!(columns, Vec::from_iter(expected), "{values:?}");
    }

    #[test]
    fn kinds_follow_from_the_values() {
        let time = "2024-01-01T12:00:00Z";
        check(&[json!(null)], None);
        check(&[json!([])], None);
        check(&[json!(1), json!(-2)], Some((Some(FieldKind::Integer), false)));
        check(&[json!(1), json!(0.5), json!(u64::MAX)], Some((Some(FieldKind::Float), false)));
        check(&[json!(time), json!(null)], Some((Some(FieldKind::Timestamp), false)));
        check(&[json!(time), json!("x"), json!(time)], Some((Some(FieldKind::Keyword), false)));
        check(&[json!([true, null]), json!(false)], Some((Some(FieldKind::Bool), true)));
        check(&[json!(1), json!("x"), json!(1)], Some((None, false)));
        check(&[json!([[1]])], Some((None, true)));
    }

    #[test]
    fn a_declared_kind_goes_before_what_was_seen() {
        let schema = Schema { fields: [("a".to_owned(), FieldKind::Float)].into() };
        let mut scan = ColumnScan::default();
        scan.add(json!({"a": 1}).as_object().unwrap());
        assert_eq!(scan.finish(&schema)[0].kind, Some(FieldKind::Float));
    }
}
