//! Turning the payloads of a segment into its filter file.
//!
//! For each field path: a bitmap of the rows where it exists, one for `true`,
//! one for `false`, one for each string, and with their rows the numbers and the
//! instants that strings name, each sorted.

use super::index::FIELD_WORDS;
use crate::{
    error::IndexError,
    manifest::FileEntry,
    schema::parse_instant,
    segment::sections::{SectionKind, SectionWriter},
};
use roaring::RoaringBitmap;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, path::Path};

/// Collects payloads row by row.
#[derive(Default)]
pub(crate) struct FilterWriter {
    fields: BTreeMap<String, Column>,
}

#[derive(Default)]
struct Column {
    exists: RoaringBitmap,
    is_true: RoaringBitmap,
    is_false: RoaringBitmap,
    texts: BTreeMap<String, RoaringBitmap>,
    numbers: Vec<(f64, u32)>,
    instants: Vec<(i64, u32)>,
}

impl FilterWriter {
    /// Adds the payload of a row; rows come in ascending order.
    pub(crate) fn add(&mut self, row: u32, payload: &Map<String, Value>) {
        self.add_object(row, None, payload);
    }

    fn add_object(&mut self, row: u32, path: Option<&str>, object: &Map<String, Value>) {
        for (key, value) in object {
            // No path leads to a key with a dot: the dot would be a step.
            if key.contains('.') || value.is_null() {
                continue;
            }
            let path = match path {
                None => key.clone(),
                Some(parent) => format!("{parent}.{key}"),
            };
            if let Value::Object(inner) = value {
                self.add_object(row, Some(&path), inner);
            }
            self.fields.entry(path).or_default().add(row, value);
        }
    }

    /// Writes the filter file, fsynced.
    pub(crate) fn write(mut self, path: &Path) -> Result<FileEntry, IndexError> {
        let mut tables = Tables::default();
        for (name, column) in &mut self.fields {
            tables.add(name, column)?;
        }
        let mut file = SectionWriter::new(SectionKind::Filters);
        file.push(bytemuck::cast_slice(&tables.fields));
        file.push(bytemuck::cast_slice(&tables.terms));
        file.push(&tables.names);
        file.push(&tables.bitmaps);
        file.push(bytemuck::cast_slice(&tables.numbers));
        file.push(bytemuck::cast_slice(&tables.number_rows));
        file.push(bytemuck::cast_slice(&tables.instants));
        file.push(bytemuck::cast_slice(&tables.instant_rows));
        file.write(path)
    }
}

impl Column {
    fn add(&mut self, row: u32, value: &Value) {
        self.exists.insert(row);
        match value {
            Value::Array(elements) => elements.iter().for_each(|item| self.add_scalar(row, item)),
            scalar => self.add_scalar(row, scalar),
        }
    }

    fn add_scalar(&mut self, row: u32, value: &Value) {
        match value {
            Value::Bool(true) => {
                self.is_true.insert(row);
            }
            Value::Bool(false) => {
                self.is_false.insert(row);
            }
            Value::Number(number) => self.numbers.extend(number.as_f64().map(|n| (n, row))),
            Value::String(text) => {
                self.instants.extend(parse_instant(text).map(|instant| (instant, row)));
                match self.texts.get_mut(text) {
                    Some(rows) => {
                        rows.insert(row);
                    }
                    None => {
                        self.texts.insert(text.clone(), RoaringBitmap::from_iter([row]));
                    }
                }
            }
            Value::Null | Value::Array(_) | Value::Object(_) => {}
        }
    }
}

/// The sections of the file while they grow; see [`super::index`] for their
/// meaning.
#[derive(Default)]
struct Tables {
    fields: Vec<[u64; FIELD_WORDS]>,
    terms: Vec<[u64; 4]>,
    names: Vec<u8>,
    bitmaps: Vec<u8>,
    numbers: Vec<f64>,
    number_rows: Vec<u32>,
    instants: Vec<i64>,
    instant_rows: Vec<u32>,
}

impl Tables {
    fn add(&mut self, name: &str, column: &mut Column) -> Result<(), IndexError> {
        let name = self.add_name(name);
        let exists = self.add_bitmap(&column.exists)?;
        let is_true = self.add_bitmap(&column.is_true)?;
        let is_false = self.add_bitmap(&column.is_false)?;
        let terms = [self.terms.len() as u64, column.texts.len() as u64];
        for (text, rows) in &column.texts {
            let (text, rows) = (self.add_name(text), self.add_bitmap(rows)?);
            self.terms.push([text[0], text[1], rows[0], rows[1]]);
        }
        let numbers = [self.numbers.len() as u64, column.numbers.len() as u64];
        // No JSON number is NaN, and `-0 == 0` is left to the comparisons of
        // the reader, for which any order of the two will do.
        column.numbers.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        self.numbers.extend(column.numbers.iter().map(|&(number, _)| number));
        self.number_rows.extend(column.numbers.iter().map(|&(_, row)| row));
        let instants = [self.instants.len() as u64, column.instants.len() as u64];
        column.instants.sort_unstable();
        self.instants.extend(column.instants.iter().map(|&(instant, _)| instant));
        self.instant_rows.extend(column.instants.iter().map(|&(_, row)| row));
        let parts = [name, exists, is_true, is_false, terms, numbers, instants];
        let mut record = [0; FIELD_WORDS];
        record.as_chunks_mut::<2>().0.copy_from_slice(&parts);
        self.fields.push(record);
        Ok(())
    }

    fn add_name(&mut self, name: &str) -> [u64; 2] {
        let start = self.names.len();
        self.names.extend_from_slice(name.as_bytes());
        [start as u64, name.len() as u64]
    }

    fn add_bitmap(&mut self, rows: &RoaringBitmap) -> Result<[u64; 2], IndexError> {
        let start = self.bitmaps.len();
        if !rows.is_empty() {
            rows.serialize_into(&mut self.bitmaps)?;
        }
        Ok([start as u64, (self.bitmaps.len() - start) as u64])
    }
}
