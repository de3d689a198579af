//! Answering a filter for a whole segment at once, from its mapped file.
//!
//! Sections, all little-endian:
//! 0. fields, sorted by name: 7 pairs of u64 each, a start and a length: the
//!    name; the bitmaps `exists`, `true`, `false`; the field's terms, its numbers
//!    and its instants
//! 1. terms, sorted by text within a field: 2 pairs of u64: text, bitmap
//! 2. names and texts, end to end
//! 3. bitmaps in roaring's portable format; an empty one takes no bytes
//! 4. numbers as f64, ascending within a field
//! 5. the row of each number, u32
//! 6. instants as i64, microseconds since 1970, ascending within a field
//! 7. the row of each instant, u32
//!
//! Nothing is copied to the heap but the bitmaps that a filter asks for.

use super::{Bounds, FieldValue, Filter};
use crate::{
    checked::{CheckedArray, CheckedFile},
    error::IndexError,
    segment::sections::{SectionKind, Sections},
};
use arrow::datatypes::ArrowNativeType;
use roaring::RoaringBitmap;
use std::{cmp::Ordering, ops::Range, sync::Arc};

pub(super) const FIELD_WORDS: usize = 14;
const TERM_WORDS: usize = 4;

/// The filter file of one segment, verified as far as it is read.
#[derive(Debug)]
pub(crate) struct FilterIndex {
    file: Arc<CheckedFile>,
    rows: u32,
    fields: CheckedArray<u64>,
    terms: CheckedArray<u64>,
    names: CheckedArray<u8>,
    bitmaps: CheckedArray<u8>,
    numbers: CheckedArray<f64>,
    number_rows: CheckedArray<u32>,
    instants: CheckedArray<i64>,
    instant_rows: CheckedArray<u32>,
}

/// Values of all fields, ascending within each, and the row of each value.
struct Numbers<'a, T: ArrowNativeType> {
    values: &'a CheckedArray<T>,
    rows: &'a CheckedArray<u32>,
}

impl<'a> Numbers<'a, f64> {
    fn of(index: &'a FilterIndex) -> Self {
        Self { values: &index.numbers, rows: &index.number_rows }
    }
}

/// A pair of the file: where something starts, and how long it is.
type Span<'a> = &'a [u64];

impl FilterIndex {
    /// Finds the filters in a mapped file.
    pub(crate) fn open(file: &Arc<CheckedFile>, rows: u32) -> Result<Self, IndexError> {
        let sections = Sections::read(file, SectionKind::Filters)?;
        Ok(Self {
            file: Arc::clone(file),
            rows,
            fields: sections.array(0)?,
            terms: sections.array(1)?,
            names: sections.array(2)?,
            bitmaps: sections.array(3)?,
            numbers: sections.array(4)?,
            number_rows: sections.array(5)?,
            instants: sections.array(6)?,
            instant_rows: sections.array(7)?,
        })
    }

    /// Verifies everything, unless `is_over` says so first.
    pub(crate) fn check_all(&self, is_over: &dyn Fn() -> bool) -> Result<(), IndexError> {
        if self.file.check_all(is_over)? {
            self.file.set_whole();
        }
        Ok(())
    }

    /// Returns the rows that match, dead ones included.
    pub(crate) fn evaluate(&self, filter: &Filter) -> Result<RoaringBitmap, IndexError> {
        match filter {
            Filter::And(parts) => {
                let mut rows = self.all_rows();
                for part in parts {
                    if rows.is_empty() {
                        break;
                    }
                    rows &= self.evaluate(part)?;
                }
                Ok(rows)
            }
            Filter::Or(parts) => {
                let mut rows = RoaringBitmap::new();
                for part in parts {
                    rows |= self.evaluate(part)?;
                }
                Ok(rows)
            }
            Filter::Not(part) => Ok(self.all_rows() - self.evaluate(part)?),
            Filter::Match { field, value } => self.equal(field, std::slice::from_ref(value)),
            Filter::In { field, values } => self.equal(field, values),
            Filter::Range { field, gt, gte, lt, lte } => {
                self.range(field, Bounds { gt: *gt, gte: *gte, lt: *lt, lte: *lte })
            }
            Filter::TimeRange { field, gt, gte, lt, lte } => {
                self.time_range(field, Bounds { gt: *gt, gte: *gte, lt: *lt, lte: *lte })
            }
            Filter::Exists { field } => match self.find_field(field)? {
                None => Ok(RoaringBitmap::new()),
                Some(record) => self.bitmap(&record[2..4]),
            },
        }
    }

    fn all_rows(&self) -> RoaringBitmap {
        let mut rows = RoaringBitmap::new();
        rows.insert_range(0..self.rows);
        rows
    }

