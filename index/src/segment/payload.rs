//! `payload.arrow`: what is shown with a hit, read for hits only.
//!
//! Batches are small, so that the first hit in one pays for little: the check
//! of the batch's checksum and of its text. After that its columns stay decoded
//! in place, which costs about a byte of heap per row.

use super::arrow_file::{self, ArrowFile};
use crate::{codec::payload, error::IndexError, manifest::ArrowEntry, tail::TailRow};
use arrow::{
    array::{
        Array, ArrayRef, AsArray, LargeBinaryArray, LargeStringArray, RecordBatch, StringArray,
    },
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};
use serde_json::{Map, Value};
use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

/// Rows in every batch but the last.
const BATCH_ROWS: usize = 1024;

/// What a document shows besides its id, hash, sequence and vector.
pub(crate) struct Shown {
    pub(crate) text: String,
    pub(crate) payload: Map<String, Value>,
    pub(crate) provenance: String,
    pub(crate) thought: Option<String>,
}

/// The payload file of one segment.
#[derive(Debug)]
pub(crate) struct Payloads {
    file: ArrowFile,
    rows: u32,
    batches: Vec<OnceLock<RecordBatch>>,
}

impl Payloads {
    /// Writes the documents of rows in their order.
    pub(super) fn write(path: &Path, rows: &[Arc<TailRow>]) -> Result<ArrowEntry, IndexError> {
        let schema = schema();
        let batches = rows.chunks(BATCH_ROWS).map(|rows| to_batch(&schema, rows));
        arrow_file::write(path, &schema, batches)
    }

    /// Maps the file without reading its documents.
    pub(super) fn open(path: &Path, entry: &ArrowEntry, rows: u32) -> Result<Self, IndexError> {
        let file = ArrowFile::open(path, entry, &schema())?;
        if file.batches() != (rows as usize).div_ceil(BATCH_ROWS) {
            return Err(IndexError::corrupt(path, "its batches do not make up its rows"));
        }
        let batches = (0..file.batches()).map(|_| OnceLock::new()).collect();
        Ok(Self { file, rows, batches })
    }

    /// Reads one row.
    pub(crate) fn read(&self, row: u32) -> Result<Shown, IndexError> {
        let (number, slot) = (row as usize / BATCH_ROWS, row as usize % BATCH_ROWS);
        let batch = self.batch(number)?;
        let encoded = batch.column(2).as_binary::<i64>().value(slot);
        let payload = payload::decode(encoded).ok_or_else(|| {
            let problem = format!("the payload of row {row} is unreadable");
            IndexError::corrupt(self.file.path(), problem)
        })?;
        let thoughts = batch.column(4).as_string::<i64>();
        Ok(Shown {
            text: batch.column(1).as_string::<i64>().value(slot).to_owned(),
            payload,
            provenance: batch.column(3).as_string::<i64>().value(slot).to_owned(),
            thought: thoughts.is_valid(slot).then(|| thoughts.value(slot).to_owned()),
        })
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

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("text", DataType::LargeUtf8, false),
        Field::new("payload", DataType::LargeBinary, false),
        Field::new("provenance", DataType::LargeUtf8, false),
        Field::new("thought", DataType::LargeUtf8, true),
    ]))
}

fn to_batch(schema: &SchemaRef, rows: &[Arc<TailRow>]) -> Result<RecordBatch, ArrowError> {
    let documents = || rows.iter().map(|row| &row.document);
    let encode = |payload| {
        let mut bytes = Vec::new();
        payload::encode(payload, &mut bytes);
        bytes
    };
    let ids = StringArray::from_iter_values(documents().map(|document| &document.id));
    let texts = LargeStringArray::from_iter_values(documents().map(|document| &document.text));
    let payloads =
        LargeBinaryArray::from_iter_values(documents().map(|document| encode(&document.payload)));
    let provenances =
        LargeStringArray::from_iter_values(documents().map(|document| &document.provenance));
    let thoughts: LargeStringArray =
        documents().map(|document| document.thought.as_deref()).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(ids),
        Arc::new(texts),
        Arc::new(payloads),
        Arc::new(provenances),
        Arc::new(thoughts),
    ];
    RecordBatch::try_new(Arc::clone(schema), columns)
}
