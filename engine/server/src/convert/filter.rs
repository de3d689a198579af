//! Filters. Counts, depth and names are the index's to check; the message's own
//! recursion limit bounds the descent here.

use prost_types::{Timestamp, value::Kind as ValueKind};
use twn_protos::v1::{self as pb, filter::Kind};
use twn_service::{FieldValue, Filter, ServiceError};

use super::required;

/// Reads the filter whose path in the request is `field`.
pub(crate) fn filter(message: pb::Filter, field: &str) -> Result<Filter, ServiceError> {
    Ok(match required(message.kind, field)? {
        Kind::And(and) => Filter::And(all(and.filters, &format!("{field}.and"))?),
        Kind::Or(or) => Filter::Or(all(or.filters, &format!("{field}.or"))?),
        Kind::Not(inner) => Filter::Not(Box::new(filter(*inner, &format!("{field}.not"))?)),
        Kind::Match(equal) => {
            let path = format!("{field}.match.value");
            let value = field_value(required(equal.value, &path)?, &path)?;
            Filter::Match { field: equal.field, value }
        }
        Kind::In(any) => {
            let values = any.values.into_iter().enumerate();
            let values = values.map(|(i, v)| field_value(v, &format!("{field}.in.values[{i}]")));
            Filter::In { values: values.collect::<Result<_, _>>()?, field: any.field }
        }
        Kind::Range(range) => {
            let bounds = [range.gt, range.gte, range.lt, range.lte];
            if let Some(bound) = bounds.into_iter().flatten().find(|bound| !bound.is_finite()) {
                let problem = format!("{bound} cannot be a bound");
                return Err(ServiceError::invalid(format!("{field}.range"), problem));
            }
            let pb::Range { field, gt, gte, lt, lte } = range;
            Filter::Range { field, gt, gte, lt, lte }
        }
        Kind::TimeRange(range) => {
            let instant = |bound: Option<Timestamp>| {
                bound.map(|bound| instant(&bound, &format!("{field}.time_range"))).transpose()
            };
            Filter::TimeRange {
                gt: instant(range.gt)?,
                gte: instant(range.gte)?,
                lt: instant(range.lt)?,
                lte: instant(range.lte)?,
                field: range.field,
            }
        }
        Kind::Exists(exists) => Filter::Exists { field: exists.field },
    })
}

/// Reads an optional filter of a request.
pub(crate) fn optional(message: Option<pb::Filter>) -> Result<Option<Filter>, ServiceError> {
    message.map(|message| filter(message, "filter")).transpose()
}

fn all(messages: Vec<pb::Filter>, field: &str) -> Result<Vec<Filter>, ServiceError> {
    let filters = messages.into_iter().enumerate();
    filters.map(|(i, message)| filter(message, &format!("{field}.filters[{i}]"))).collect()
}

/// Reads a point in time as microseconds since 1970.
fn instant(time: &Timestamp, field: &str) -> Result<i64, ServiceError> {
    let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let micros = nanos.and_then(|nanos| {
        time.seconds.checked_mul(1_000_000)?.checked_add(i64::from(nanos / 1_000))
    });
    micros.ok_or_else(|| ServiceError::invalid(field, "a bound is no valid timestamp"))
}

fn field_value(value: prost_types::Value, field: &str) -> Result<FieldValue, ServiceError> {
    match value.kind {
        Some(ValueKind::StringValue(text)) => Ok(FieldValue::Text(text)),
        Some(ValueKind::BoolValue(truth)) => Ok(FieldValue::Bool(truth)),
        Some(ValueKind::NumberValue(number)) if number.is_finite() => {
            Ok(FieldValue::Number(number))
        }
        Some(ValueKind::NumberValue(number)) => {
            Err(ServiceError::invalid(field, format!("{number} cannot be compared with")))
        }
        _ => Err(ServiceError::invalid(field, "must be a string, a number or a bool")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: Kind) -> pb::Filter {
        pb::Filter { kind: Some(kind) }
    }

    fn equal(kind: Option<ValueKind>) -> pb::Filter {
        let value = Some(prost_types::Value { kind });
        of(Kind::Match(pb::Match { field: "lang".into(), value }))
    }

    #[track_caller]
    fn refused(message: pb::Filter, want: &str) {
        assert_eq!(filter(message, "filter").unwrap_err().to_string(), want);
    }

    #[test]
    fn every_kind_is_read() {
        let range = pb::Range { field: "year".into(), gte: Some(1.0), ..Default::default() };
        let values = vec![prost_types::Value { kind: Some(ValueKind::NumberValue(2.0)) }];
        let message = of(Kind::And(pb::And {
            filters: vec![
                equal(Some(ValueKind::StringValue("en".into()))),
                of(Kind::Not(Box::new(of(Kind::Exists(pb::Exists { field: "x".into() }))))),
                of(Kind::Or(pb::Or { filters: vec![of(Kind::Range(range))] })),
                of(Kind::In(pb::In { field: "n".into(), values })),
            ],
        }));
        let want = Filter::And(vec![
            Filter::Match { field: "lang".into(), value: FieldValue::Text("en".into()) },
            Filter::Not(Box::new(Filter::Exists { field: "x".into() })),
            Filter::Or(vec![Filter::Range {
                field: "year".into(),
                gt: None,
                gte: Some(1.0),
                lt: None,
                lte: None,
            }]),
            Filter::In { field: "n".into(), values: vec![FieldValue::Number(2.0)] },
        ]);
        assert_eq!(filter(message, "filter").unwrap(), want);
        assert_eq!(optional(None).unwrap(), None);
    }

    #[test]
    fn unusable_filters_are_named_by_path() {
        refused(pb::Filter { kind: None }, "filter: is required");
        refused(
            of(Kind::Not(Box::new(of(Kind::And(pb::And {
                filters: vec![pb::Filter { kind: None }],
            }))))),
            "filter.not.and.filters[0]: is required",
        );
        refused(equal(None), "filter.match.value: must be a string, a number or a bool");
        refused(
            of(Kind::Match(pb::Match { field: "a".into(), value: None })),
            "filter.match.value: is required",
        );
        refused(
            equal(Some(ValueKind::NumberValue(f64::NAN))),
            "filter.match.value: NaN cannot be compared with",
        );
        let range = pb::Range { field: "y".into(), lt: Some(f64::INFINITY), ..Default::default() };
        refused(of(Kind::Range(range)), "filter.range: inf cannot be a bound");
    }
}
