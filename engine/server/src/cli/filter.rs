//! Filters as people write them: `lang=en`, `year>=2000`, `draft!=true`, `author?`, or
//! the protocol's message as JSON.

use prost_types::value::Kind as ValueKind;
use serde::Deserialize;
use serde_json::Value;
use twn_protos::v1::{self as pb, filter::Kind};

/// How the help describes a filter.
pub(crate) const HELP: &str = "\
Only documents whose payload satisfies this; may be repeated, then all must hold.

field=value, field!=value, field<n, field<=n, field>n, field>=n, field? (exists), or JSON such as \
{\"or\": [{\"match\": {\"field\": \"lang\", \"value\": \"en\"}}, {\"exists\": {\"field\": \"year\"}}]} \
with and, or, not, match, in, range, exists. The n of a comparison may be a time such as \
2024-01-31T12:00:00Z. A value that reads as a number or as true or false is \
one; put it in double quotes to make it a text";

/// Longer operators first, since `<` begins `<=`.
const OPERATORS: [&str; 6] = ["!=", "<=", ">=", "=", "<", ">"];

/// Reads one filter.
pub(crate) fn parse(text: &str) -> Result<pb::Filter, String> {
    let text = text.trim();
    if text.starts_with('{') {
        let json: Json = serde_json::from_str(text).map_err(|error| error.to_string())?;
        return json.message();
    }
    let operator = OPERATORS
        .iter()
        .filter_map(|operator| text.find(operator).map(|at| (at, *operator)))
        .min_by_key(|(at, operator)| (*at, std::cmp::Reverse(operator.len())));
    let Some((at, operator)) = operator else {
        return match text.strip_suffix('?') {
            Some(field) => Json::Exists { field: field.trim().to_owned() }.message(),
            None => Err("no operator; write field=value, field>=number or field?".to_owned()),
        };
    };
    let field = text[..at].trim().to_owned();
    let value = text[at + operator.len()..].trim();
    if value.contains('T')
        && let Some(filter) = time_range(&field, operator, value)
    {
        return Ok(filter);
    }
    let bound = || {
        let number: Result<f64, _> = value.parse();
        number.map(Some).map_err(|_| format!("`{value}` is no number, which `{operator}` needs"))
    };
    let (mut gt, mut gte, mut lt, mut lte) = (None, None, None, None);
    match operator {
        ">" => gt = bound()?,
        ">=" => gte = bound()?,
        "<" => lt = bound()?,
        "<=" => lte = bound()?,
        _ => {
            let equal = Json::Match { field, value: value_of(value) };
            let is_negated = operator == "!=";
            return if is_negated { Json::Not(Box::new(equal)) } else { equal }.message();
        }
    }
    Json::Range { field, gt, gte, lt, lte }.message()
}

/// Reads `field>time`, if the value is a point in time.
fn time_range(field: &str, operator: &str, value: &str) -> Option<pb::Filter> {
    let time: prost_types::Timestamp = value.parse().ok()?;
    let mut range = pb::TimeRange { field: field.to_owned(), ..Default::default() };
    match operator {
        ">" => range.gt = Some(time),
        ">=" => range.gte = Some(time),
        "<" => range.lt = Some(time),
        "<=" => range.lte = Some(time),
        _ => return None,
    }
    Some(pb::Filter { kind: Some(Kind::TimeRange(range)) })
}

/// Joins filters so that all must hold.
pub(crate) fn all(filters: &[pb::Filter]) -> Option<pb::Filter> {
    match filters {
        [] => None,
        [only] => Some(only.clone()),
        many => Some(pb::Filter { kind: Some(Kind::And(pb::And { filters: many.to_vec() })) }),
    }
}

fn value_of(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::String(_))) => value,
        _ => Value::from(text),
    }
}

