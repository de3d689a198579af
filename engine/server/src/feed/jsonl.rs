//! JSONL: one JSON object a line.

use std::{
    io::{self, BufRead},
    ops::ControlFlow,
    sync::Arc,
};

use serde_json::{Map, Value};

use super::{
    lines::{Line, Lines},
    record::{Bounds, Draft, Place, Record},
    source::Fields,
};

/// Reads records until the end, or until `emit` breaks off.
pub(crate) fn read(
    reader: impl BufRead,
    file: &Arc<str>,
    fields: &Fields,
    bounds: Bounds,
    emit: &mut dyn FnMut(Record) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let mut lines = Lines::new(reader, bounds.message_bytes);
    while let Some((number, line)) = lines.next()? {
        let draft = match line {
            Line::Whole(line) if line.trim_ascii().is_empty() => continue,
            Line::Whole(line) => parse(line, fields),
            Line::TooLong(bytes) => {
                let most = bounds.message_bytes;
                Err(format!("the line has {bytes} bytes, the server takes {most}"))
            }
        };
        let place = Place { file: Arc::clone(file), line: Some(number) };
        let document = draft.and_then(|draft| draft.finish(bounds));
        if emit(Record { place, document }).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Takes a line apart. Fields that mean nothing else join the payload.
fn parse(line: &[u8], fields: &Fields) -> Result<Draft, String> {
    let text = std::str::from_utf8(line).map_err(|error| format!("is not UTF-8: {error}"))?;
    let mut object: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| not_an_object(&error))?;

    let id = object.remove(&fields.id).map(|id| id_of(id, &fields.id)).transpose()?.flatten();
    let mut texts = Vec::new();
    for name in [fields.text.as_str(), "content"] {
        if let Some(value) = object.remove(name) {
            texts.extend(texts_of(value, name)?);
        }
    }
    let vector = object.remove("vector").map(vector_of).transpose()?.unwrap_or_default();
    if texts.is_empty() && vector.is_empty() {
        return Err(format!("has neither `{}` nor `content` nor `vector`", fields.text));
    }
    let payload = match object.remove("payload") {
        None | Some(Value::Null) => object,
        Some(Value::Object(payload)) => {
            object.extend(payload);
            object
        }
        Some(other) => return Err(format!("`payload` is {}, not an object", kind(&other))),
    };
    Ok(Draft { id, texts, payload, vector, ..Draft::default() })
}

/// Takes the line out of the message: it is always the first, since one line is all there is.
fn not_an_object(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    format!("is no JSON object: {what} at column {}", error.column())
}

fn id_of(value: Value, name: &str) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(id) if id.is_empty() => Err(format!("`{name}` is empty")),
        Value::String(id) => Ok(Some(id)),
        Value::Number(number) => Ok(Some(number.to_string())),
        other => Err(format!("`{name}` is {}, not a text or a number", kind(&other))),
    }
}

/// Reads a text, or a list of texts and of `{"text": …}`.
fn texts_of(value: Value, name: &str) -> Result<Vec<String>, String> {
    let parts = match value {
        Value::Null => return Ok(Vec::new()),
        Value::String(text) => return Ok(vec![text]),
        Value::Array(parts) => parts,
        other => return Err(format!("`{name}` is {}, not a text", kind(&other))),
    };
    let text_of = |part: Value| match part {
        Value::String(text) => Ok(text),
        Value::Object(mut part) if part.len() == 1 => match part.remove("text") {
            Some(Value::String(text)) => Ok(text),
            _ => Err(format!("`{name}` has a part that is not `text`")),
        },
        other => Err(format!("`{name}` has {} among its parts, not a text", kind(&other))),
    };
    parts.into_iter().map(text_of).collect()
}

