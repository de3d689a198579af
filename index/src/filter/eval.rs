//! Asking one payload whether it matches: the meaning of a filter, written
//! down once and plainly.

use super::{Bounds, FieldValue, Filter};
use crate::schema::parse_instant;
use serde_json::{Map, Value};

/// Tells whether a payload matches a validated filter.
pub(crate) fn matches(filter: &Filter, payload: &Map<String, Value>) -> bool {
    match filter {
        Filter::And(parts) => parts.iter().all(|part| matches(part, payload)),
        Filter::Or(parts) => parts.iter().any(|part| matches(part, payload)),
        Filter::Not(part) => !matches(part, payload),
        Filter::Match { field, value } => {
            any_element(payload, field, |element| equals(element, value))
        }
        Filter::In { field, values } => {
            any_element(payload, field, |element| values.iter().any(|value| equals(element, value)))
        }
        Filter::Range { field, gt, gte, lt, lte } => {
            let bounds = Bounds { gt: *gt, gte: *gte, lt: *lt, lte: *lte };
            any_element(payload, field, |element| {
                element.as_f64().is_some_and(|number| {
                    bounds.admits_from_below(number) && bounds.admits_from_above(number)
                })
            })
        }
        Filter::TimeRange { field, gt, gte, lt, lte } => {
            let bounds = Bounds { gt: *gt, gte: *gte, lt: *lt, lte: *lte };
            any_element(payload, field, |element| {
                element.as_str().and_then(parse_instant).is_some_and(|instant| {
                    bounds.admits_from_below(instant) && bounds.admits_from_above(instant)
                })
            })
        }
        Filter::Exists { field } => find(payload, field).is_some_and(|value| !value.is_null()),
    }
}

/// Follows a path of keys through objects.
pub(crate) fn find<'a>(payload: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    let mut keys = field.split('.');
    let first = payload.get(keys.next()?)?;
    keys.try_fold(first, |value, key| value.as_object()?.get(key))
}

fn any_element(
    payload: &Map<String, Value>,
    field: &str,
    mut is_match: impl FnMut(&Value) -> bool,
) -> bool {
    match find(payload, field) {
        None => false,
        Some(Value::Array(elements)) => elements.iter().any(is_match),
        Some(value) => is_match(value),
    }
}

fn equals(element: &Value, value: &FieldValue) -> bool {
    match (element, value) {
        (Value::String(text), FieldValue::Text(wanted)) => text == wanted,
        (Value::Bool(truth), FieldValue::Bool(wanted)) => truth == wanted,
        (Value::Number(number), FieldValue::Number(wanted)) => number.as_f64() == Some(*wanted),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(filter: Filter, expected: bool) {
        let payload = json!({
            "lang": "en", "year": 1994, "tags": ["a", "b", 3], "open": true, "gone": null,
            "by": {"name": "x", "age": 3.5}, "none": [], "dotted.key": 1
        });
        let payload = payload.as_object().unwrap();
        assert_eq!(matches(&filter, payload), expected, "{filter:?}");
    }

    fn equal(field: &str, value: FieldValue) -> Filter {
        Filter::Match { field: field.to_owned(), value }
    }

    fn text(value: &str) -> FieldValue {
        FieldValue::Text(value.to_owned())
    }

    fn exists(field: &str) -> Filter {
        Filter::Exists { field: field.to_owned() }
    }

    fn between(field: &str, gte: f64, lt: f64) -> Filter {
        Filter::Range { field: field.to_owned(), gt: None, gte: Some(gte), lt: Some(lt), lte: None }
    }

    #[test]
    fn each_clause_means_what_it_says() {
        check(equal("lang", text("en")), true);
        check(equal("lang", text("EN")), false);
        check(equal("year", FieldValue::Number(1994.0)), true);
        check(equal("year", text("1994")), false);
        check(equal("open", FieldValue::Bool(true)), true);
        check(equal("tags", text("b")), true);
        check(equal("tags", FieldValue::Number(3.0)), true);
        check(equal("by.name", text("x")), true);
        check(equal("by", text("x")), false);
        check(equal("dotted.key", FieldValue::Number(1.0)), false);
        check(equal("absent", FieldValue::Bool(false)), false);
        check(between("year", 1994.0, 1995.0), true);
        check(between("year", 1990.0, 1994.0), false);
        check(between("by.age", 3.0, 4.0), true);
        check(between("tags", 3.0, 4.0), true);
        check(exists("none"), true);
        check(exists("by"), true);
        check(exists("gone"), false);
        check(exists("by.name.first"), false);
        check(Filter::Not(Box::new(exists("gone"))), true);
        check(Filter::And(vec![exists("by"), exists("gone")]), false);
        check(Filter::Or(vec![exists("by"), exists("gone")]), true);
        let values = vec![text("de"), text("en")];
        check(Filter::In { field: "lang".to_owned(), values }, true);
    }
}
