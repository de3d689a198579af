//! Filters over payloads.
//!
//! One language, two ways to answer: documents of the tail are asked one by
//! one (`eval`), sealed rows through bitmaps and sorted columns written at the
//! seal (`writer`, `index`). Both give the same answer for every payload; a
//! property test holds them together.

mod admitted;
mod cache;
mod eval;
mod index;
mod writer;

pub(crate) use admitted::{Admitted, Matching};
pub(crate) use cache::MatchCache;
pub(crate) use eval::{find, matches};
pub(crate) use index::FilterIndex;
pub(crate) use writer::FilterWriter;

use crate::error::IndexError;
use std::fmt;

/// How deep filters may nest.
pub const MAX_FILTER_DEPTH: usize = 16;
/// How many clauses one filter may have in all.
pub const MAX_FILTER_CLAUSES: usize = 256;
/// How many values one `In` may list.
pub const MAX_FILTER_VALUES: usize = 4096;
/// The longest field path, in bytes.
pub const MAX_FIELD_BYTES: usize = 512;

/// A condition on a document's payload.
///
/// A dot in `field` steps into an object; a key that has a dot itself cannot be
/// reached. A field that holds a list matches when one of its elements does. A
/// field that is missing, or of another type, matches nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// All of them hold.
    And(Vec<Filter>),
    /// At least one of them holds.
    Or(Vec<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
    /// The field equals the value.
    Match {
        /// Path of the field.
        field: String,
        /// The value it has to equal.
        value: FieldValue,
    },
    /// The field equals one of the values.
    In {
        /// Path of the field.
        field: String,
        /// The values of which it has to equal one.
        values: Vec<FieldValue>,
    },
    /// The field is a number within all bounds given.
    Range {
        /// Path of the field.
        field: String,
        /// The number is greater than this.
        gt: Option<f64>,
        /// The number is at least this.
        gte: Option<f64>,
        /// The number is less than this.
        lt: Option<f64>,
        /// The number is at most this.
        lte: Option<f64>,
    },
    /// The field is a text that names a point in time (RFC 3339) within all
    /// bounds given, which are microseconds since 1970.
    TimeRange {
        /// Path of the field.
        field: String,
        /// The time is after this.
        gt: Option<i64>,
        /// The time is not before this.
        gte: Option<i64>,
        /// The time is before this.
        lt: Option<i64>,
        /// The time is not after this.
        lte: Option<i64>,
    },
    /// The field is there and is not null.
    Exists {
        /// Path of the field.
        field: String,
    },
}

/// A value that a field may equal.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldValue {
    /// A string, compared exactly.
    Text(String),
    /// A number; integers are compared as floats.
    Number(f64),
    /// A truth value.
    Bool(bool),
}

impl fmt::Display for FieldValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => formatter.write_str("a text"),
            Self::Number(number) => write!(formatter, "the number {number}"),
            Self::Bool(truth) => write!(formatter, "{truth}"),
        }
    }
}

/// The bounds of a [`Filter::Range`] or [`Filter::TimeRange`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds<T> {
    pub(crate) gt: Option<T>,
    pub(crate) gte: Option<T>,
    pub(crate) lt: Option<T>,
    pub(crate) lte: Option<T>,
}

impl<T: PartialOrd + Copy> Bounds<T> {
    /// Tells whether a number is high enough; it may still be too high.
    pub(crate) fn admits_from_below(&self, number: T) -> bool {
        self.gt.is_none_or(|bound| number > bound) && self.gte.is_none_or(|bound| number >= bound)
    }

    /// Tells whether a number is low enough; it may still be too low.
    pub(crate) fn admits_from_above(&self, number: T) -> bool {
        self.lt.is_none_or(|bound| number < bound) && self.lte.is_none_or(|bound| number <= bound)
    }
}

impl Filter {
    /// Refuses a filter that is too deep, too large, or says nothing.
    pub fn validate(&self) -> Result<(), IndexError> {
        let mut clauses_left = MAX_FILTER_CLAUSES;
        self.validate_within(MAX_FILTER_DEPTH, &mut clauses_left)
    }