    fn equal(&self, field: &str, values: &[FieldValue]) -> Result<RoaringBitmap, IndexError> {
        let mut rows = RoaringBitmap::new();
        let Some(record) = self.find_field(field)? else { return Ok(rows) };
        for value in values {
            match value {
                FieldValue::Bool(true) => rows |= self.bitmap(&record[4..6])?,
                FieldValue::Bool(false) => rows |= self.bitmap(&record[6..8])?,
                FieldValue::Text(text) => rows |= self.rows_of_term(&record[8..10], text)?,
                FieldValue::Number(number) => {
                    let wanted = Some(*number);
                    let bounds = Bounds { gt: None, gte: wanted, lt: None, lte: wanted };
                    rows |= self.rows_within(&record[10..12], Numbers::of(self), bounds)?;
                }
            }
        }
        Ok(rows)
    }

    fn range(&self, field: &str, bounds: Bounds<f64>) -> Result<RoaringBitmap, IndexError> {
        match self.find_field(field)? {
            None => Ok(RoaringBitmap::new()),
            Some(record) => self.rows_within(&record[10..12], Numbers::of(self), bounds),
        }
    }

    fn time_range(&self, field: &str, bounds: Bounds<i64>) -> Result<RoaringBitmap, IndexError> {
        let Some(record) = self.find_field(field)? else { return Ok(RoaringBitmap::new()) };
        let instants = Numbers { values: &self.instants, rows: &self.instant_rows };
        self.rows_within(&record[12..14], instants, bounds)
    }

    fn rows_within<T: PartialOrd + ArrowNativeType>(
        &self,
        span: Span<'_>,
        column: Numbers<'_, T>,
        bounds: Bounds<T>,
    ) -> Result<RoaringBitmap, IndexError> {
        let place = self.place(span, column.values.len().min(column.rows.len()))?;
        let (values, end) = (column.values, place.end);
        let first = values.partition_point(place, |number| !bounds.admits_from_below(number));
        let first = first.ok_or_else(|| self.unreadable())?;
        let end = values.partition_point(first..end, |number| bounds.admits_from_above(number));
        let end = end.ok_or_else(|| self.unreadable())?;
        self.collect(self.part(column.rows, first..end)?)
    }

    /// Gathers rows that are in no order, and may repeat, through one bit for
    /// each row of the segment: no sorting, however many there are.
    fn collect(&self, rows: &[u32]) -> Result<RoaringBitmap, IndexError> {
        if rows.is_empty() {
            return Ok(RoaringBitmap::new());
        }
        let mut bits = vec![0_u8; (self.rows as usize).div_ceil(8)];
        for &row in rows {
            match bits.get_mut(row as usize / 8) {
                Some(byte) if row < self.rows => *byte |= 1 << (row % 8),
                _ => return Err(self.corrupt(format!("row {row} of {} has a number", self.rows))),
            }
        }
        Ok(RoaringBitmap::from_lsb0_bytes(0, &bits))
    }

    fn rows_of_term(&self, terms: Span<'_>, text: &str) -> Result<RoaringBitmap, IndexError> {
        let count = self.terms.len() / TERM_WORDS;
        match self.search(&self.terms, TERM_WORDS, self.place(terms, count)?, text)? {
            None => Ok(RoaringBitmap::new()),
            Some(record) => self.bitmap(&record[2..4]),
        }
    }

    fn find_field(&self, field: &str) -> Result<Option<&[u64]>, IndexError> {
        let count = self.fields.len() / FIELD_WORDS;
        self.search(&self.fields, FIELD_WORDS, 0..count, field)
    }