/// A filter in the protocol's JSON form. Lists of filters may stand alone or under `filters`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Json {
    And(Many),
    Or(Many),
    Not(Box<Json>),
    Match {
        field: String,
        value: Value,
    },
    In {
        field: String,
        values: Vec<Value>,
    },
    #[serde(rename_all = "snake_case")]
    Range {
        field: String,
        gt: Option<f64>,
        gte: Option<f64>,
        lt: Option<f64>,
        lte: Option<f64>,
    },
    Exists {
        field: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Many {
    List(Vec<Json>),
    Named { filters: Vec<Json> },
}

impl Many {
    fn messages(self) -> Result<Vec<pb::Filter>, String> {
        let (Self::List(filters) | Self::Named { filters }) = self;
        filters.into_iter().map(Json::message).collect()
    }
}

impl Json {
    fn message(self) -> Result<pb::Filter, String> {
        let kind = match self {
            Self::And(many) => Kind::And(pb::And { filters: many.messages()? }),
            Self::Or(many) => Kind::Or(pb::Or { filters: many.messages()? }),
            Self::Not(inner) => Kind::Not(Box::new(inner.message()?)),
            Self::Match { field, value } => {
                let value = Some(scalar(value)?);
                Kind::Match(pb::Match { field: named(field)?, value })
            }
            Self::In { field, values } => {
                let values = values.into_iter().map(scalar).collect::<Result<_, _>>()?;
                Kind::In(pb::In { field: named(field)?, values })
            }
            Self::Range { field, gt, gte, lt, lte } => {
                Kind::Range(pb::Range { field: named(field)?, gt, gte, lt, lte })
            }
            Self::Exists { field } => Kind::Exists(pb::Exists { field: named(field)? }),
        };
        Ok(pb::Filter { kind: Some(kind) })
    }
}

fn named(field: String) -> Result<String, String> {
    if field.is_empty() { Err("the field has no name".to_owned()) } else { Ok(field) }
}

fn scalar(value: Value) -> Result<prost_types::Value, String> {
    let kind = match value {
        Value::String(text) => ValueKind::StringValue(text),
        Value::Bool(truth) => ValueKind::BoolValue(truth),
        Value::Number(number) => ValueKind::NumberValue(number.as_f64().unwrap_or(f64::MAX)),
        other => return Err(format!("{other} is no text, number or bool")),
    };
    Ok(prost_types::Value { kind: Some(kind) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: Kind) -> pb::Filter {
        pb::Filter { kind: Some(kind) }
    }

    fn equal(field: &str, kind: ValueKind) -> pb::Filter {
        let value = Some(prost_types::Value { kind: Some(kind) });
        of(Kind::Match(pb::Match { field: field.into(), value }))
    }

    #[track_caller]
    fn check(text: &str, want: pb::Filter) {
        assert_eq!(parse(text), Ok(want), "{text}");
    }

    #[test]
    fn expressions_are_read() {
        let en = || equal("lang", ValueKind::StringValue("en".into()));
        check("lang=en", en());
        check(" lang = \"en\" ", en());
        check("lang!=en", of(Kind::Not(Box::new(en()))));
        check("a.b=7", equal("a.b", ValueKind::NumberValue(7.0)));
        check("a=\"7\"", equal("a", ValueKind::StringValue("7".into())));
        check("a=true", equal("a", ValueKind::BoolValue(true)));
        check("a=", equal("a", ValueKind::StringValue(String::new())));
        check("a=x<=y", equal("a", ValueKind::StringValue("x<=y".into())));
        check("a?", of(Kind::Exists(pb::Exists { field: "a".into() })));
        let range = pb::Range { field: "n".into(), ..pb::Range::default() };
        check("n>=3", of(Kind::Range(pb::Range { gte: Some(3.0), ..range.clone() })));
        check("n < -0.5", of(Kind::Range(pb::Range { lt: Some(-0.5), ..range })));
    }

    #[test]
    fn json_is_read_in_both_forms() {
        let exists = of(Kind::Exists(pb::Exists { field: "x".into() }));
        let want = of(Kind::Or(pb::Or {
            filters: vec![equal("a", ValueKind::BoolValue(false)), of(Kind::Not(Box::new(exists)))],
        }));
        let parts =
            r#"[{"match": {"field": "a", "value": false}}, {"not": {"exists": {"field": "x"}}}]"#;
        check(&format!(r#"{{"or": {parts}}}"#), want.clone());
        check(&format!(r#"{{"or": {{"filters": {parts}}}}}"#), want);
        let values = vec![scalar(Value::from(1)).unwrap()];
        check(
            r#"{"in": {"field": "n", "values": [1]}}"#,
            of(Kind::In(pb::In { field: "n".into(), values })),
        );
    }

    #[test]
    fn unusable_filters_are_refused() {
        for text in [
            "",
            "lang",
            "=en",
            "?",
            "n>many",
            "{",
            "{\"near\": {}}",
            "{\"and\": 3}",
            r#"{"match": {"field": "a", "value": []}}"#,
            r#"{"range": {"field": "a", "above": 3}}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn several_must_all_hold() {
        assert_eq!(all(&[]), None);
        let (a, b) = (parse("a?").unwrap(), parse("b?").unwrap());
        assert_eq!(all(std::slice::from_ref(&a)), Some(a.clone()));
        assert_eq!(
            all(&[a.clone(), b.clone()]),
            Some(of(Kind::And(pb::And { filters: vec![a, b] })))
        );
    }
}