    fn validate_within(
        &self,
        depth_left: usize,
        clauses_left: &mut usize,
    ) -> Result<(), IndexError> {
        if depth_left == 0 {
            return refuse(format!("it nests deeper than {MAX_FILTER_DEPTH} levels"));
        }
        if *clauses_left == 0 {
            return refuse(format!("it has more than {MAX_FILTER_CLAUSES} clauses"));
        }
        *clauses_left -= 1;
        match self {
            Self::And(parts) | Self::Or(parts) => {
                if parts.is_empty() {
                    return refuse("`and` and `or` need at least one clause");
                }
                parts.iter().try_for_each(|part| part.validate_within(depth_left - 1, clauses_left))
            }
            Self::Not(part) => part.validate_within(depth_left - 1, clauses_left),
            Self::Match { field, value } => {
                validate_field(field)?;
                value.validate(field)
            }
            Self::In { field, values } => validate_in(field, values),
            Self::Range { field, gt, gte, lt, lte } => {
                validate_field(field)?;
                validate_bounds(field, [gt, gte, lt, lte])
            }
            Self::TimeRange { field, gt, gte, lt, lte } => {
                validate_field(field)?;
                let has_bound = [gt, gte, lt, lte].into_iter().any(Option::is_some);
                if has_bound {
                    Ok(())
                } else {
                    refuse(format!("`range` on `{field}` has no bound"))
                }
            }
            Self::Exists { field } => validate_field(field),
        }
    }
}

impl FieldValue {
    fn validate(&self, field: &str) -> Result<(), IndexError> {
        match self {
            Self::Number(number) if number.is_nan() => {
                refuse(format!("value for `{field}` is not a number"))
            }
            _ => Ok(()),
        }
    }
}

fn validate_field(field: &str) -> Result<(), IndexError> {
    if field.is_empty() {
        return refuse("a field has no name");
    }
    if field.len() > MAX_FIELD_BYTES {
        return refuse(format!("a field name has over {MAX_FIELD_BYTES} bytes"));
    }
    Ok(())
}

fn validate_in(field: &str, values: &[FieldValue]) -> Result<(), IndexError> {
    validate_field(field)?;
    if values.is_empty() {
        return refuse(format!("`in` on `{field}` lists no value"));
    }
    if values.len() > MAX_FILTER_VALUES {
        return refuse(format!("`in` on `{field}` lists over {MAX_FILTER_VALUES} values"));
    }
    values.iter().try_for_each(|value| value.validate(field))
}

fn validate_bounds(field: &str, bounds: [&Option<f64>; 4]) -> Result<(), IndexError> {
    if bounds.iter().all(|bound| bound.is_none()) {
        return refuse(format!("`range` on `{field}` has no bound"));
    }
    if bounds.iter().any(|bound| bound.is_some_and(f64::is_nan)) {
        return refuse(format!("a bound on `{field}` is not a number"));
    }
    Ok(())
}

fn refuse(problem: impl Into<String>) -> Result<(), IndexError> {
    Err(IndexError::BadFilter { problem: problem.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exists() -> Filter {
        Filter::Exists { field: "x".to_owned() }
    }

    fn range(gt: Option<f64>, lte: Option<f64>) -> Filter {
        Filter::Range { field: "x".to_owned(), gt, gte: None, lt: None, lte }
    }

    fn nested(depth: usize) -> Filter {
        (1..depth).fold(exists(), |inner, _| Filter::Not(Box::new(inner)))
    }

    #[track_caller]
    fn check(filter: &Filter, refused_for: Option<&str>) {
        match (filter.validate(), refused_for) {
            (Ok(()), None) => {}
            (Err(error), Some(reason)) => {
                assert!(error.is_callers_fault());
                assert!(error.to_string().contains(reason), "{error}");
            }
            (result, _) => panic!("{filter:?} gave {result:?}"),
        }
    }

    #[test]
    fn filters_that_say_nothing_or_too_much_are_refused() {
        let field = || "x".to_owned();
        check(&exists(), None);
        check(&Filter::And(vec![]), Some("at least one clause"));
        check(&Filter::Or(vec![]), Some("at least one clause"));
        check(&Filter::In { field: field(), values: vec![] }, Some("no value"));
        check(&Filter::Exists { field: String::new() }, Some("no name"));
        check(&range(None, None), Some("no bound"));
        check(&range(Some(f64::NAN), None), Some("not a number"));
        check(&range(Some(f64::NEG_INFINITY), Some(3.0)), None);
        let nan = FieldValue::Number(f64::NAN);
        check(&Filter::Match { field: field(), value: nan }, Some("not a number"));
        check(&nested(MAX_FILTER_DEPTH), None);
        check(&nested(MAX_FILTER_DEPTH + 1), Some("deeper"));
        check(&Filter::Or(vec![exists(); MAX_FILTER_CLAUSES - 1]), None);
        check(&Filter::Or(vec![exists(); MAX_FILTER_CLAUSES]), Some("more than"));
    }
}
