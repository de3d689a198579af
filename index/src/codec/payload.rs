//! A payload as bytes that read back to exactly the same values.
//!
//! JSON text is not used: parsing a printed float may be off by one unit in
//! the last place, and then a filter would answer differently after a restart.

use super::{Reader, put_counted};
use serde_json::{Map, Number, Value};

/// How deep objects and lists may nest inside a payload.
pub const MAX_PAYLOAD_DEPTH: usize = 16;

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const UNSIGNED: u8 = 3;
const SIGNED: u8 = 4;
const FLOAT: u8 = 5;
const TEXT: u8 = 6;
const LIST: u8 = 7;
const OBJECT: u8 = 8;

/// Tells whether a payload nests no deeper than [`MAX_PAYLOAD_DEPTH`].
pub(crate) fn is_shallow(payload: &Map<String, Value>) -> bool {
    fn fits(value: &Value, depth_left: usize) -> bool {
        match value {
            Value::Array(items) => {
                depth_left > 0 && items.iter().all(|item| fits(item, depth_left - 1))
            }
            Value::Object(fields) => {
                depth_left > 0 && fields.values().all(|field| fits(field, depth_left - 1))
            }
            _ => true,
        }
    }
    payload.values().all(|value| fits(value, MAX_PAYLOAD_DEPTH - 1))
}

/// Appends a payload that [`is_shallow`] has accepted.
pub(crate) fn encode(payload: &Map<String, Value>, out: &mut Vec<u8>) {
    encode_object(payload, out);
}

/// Reads a payload that takes up all of `bytes`.
pub(crate) fn decode(bytes: &[u8]) -> Option<Map<String, Value>> {
    let mut reader = Reader::new(bytes);
    let payload = decode_object(&mut reader, MAX_PAYLOAD_DEPTH)?;
    reader.is_at_end().then_some(payload)
}

fn encode_object(fields: &Map<String, Value>, out: &mut Vec<u8>) {
    put_count(out, fields.len());
    for (name, value) in fields {
        put_counted(out, name.as_bytes());
        encode_value(value, out);
    }
}

fn encode_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(false) => out.push(FALSE),
        Value::Bool(true) => out.push(TRUE),
        Value::Number(number) => encode_number(number, out),
        Value::String(text) => {
            out.push(TEXT);
            put_counted(out, text.as_bytes());
        }
        Value::Array(items) => {
            out.push(LIST);
            put_count(out, items.len());
            items.iter().for_each(|item| encode_value(item, out));
        }
        Value::Object(fields) => {
            out.push(OBJECT);
            encode_object(fields, out);
        }
    }
}

fn encode_number(number: &Number, out: &mut Vec<u8>) {
    let (tag, bits) = if let Some(unsigned) = number.as_u64() {
        (UNSIGNED, unsigned)
    } else if let Some(signed) = number.as_i64() {
        (SIGNED, signed.cast_unsigned())
    } else {
        (FLOAT, number.as_f64().unwrap_or(0.0).to_bits())
    };
    out.push(tag);
    out.extend_from_slice(&bits.to_le_bytes());
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("a payload in memory has fewer than 2^32 parts");
    out.extend_from_slice(&count.to_le_bytes());
}

fn decode_object(reader: &mut Reader<'_>, depth_left: usize) -> Option<Map<String, Value>> {
    let depth_left = depth_left.checked_sub(1)?;
    let count = decode_count(reader)?;
    let mut fields = Map::with_capacity(count);
    for _ in 0..count {
        let name = reader.text()?.to_owned();
        fields.insert(name, decode_value(reader, depth_left)?);
    }
    Some(fields)
}

fn decode_value(reader: &mut Reader<'_>, depth_left: usize) -> Option<Value> {
    Some(match reader.u8()? {
        NULL => Value::Null,
        FALSE => Value::Bool(false),
        TRUE => Value::Bool(true),
        UNSIGNED => Value::from(reader.u64()?),
        SIGNED => Value::from(reader.u64()?.cast_signed()),
        FLOAT => Value::Number(Number::from_f64(f64::from_bits(reader.u64()?))?),
        TEXT => Value::String(reader.text()?.to_owned()),
        LIST => {
            let depth_left = depth_left.checked_sub(1)?;
            let count = decode_count(reader)?;
            let items = (0..count).map(|_| decode_value(reader, depth_left));
            Value::Array(items.collect::<Option<Vec<_>>>()?)
        }
        OBJECT => Value::Object(decode_object(reader, depth_left)?),
        _ => return None,
    })
}

/// Reads a number of parts; each takes a byte at least, so no count that the
/// bytes left cannot bear makes us allocate.
fn decode_count(reader: &mut Reader<'_>) -> Option<usize> {
    let count = usize::try_from(reader.u32()?).ok()?;
    (count <= reader.remaining()).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    fn sample() -> Map<String, Value> {
        object(json!({
            "title": "naïve", "year": 1994, "loss": -3, "big": u64::MAX, "ratio": 0.1 + 0.2,
            "tiny": 5e-324, "ok": true, "no": false, "none": null, "tags": ["a", 1, [null]],
            "author": {"name": {"first": "x"}, "": 1}
        }))
    }

    #[test]
    fn values_come_back_to_the_bit() {
        let mut bytes = Vec::new();
        encode(&sample(), &mut bytes);
        assert_eq!(decode(&bytes), Some(sample()));
    }

    #[test]
    fn no_truncated_or_changed_payload_is_read_past_its_end() {
        let mut bytes = Vec::new();
        encode(&sample(), &mut bytes);
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None);
        }
        for position in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[position] ^= 0xff;
            assert_ne!(decode(&changed), Some(sample()));
        }
    }

    #[test]
    fn depth_is_counted_in_both_directions() {
        let mut value = json!(1);
        for _ in 0..MAX_PAYLOAD_DEPTH - 1 {
            value = json!([value]);
        }
        let deepest = object(json!({ "x": value }));
        assert!(is_shallow(&deepest));
        let mut bytes = Vec::new();
        encode(&deepest, &mut bytes);
        assert_eq!(decode(&bytes), Some(deepest));

        let too_deep = object(json!({ "x": [value] }));
        assert!(!is_shallow(&too_deep));
        bytes.clear();
        encode(&too_deep, &mut bytes);
        assert_eq!(decode(&bytes), None);
    }
}