    /// Finds the record whose first pair names `wanted`, by halving.
    fn search<'a>(
        &self,
        table: &'a CheckedArray<u64>,
        words: usize,
        mut among: Range<usize>,
        wanted: &str,
    ) -> Result<Option<&'a [u64]>, IndexError> {
        while !among.is_empty() {
            let middle = among.start + among.len() / 2;
            let record = self.part(table, middle * words..(middle + 1) * words)?;
            let name = self.part(&self.names, self.place(&record[..2], self.names.len())?)?;
            match name.cmp(wanted.as_bytes()) {
                Ordering::Equal => return Ok(Some(record)),
                Ordering::Less => among.start = middle + 1,
                Ordering::Greater => among.end = middle,
            }
        }
        Ok(None)
    }

    fn bitmap(&self, span: Span<'_>) -> Result<RoaringBitmap, IndexError> {
        let bytes = self.part(&self.bitmaps, self.place(span, self.bitmaps.len())?)?;
        if bytes.is_empty() {
            return Ok(RoaringBitmap::new());
        }
        let rows = RoaringBitmap::deserialize_from(bytes)
            .map_err(|error| self.corrupt(error.to_string()))?;
        match rows.max() {
            Some(last) if last >= self.rows => {
                Err(self.corrupt(format!("row {last} of {} in a bitmap", self.rows)))
            }
            _ => Ok(rows),
        }
    }

    fn part<'a, T: ArrowNativeType>(
        &self,
        array: &'a CheckedArray<T>,
        range: Range<usize>,
    ) -> Result<&'a [T], IndexError> {
        array.slice(range).ok_or_else(|| self.unreadable())
    }

    /// The alarm says more; it is asked before an answer is given.
    fn unreadable(&self) -> IndexError {
        self.corrupt("a part of it is damaged".to_owned())
    }

    /// Turns a pair into a range, if it lies within `length`.
    fn place(&self, span: Span<'_>, length: usize) -> Result<Range<usize>, IndexError> {
        let start = usize::try_from(span[0]).ok();
        let count = usize::try_from(span[1]).ok();
        let end = start.zip(count).and_then(|(start, count)| start.checked_add(count));
        match (start, end) {
            (Some(start), Some(end)) if end <= length => Ok(start..end),
            _ => Err(self.corrupt(format!("{span:?} lies outside its section of {length}"))),
        }
    }

    fn corrupt(&self, problem: String) -> IndexError {
        IndexError::corrupt(self.file.path(), problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{FilterWriter, matches};
    use proptest::prelude::*;
    use serde_json::{Map, Value};
    use std::path::Path;

    const FIELDS: [&str; 8] = ["a", "b", "c", "c.a", "c.b", "c.c.a", "d", "c."];

    /// One instant twice, one just after it, and one that is none.
    const TIMES: [&str; 4] = [
        "2024-01-01T12:00:00Z",
        "2024-01-01T13:00:00+01:00",
        "2024-01-01T12:00:00.000001Z",
        "2024-01-32T12:00:00Z",
    ];

    fn scalar() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3_i64..4).prop_map(Value::from),
            prop::sample::select(vec![-0.0, 0.5, 2.0, 1e300]).prop_map(Value::from),
            prop::sample::select(vec!["", "x", "y", "naïve"]).prop_map(Value::from),
            prop::sample::select(TIMES.to_vec()).prop_map(Value::from),
        ]
    }

    fn value() -> impl Strategy<Value = Value> {
        scalar().prop_recursive(3, 12, 4, |inner| {
            let key = prop::sample::select(vec!["a", "b", "c", "", "a.b"]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key.prop_map(str::to_owned), inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn payload() -> impl Strategy<Value = Map<String, Value>> {
        let key = prop::sample::select(vec!["a", "b", "c", "d", "a.b"]);
        prop::collection::btree_map(key.prop_map(str::to_owned), value(), 0..5)
            .prop_map(|fields| fields.into_iter().collect())
    }

    fn field_value() -> impl Strategy<Value = FieldValue> {
        prop_oneof![
            any::<bool>().prop_map(FieldValue::Bool),
            prop::sample::select(vec![-1.0, 0.0, -0.0, 0.5, 2.0]).prop_map(FieldValue::Number),
            prop::sample::select(vec!["", "x", "naïve", "z"])
                .prop_map(|text| FieldValue::Text(text.to_owned())),
        ]
    }

    fn filter() -> impl Strategy<Value = Filter> {
        let field = || prop::sample::select(FIELDS.to_vec()).prop_map(str::to_owned);
        let bound = || prop::option::of(prop::sample::select(vec![-2.0, -0.0, 0.0, 0.5, 2.0]));
        let noon = 1_704_110_400_000_000_i64;
        let instant = move || prop::option::of(noon - 1..noon + 3);
        let leaf = prop_oneof![
            (field(), field_value()).prop_map(|(field, value)| Filter::Match { field, value }),
            (field(), prop::collection::vec(field_value(), 1..3))
                .prop_map(|(field, values)| Filter::In { field, values }),
            (field(), bound(), bound(), bound(), bound())
                .prop_map(|(field, gt, gte, lt, lte)| Filter::Range { field, gt, gte, lt, lte }),
            (field(), instant(), instant(), instant(), instant()).prop_map(
                |(field, gt, gte, lt, lte)| Filter::TimeRange { field, gt, gte, lt, lte }
            ),
            field().prop_map(|field| Filter::Exists { field }),
        ];
        leaf.prop_recursive(3, 16, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..3).prop_map(Filter::And),
                prop::collection::vec(inner.clone(), 1..3).prop_map(Filter::Or),
                inner.prop_map(|inner| Filter::Not(Box::new(inner))),
            ]
        })
    }

    /// Writes a filter file and opens it as one of which nothing was verified.
    fn written(folder: &Path, payloads: &[Map<String, Value>]) -> FilterIndex {
        let path = folder.join("filters.bin");
        let mut writer = FilterWriter::default();
        for (row, payload) in payloads.iter().enumerate() {
            writer.add(row as u32, payload);
        }
        let entry = writer.write(&path).unwrap();
        let file = CheckedFile::alone(&path, &entry).unwrap();
        FilterIndex::open(&file, payloads.len() as u32).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(192))]
        #[test]
        fn the_file_answers_as_the_payloads_do(
            payloads in prop::collection::vec(payload(), 0..24),
            filters in prop::collection::vec(filter(), 24),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let index = written(folder.path(), &payloads);
            for filter in &filters {
                let expected: RoaringBitmap = (0_u32..)
                    .zip(&payloads)
                    .filter(|(_, payload)| matches(filter, payload))
                    .map(|(row, _)| row)
                    .collect();
                prop_assert_eq!(index.evaluate(filter).unwrap(), expected, "{:?}", filter);
            }
        }
    }
}