fn vector_of(value: Value) -> Result<Vec<f32>, String> {
    let Value::Array(values) = value else {
        return match value {
            Value::Null => Ok(Vec::new()),
            other => Err(format!("`vector` is {}, not a list of numbers", kind(&other))),
        };
    };
    let numbers = values.iter().map(|value| value.as_f64().map(|number| number as f32));
    let numbers: Option<Vec<f32>> = numbers.collect();
    numbers.ok_or_else(|| "`vector` has something else than numbers in it".to_owned())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a bool",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BOUNDS: Bounds = Bounds { message_bytes: 200, text_bytes: 100 };

    fn records(text: &[u8]) -> Vec<Record> {
        let mut records = Vec::new();
        let file = Arc::from("f.jsonl");
        let mut keep = |record| {
            records.push(record);
            ControlFlow::Continue(())
        };
        let ended = read(text, &file, &Fields::default(), BOUNDS, &mut keep).unwrap();
        assert!(ended.is_continue());
        records
    }

    #[track_caller]
    fn parsed(line: &str, want: Draft) {
        assert_eq!(parse(line.as_bytes(), &Fields::default()).unwrap(), want, "{line}");
    }

    #[track_caller]
    fn refused(line: &[u8], want: &str) {
        let problem = parse(line, &Fields::default()).unwrap_err();
        assert!(problem.contains(want), "`{want}` is not in: {problem}");
    }

    #[test]
    fn objects_become_documents() {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        parsed(
            r#"{"id": "a", "text": "t", "year": 7, "payload": {"lang": "en"}}"#,
            Draft {
                id: Some("a".into()),
                texts: texts(&["t"]),
                payload: json!({"year": 7, "lang": "en"}).as_object().unwrap().clone(),
                ..Draft::default()
            },
        );
        parsed(
            r#"{"id": 12, "content": ["x", {"text": "y"}], "payload": null}"#,
            Draft { id: Some("12".into()), texts: texts(&["x", "y"]), ..Draft::default() },
        );
        parsed(r#"{"vector": [1, 0.5]}"#, Draft { vector: vec![1.0, 0.5], ..Draft::default() });
    }

    #[test]
    fn fields_can_have_other_names() {
        let fields = Fields { id: "_id".into(), text: "body".into(), ..Fields::default() };
        let draft = parse(br#"{"_id": "q", "body": "b", "id": 3}"#, &fields).unwrap();
        assert_eq!((draft.id.as_deref(), &draft.texts[..]), (Some("q"), &["b".to_owned()][..]));
        assert_eq!(draft.payload["id"], 3);
    }

    #[test]
    fn unusable_lines_are_explained() {
        refused(b"{", "is no JSON object: EOF while parsing an object at column 1");
        refused(b"[1]", "is no JSON object");
        refused(b"{\"text\": \"\xff\"}", "is not UTF-8");
        refused(br#"{"id": "a"}"#, "neither `text` nor `content` nor `vector`");
        refused(br#"{"id": [], "text": "t"}"#, "`id` is a list");
        refused(br#"{"id": "", "text": "t"}"#, "`id` is empty");
        refused(br#"{"text": 3}"#, "`text` is a number");
        refused(br#"{"content": [{"image": "x"}]}"#, "part that is not `text`");
        refused(br#"{"text": "t", "vector": [1, "2"]}"#, "something else than numbers");
        refused(br#"{"text": "t", "payload": []}"#, "`payload` is a list");
    }

    #[test]
    fn bad_lines_do_not_stop_the_others() {
        let mut text = b"\xef\xbb\xbf{\"id\":\"a\",\"text\":\"t\"}\r\n\n{bad\n".to_vec();
        text.extend([b'x'; 300]);
        text.extend(b"\n{\"id\":\"b\",\"text\":\"t\"}");
        let records = records(&text);
        let lines: Vec<_> = records.iter().map(|record| record.place.line.unwrap()).collect();
        assert_eq!(lines, [1, 3, 4, 5]);
        let ids: Vec<_> =
            records.iter().filter_map(|r| Some(r.document.as_ref().ok()?.id.as_str())).collect();
        assert_eq!(ids, ["a", "b"]);
        assert_eq!(
            records[2].document.as_ref().unwrap_err(),
            "the line has 301 bytes, the server takes 200"
        );
    }

    #[test]
    fn reading_stops_when_told() {
        let mut count = 0;
        let mut stop = |_| {
            count += 1;
            ControlFlow::Break(())
        };
        let text = b"{\"text\":\"a\"}\n{\"text\":\"b\"}\n";
        let ended =
            read(&text[..], &Arc::from("f"), &Fields::default(), BOUNDS, &mut stop).unwrap();
        assert!(ended.is_break() && count == 1);
    }
}
