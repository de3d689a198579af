//! `google.protobuf.Struct` and JSON objects.
//!
//! Numbers are doubles on the wire and stay doubles. Depth is bounded where a message
//! comes in, so that nothing behind this door recurses further than that.

use prost_types::{Struct, Value as ProtoValue, value::Kind};
use serde_json::{Map, Number, Value};
use twn_service::ServiceError;

/// How deep objects and lists of a payload may nest, the payload itself included.
pub(crate) const MAX_PAYLOAD_DEPTH: usize = 16;

/// Reads a payload; an absent one is empty.
pub(crate) fn from_struct(
    message: Option<Struct>,
    field: &str,
) -> Result<Map<String, Value>, ServiceError> {
    let fields = message.map(|message| message.fields).unwrap_or_default();
    object(fields, MAX_PAYLOAD_DEPTH, field)
}

/// Writes a payload.
pub(crate) fn to_struct(payload: Map<String, Value>) -> Struct {
    let fields = payload.into_iter().map(|(key, value)| (key, to_value(value)));
    Struct { fields: fields.collect() }
}

fn object(
    fields: impl IntoIterator<Item = (String, ProtoValue)>,
    depth_left: usize,
    field: &str,
) -> Result<Map<String, Value>, ServiceError> {
    let mut object = Map::new();
    for (key, value) in fields {
        object.insert(key, from_value(value, depth_left - 1, field)?);
    }
    Ok(object)
}

fn from_value(value: ProtoValue, depth_left: usize, field: &str) -> Result<Value, ServiceError> {
    let kind = value.kind.ok_or_else(|| ServiceError::invalid(field, "has a value of no kind"))?;
    let is_nested = matches!(kind, Kind::StructValue(_) | Kind::ListValue(_));
    if is_nested && depth_left == 0 {
        let problem = format!("nests deeper than {MAX_PAYLOAD_DEPTH} levels");
        return Err(ServiceError::invalid(field, problem));
    }
    Ok(match kind {
        Kind::NullValue(_) => Value::Null,
        Kind::NumberValue(number) => {
            let finite = Number::from_f64(number).ok_or_else(|| {
                let problem = format!("has the number {number}, which JSON cannot hold");
                ServiceError::invalid(field, problem)
            })?;
            Value::Number(finite)
        }
        Kind::StringValue(text) => Value::String(text),
        Kind::BoolValue(truth) => Value::Bool(truth),
        Kind::StructValue(inner) => Value::Object(object(inner.fields, depth_left, field)?),
        Kind::ListValue(list) => {
            let items = list.values.into_iter().map(|item| from_value(item, depth_left - 1, field));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
    })
}

fn to_value(value: Value) -> ProtoValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(truth) => Kind::BoolValue(truth),
        // Every number of this build of serde_json has a nearest double.
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::MAX)),
        Value::String(text) => Kind::StringValue(text),
        Value::Array(items) => Kind::ListValue(prost_types::ListValue {
            values: items.into_iter().map(to_value).collect(),
        }),
        Value::Object(fields) => Kind::StructValue(to_struct(fields)),
    };
    ProtoValue { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn value(kind: Kind) -> ProtoValue {
        ProtoValue { kind: Some(kind) }
    }

    fn single(value: ProtoValue) -> Option<Struct> {
        Some(Struct { fields: [("k".to_owned(), value)].into() })
    }

    #[test]
    fn payloads_survive_the_round_trip() {
        let payload = json!({
            "null": null, "yes": true, "pi": 3.25, "text": "ä", "list": [1.0, "b", [false]],
            "inner": {"deep": {"er": []}}
        });
        let payload = payload.as_object().unwrap();
        let back = from_struct(Some(to_struct(payload.clone())), "payload").unwrap();
        assert_eq!(Value::Object(back), Value::Object(payload.clone()));
        assert!(from_struct(None, "payload").unwrap().is_empty());
    }

    #[test]
    fn unusable_values_are_refused() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = from_struct(single(value(Kind::NumberValue(number))), "p").unwrap_err();
            assert!(error.to_string().starts_with("p: has the number"), "{error}");
        }
        let error = from_struct(single(ProtoValue { kind: None }), "p").unwrap_err();
        assert_eq!(error.to_string(), "p: has a value of no kind");
    }

    #[test]
    fn depth_is_bounded_for_lists_and_objects() {
        let nest = |levels: usize, is_list: bool| {
            let leaf = value(Kind::BoolValue(true));
            let value = (0..levels).fold(leaf, |inner, _| {
                value(if is_list {
                    Kind::ListValue(prost_types::ListValue { values: vec![inner] })
                } else {
                    Kind::StructValue(single(inner).unwrap())
                })
            });
            from_struct(single(value), "p")
        };
        for is_list in [true, false] {
            assert!(nest(MAX_PAYLOAD_DEPTH - 1, is_list).is_ok());
            let error = nest(MAX_PAYLOAD_DEPTH, is_list).unwrap_err();
            assert_eq!(error.to_string(), "p: nests deeper than 16 levels");
        }
    }
}
