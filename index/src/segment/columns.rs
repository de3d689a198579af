//! Payload fields as typed Arrow columns, for whoever reads a segment's file
//! with tools of their own. The payload itself, beside them, is what this crate
//! shows and what the filter file is made from.
//!
//! A field with a list in any row of the segment is a column of lists in all of
//! it; a single value is then a list of one.

use crate::{
    filter::find,
    schema::{Column, FieldKind, parse_instant},
};
use arrow::{
    array::{
        ArrayBuilder, ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, LargeStringBuilder,
        ListBuilder, TimestampMicrosecondBuilder,
    },
    datatypes::{DataType, Field, TimeUnit},
};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Comes before a field's path in the name of its column.
const PREFIX: &str = "payload.";

const ZONE: &str = "UTC";

/// Returns the Arrow field of a column, if its kind has one.
pub(super) fn arrow_field(column: &Column) -> Option<Field> {
    let item = match column.kind? {
        FieldKind::Keyword => DataType::LargeUtf8,
        FieldKind::Integer => DataType::Int64,
        FieldKind::Float => DataType::Float64,
        FieldKind::Bool => DataType::Boolean,
        FieldKind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(ZONE.into())),
    };
    let kind = if column.is_list { DataType::new_list(item, true) } else { item };
    Some(Field::new(format!("{PREFIX}{}", column.path), kind, true))
}

/// Fills a column with its values of some rows.
pub(super) fn to_array(
    column: &Column,
    payloads: &[Cow<'_, Map<String, Value>>],
) -> Option<ArrayRef> {
    Some(match column.kind? {
        FieldKind::Keyword => {
            fill(column, payloads, LargeStringBuilder::new(), |builder, value| {
                builder.append_option(value.and_then(Value::as_str));
            })
        }
        FieldKind::Integer => fill(column, payloads, Int64Builder::new(), |builder, value| {
            builder.append_option(value.and_then(as_integer));
        }),
        FieldKind::Float => fill(column, payloads, Float64Builder::new(), |builder, value| {
            builder.append_option(value.and_then(Value::as_f64));
        }),
        FieldKind::Bool => fill(column, payloads, BooleanBuilder::new(), |builder, value| {
            builder.append_option(value.and_then(Value::as_bool));
        }),
        FieldKind::Timestamp => {
            let builder = TimestampMicrosecondBuilder::new().with_timezone(ZONE);
            fill(column, payloads, builder, |builder, value| {
                builder.append_option(value.and_then(Value::as_str).and_then(parse_instant));
            })
        }
    })
}

fn as_integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().map(|number| number as i64))
}

fn fill<B: ArrayBuilder>(
    column: &Column,
    payloads: &[Cow<'_, Map<String, Value>>],
    mut builder: B,
    append: fn(&mut B, Option<&Value>),
) -> ArrayRef {
    let values = payloads.iter().map(|payload| find(payload, &column.path));
    if !column.is_list {
        values.for_each(|value| append(&mut builder, value));
        return builder.finish();
    }
    let mut lists = ListBuilder::new(builder);
    for value in values {
        match value {
            None | Some(Value::Null | Value::Object(_)) => lists.append(false),
            Some(Value::Array(items)) => {
                items.iter().for_each(|item| append(lists.values(), Some(item)));
                lists.append(true);
            }
            Some(value) => {
                append(lists.values(), Some(value));
                lists.append(true);
            }
        }
    }
    std::sync::Arc::new(lists.finish())
}
