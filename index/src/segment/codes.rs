//! `sq8.arrow`: the vectors of a segment at a byte for each value, used where
//! they lie in the map.
//!
//! A value is stored as the nearest whole number of 127ths of the greatest
//! magnitude in its column. A walk over these reads a quarter of the memory;
//! what it finds is compared again with the vectors as they are, so no score is
//! ever an estimate. The columns' steps are in the schema's metadata, as JSON.

use super::{
    Vectors,
    arrow_file::{self, ArrowFile},
    matrix::{BATCH_ROWS, Matrix},
};
use crate::{
    checked::CheckedFile,
    error::IndexError,
    graph::Space,
    manifest::FileEntry,
    simd::{self, ByteQuery},
};
use arrow::{
    array::{FixedSizeListArray, Int8Array, RecordBatch},
    datatypes::{DataType, Field, FieldRef, Int8Type, Schema},
};
use std::{collections::HashMap, path::Path, sync::Arc};

/// The greatest magnitude of a code; -128 is left out (see [`ByteQuery`]).
const MOST: f32 = 127.0;

/// Rows compared again in full, for each hit asked for, after a walk over codes.
pub(crate) const RESCORED_PER_HIT: usize = 4;

const STEPS_KEY: &str = "steps";

/// The quantised vectors of a segment by row.
#[derive(Debug)]
pub(crate) struct Codes {
    /// What a code of 1 stands for, by column.
    steps: Vec<f32>,
    rows: Matrix<Int8Type>,
}

impl Codes {
    /// Quantises and writes the vectors of a segment.
    pub(super) fn write(path: &Path, vectors: &Vectors) -> Result<FileEntry, IndexError> {
        let steps = steps(vectors);
        let dimension = steps.len();
        let json = serde_json::to_string(&steps).map_err(std::io::Error::from)?;
        let metadata = HashMap::from([(STEPS_KEY.to_owned(), json)]);
        let schema = Arc::new(schema(dimension).with_metadata(metadata));
        let batches = (0..vectors.rows()).step_by(BATCH_ROWS).map(|first| {
            let rows = first..vectors.rows().min(first + BATCH_ROWS as u32);
            let mut codes = Vec::with_capacity(rows.len() * dimension);
            rows.for_each(|row| codes.extend(quantise(vectors.row(row), &steps)));
            let codes = Arc::new(Int8Array::from(codes));
            let lists = FixedSizeListArray::try_new(item_field(), dimension as i32, codes, None)?;
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(lists)])
        });
        arrow_file::write(path, &schema, batches)
    }

    /// Finds the codes in a mapped file.
    pub(super) fn open(
        file: &Arc<CheckedFile>,
        dimension: usize,
        rows: u32,
    ) -> Result<Self, IndexError> {
        let arrow = ArrowFile::open(file, &Arc::new(schema(dimension)))?;
        let steps = arrow.metadata(STEPS_KEY).and_then(|json| serde_json::from_str(json).ok());
        let steps = steps.filter(|steps: &Vec<f32>| {
            steps.len() == dimension && steps.iter().all(|step| step.is_finite() && *step > 0.0)
        });
        let Some(steps) = steps else {
            let problem = "it does not say what its codes stand for";
            return Err(IndexError::corrupt(file.path(), problem));
        };
        Ok(Self { steps, rows: Matrix::open(file, &arrow, dimension, rows)? })
    }

    /// Verifies everything, unless `is_over` says so first.
    pub(super) fn check_all(&self, is_over: &dyn Fn() -> bool) -> Result<(), IndexError> {
        self.rows.check_all(is_over)
    }

    /// Returns the space of the codes as seen from a query.
    pub(crate) fn seen_from(&self, query: &[f32]) -> Quantised<'_> {
        // The steps go into the query, so that a product of codes needs none.
        let scaled: Vec<f32> = query.iter().zip(&self.steps).map(|(q, step)| q * step).collect();
        let greatest = scaled.iter().fold(0.0_f32, |greatest, value| greatest.max(value.abs()));
        let step = if greatest > 0.0 { greatest / MOST } else { 1.0 };
        let values = scaled.iter().map(|value| to_code(value / step)).collect();
        Quantised { codes: self, query: ByteQuery::new(values) }
    }
}

/// The space of the quantised vectors.
pub(crate) struct Quantised<'a> {
    codes: &'a Codes,
    query: ByteQuery,
}

impl Space for Quantised<'_> {
    #[inline]
    fn closeness(&self, rows: &[u32], out: &mut Vec<f32>) {
        self.codes.rows.check(rows);
        simd::dot_bytes_each(&self.query, rows, |row| self.codes.rows.row(row), out);
    }
}

/// Returns the step of each column: a 127th of its greatest magnitude.
fn steps(vectors: &Vectors) -> Vec<f32> {
    let mut greatest = vec![0.0_f32; vectors.dimension()];
    for row in 0..vectors.rows() {
        for (greatest, value) in greatest.iter_mut().zip(vectors.row(row)) {
            *greatest = greatest.max(value.abs());
        }
    }
    // A column so small that its step would vanish is all zeroes in codes.
    let to_step = |greatest: f32| if greatest > 1e-30 { greatest / MOST } else { 1.0 };
    greatest.into_iter().map(to_step).collect()
}

fn quantise(vector: &[f32], steps: &[f32]) -> impl Iterator<Item = i8> {
    vector.iter().zip(steps).map(|(value, step)| to_code(value / step))
}

fn to_code(steps: f32) -> i8 {
    steps.round().clamp(-MOST, MOST) as i8
}

fn schema(dimension: usize) -> Schema {
    let kind = DataType::FixedSizeList(item_field(), dimension as i32);
    Schema::new(vec![Field::new("code", kind, false)])
}

fn item_field() -> FieldRef {
    Arc::new(Field::new("item", DataType::Int8, false))
}
