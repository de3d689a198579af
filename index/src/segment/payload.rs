//! `payload.arrow`: what is shown with a hit, read for hits only.
//!
//! Batches are small, so that the first hit in one pays for little: the check
//! of the batch's checksums and of its text. After that its columns stay decoded
//! in place, which costs about a byte of heap per row.

use super::{
    arrow_file::{self, ArrowFile},
    columns::{arrow_field, to_array},
    rows::RowSource,
};
use crate::{
    checked::CheckedFile, codec::payload, error::IndexError, manifest::FileEntry,
    projection::Projection, schema::Column,
};
use arrow::{
    array::{
        Array, ArrayRef, AsArray, LargeBinaryArray, LargeStringArray, RecordBatch, StringArray,
    },
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    ops::Range,
    path::Path,
    sync::{Arc, OnceLock},
};

/// Rows in every batch but the last.
const BATCH_ROWS: usize = 1024;

/// What a document shows besides its id, hash, sequence and vector.
#[derive(Default)]
pub(crate) struct Shown<'a> {
    pub(crate) text: Cow<'a, str>,
    pub(crate) payload: Cow<'a, Map<String, Value>>,
    pub(crate) provenance: Cow<'a, str>,
    pub(crate) thought: Option<Cow<'a, str>>,
}

/// The payload file of one segment.
#[derive(Debug)]
pub(crate) struct Payloads {
    file: ArrowFile,
    rows: u32,
    batches: Vec<OnceLock<RecordBatch>>,
}

impl Payloads {
    /// Writes the documents of rows in their order, some fields as columns too.
    pub(super) fn write(
        path: &Path,
        rows: &impl RowSource,
        columns: &[Column],
    ) -> Result<FileEntry, IndexError> {
        let schema = schema(columns);
        let batches = (0..rows.len()).step_by(BATCH_ROWS).map(|first| {
            let range = first..rows.len().min(first + BATCH_ROWS);
            to_batch(&schema, rows, range, columns)
        });
        arrow_file::write(path, &schema, batches)
    }

    /// Finds the documents in a mapped file.
    pub(super) fn open(
        file: &Arc<CheckedFile>,
        rows: u32,
        columns: &[Column],
    ) -> Result<Self, IndexError> {
        let file = ArrowFile::open(file, &schema(columns))?;
        if file.blocks().len() != (rows as usize).div_ceil(BATCH_ROWS) {
            return Err(IndexError::corrupt(file.path(), "its batches do not make up its rows"));
        }
        let batches = file.blocks().iter().map(|_| OnceLock::new()).collect();
        Ok(Self { file, rows, batches })
    }

    /// Reads what is wanted of one row.
    pub(crate) fn read(&self, row: u32, wanted: Projection) -> Result<Shown<'_>, IndexError> {
        let (number, slot) = (row as usize / BATCH_ROWS, row as usize % BATCH_ROWS);
        let batch = self.batch(number)?;
        let mut shown = Shown::default();
        if wanted.text {
            shown.text = Cow::Borrowed(batch.column(1).as_string::<i64>().value(slot));
        }
        if wanted.payload {
            let encoded = batch.column(2).as_binary::<i64>().value(slot);
            shown.payload = Cow::Owned(payload::decode(encoded).ok_or_else(|| {
                let problem = format!("the payload of row {row} is unreadable");
                IndexError::corrupt(self.file.path(), problem)
            })?);
        }
        if wanted.provenance {
            let thoughts = batch.column(4).as_string::<i64>();
            shown.provenance = Cow::Borrowed(batch.column(3).as_string::<i64>().value(slot));
            shown.thought = thoughts.is_valid(slot).then(|| Cow::Borrowed(thoughts.value(slot)));
        }
        Ok(shown)
    }

    /// Returns a batch, decoded and checked by whoever needs it first.
    fn batch(&self, number: usize) -> Result<&RecordBatch, IndexError> {
        if let Some(batch) = self.batches[number].get() {
            return Ok(batch);
        }
        let batch = self.file.decode_checked(number)?;
        let expected = (self.rows as usize - number * BATCH_ROWS).min(BATCH_ROWS);
        if batch.num_rows() != expected {
            let problem = format!("batch {number} has {} rows", batch.num_rows());
            return Err(IndexError::corrupt(self.file.path(), problem));
        }
        Ok(self.batches[number].get_or_init(|| batch))
    }
}

fn schema(columns: &[Column]) -> SchemaRef {
    let mut fields = vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("text", DataType::LargeUtf8, false),
        Field::new("payload", DataType::LargeBinary, false),
        Field::new("provenance", DataType::LargeUtf8, false),
        Field::new("thought", DataType::LargeUtf8, true),
    ];
    fields.extend(columns.iter().filter_map(arrow_field));
    Arc::new(Schema::new(fields))
}

fn to_batch(
    schema: &SchemaRef,
    rows: &impl RowSource,
    range: Range<usize>,
    columns: &[Column],
) -> Result<RecordBatch, ArrowError> {
    let external = |error: IndexError| ArrowError::from_external_error(Box::new(error));
    let mut ids = Vec::with_capacity(range.len());
    let mut shown = Vec::with_capacity(range.len());
    for at in range {
        ids.push(std::str::from_utf8(rows.id(at)).map_err(|error| external_utf8(at, error))?);
        shown.push(rows.shown(at).map_err(external)?);
    }
    let encode = |payload: &Map<String, Value>| {
        let mut bytes = Vec::new();
        payload::encode(payload, &mut bytes);
        bytes
    };
    let texts = LargeStringArray::from_iter_values(shown.iter().map(|row| &row.text));
    let payloads = LargeBinaryArray::from_iter_values(shown.iter().map(|row| encode(&row.payload)));
    let provenances = LargeStringArray::from_iter_values(shown.iter().map(|row| &row.provenance));
    let thoughts: LargeStringArray = shown.iter().map(|row| row.thought.as_deref()).collect();
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(ids)),
        Arc::new(texts),
        Arc::new(payloads),
        Arc::new(provenances),
        Arc::new(thoughts),
    ];
    let payloads: Vec<_> = shown.into_iter().map(|row| row.payload).collect();
    arrays.extend(columns.iter().filter_map(|column| to_array(column, &payloads)));
    RecordBatch::try_new(Arc::clone(schema), arrays)
}

fn external_utf8(row: usize, error: std::str::Utf8Error) -> ArrowError {
    ArrowError::ParseError(format!("the id of row {row} is no text: {error}"))
}
