//! `vectors.arrow`: the vectors of a segment, used where they lie in the map.

use super::{
    arrow_file::{self, ArrowFile},
    matrix::{BATCH_ROWS, Matrix},
    rows::RowSource,
};
use crate::{checked::CheckedFile, error::IndexError, manifest::FileEntry};
use arrow::{
    array::{FixedSizeListArray, Float32Array, RecordBatch},
    datatypes::{DataType, Field, FieldRef, Float32Type, Schema, SchemaRef},
};
use std::{path::Path, sync::Arc};

/// The vectors of a segment by row.
#[derive(Debug)]
pub(crate) struct Vectors(Matrix<Float32Type>);

impl Vectors {
    /// Writes the vectors of rows in their order.
    pub(crate) fn write(
        path: &Path,
        dimension: usize,
        rows: &impl RowSource,
    ) -> Result<FileEntry, IndexError> {
        let schema = schema(dimension);
        let batches = (0..rows.len()).step_by(BATCH_ROWS).map(|first| {
            let range = first..rows.len().min(first + BATCH_ROWS);
            let mut values = Vec::with_capacity(range.len() * dimension);
            range.for_each(|at| values.extend_from_slice(rows.vector(at)));
            let values = Arc::new(Float32Array::from(values));
            let lists = FixedSizeListArray::try_new(item_field(), dimension as i32, values, None)?;
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(lists)])
        });
        arrow_file::write(path, &schema, batches)
    }

    /// Finds the vectors in a mapped file.
    pub(crate) fn open(
        file: &Arc<CheckedFile>,
        dimension: usize,
        rows: u32,
    ) -> Result<Self, IndexError> {
        let arrow = ArrowFile::open(file, &schema(dimension))?;
        Matrix::open(file, &arrow, dimension, rows).map(Self)
    }

    /// Returns how many vectors there are.
    pub(crate) fn rows(&self) -> u32 {
        self.0.rows()
    }

    /// Returns how long the vectors are.
    pub(crate) fn dimension(&self) -> usize {
        self.0.columns()
    }

    /// Returns a vector in place, whether it was verified or not.
    #[inline]
    pub(crate) fn row(&self, row: u32) -> &[f32] {
        self.0.row(row)
    }

    /// Verifies vectors that have not been; raises the alarm if one is damaged.
    #[inline]
    pub(crate) fn check(&self, rows: &[u32]) {
        self.0.check(rows);
    }

    /// Tells whether all of them have been verified.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.is_whole()
    }

    /// Verifies everything, unless `is_over` says so first.
    pub(super) fn check_all(&self, is_over: &dyn Fn() -> bool) -> Result<(), IndexError> {
        self.0.check_all(is_over)
    }
}

fn schema(dimension: usize) -> SchemaRef {
    let kind = DataType::FixedSizeList(item_field(), dimension as i32);
    Arc::new(Schema::new(vec![Field::new("vector", kind, false)]))
}

fn item_field() -> FieldRef {
    Arc::new(Field::new("item", DataType::Float32, false))
}

#[cfg(test)]
mod tests {
    use super::{super::arrow_file::ALIGNMENT, *};
    use crate::{document::Document, tail::TailRow, vector::UnitVector};
    use arrow::array::{Array, AsArray};

    fn rows(count: usize, dimension: usize) -> Vec<Arc<TailRow>> {
        let row = |number: usize| {
            let values = (0..dimension).map(|at| (number * 31 + at + 1) as f32).collect();
            let document = Document {
                id: format!("{number:06}"),
                vector: UnitVector::new(values).unwrap(),
                text: String::new(),
                payload: serde_json::Map::new(),
                provenance: String::new(),
                thought: None,
                content_hash: [0; 32],
            };
            Arc::new(TailRow { document, sequence: number as u64 + 1 })
        };
        (0..count).map(row).collect()
    }

    #[test]
    fn vectors_stay_in_the_map_aligned_and_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors.arrow");
        let (count, dimension) = (2 * BATCH_ROWS + 100, 24);
        let rows = rows(count, dimension);
        let entry = Vectors::write(&path, dimension, &rows).unwrap();
        let file = CheckedFile::just_written(&path, &entry).unwrap();

        let arrow = ArrowFile::open(&file, &schema(dimension)).unwrap();
        let vectors = Vectors::open(&file, dimension, count as u32).unwrap();
        for number in 0..arrow.blocks().len() {
            let batch = arrow.decode(number).unwrap();
            let values = batch.column(0).as_fixed_size_list().values().to_data();
            let pointer = values.buffers()[0].as_ptr();
            let row = vectors.row((number * BATCH_ROWS) as u32);
            assert_eq!(pointer, row.as_ptr().cast(), "batch {number} was copied");
            assert_eq!(pointer as usize % ALIGNMENT, 0, "batch {number} is not aligned");
        }
        for (number, row) in rows.iter().enumerate() {
            assert_eq!(vectors.row(number as u32), row.vector());
        }
        assert!(Vectors::open(&file, dimension, count as u32 + 1).is_err());
        assert!(Vectors::open(&file, dimension + 1, count as u32).is_err());
    }
}
