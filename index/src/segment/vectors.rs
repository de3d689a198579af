//! `vectors.arrow`: the vectors of a segment, used where they lie in the map.

use super::{
    arrow_file::{self, ArrowFile},
    rows::RowSource,
};
use crate::{error::IndexError, manifest::ArrowEntry};
use arrow::{
    array::{Array, AsArray, FixedSizeListArray, Float32Array, RecordBatch},
    buffer::ScalarBuffer,
    datatypes::{DataType, Field, FieldRef, Float32Type, Schema, SchemaRef},
};
use std::{path::Path, sync::Arc};

/// Rows in every batch but the last, so that a row's address is arithmetic.
pub(super) const BATCH_ROWS: usize = 1 << BATCH_BITS;
pub(super) const BATCH_BITS: u32 = 13;

/// The vectors of a segment by row.
///
/// They are on no heap: each batch is a window into the mapped file, and pages
/// not in use are the operating system's to drop.
#[derive(Debug)]
pub(crate) struct Vectors {
    dimension: usize,
    rows: u32,
    batches: Vec<ScalarBuffer<f32>>,
}

impl Vectors {
    /// Writes the vectors of rows in their order.
    pub(crate) fn write(
        path: &Path,
        dimension: usize,
        rows: &impl RowSource,
    ) -> Result<ArrowEntry, IndexError> {
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

    /// Maps the vectors without reading them.
    pub(crate) fn open(
        path: &Path,
        entry: &ArrowEntry,
        dimension: usize,
        rows: u32,
    ) -> Result<Self, IndexError> {
        let file = ArrowFile::open(path, entry, &schema(dimension))?;
        let mut batches = Vec::with_capacity(file.batches());
        let mut rows_left = rows as usize;
        for number in 0..file.batches() {
            let batch = file.decode(number)?;
            let expected = rows_left.min(BATCH_ROWS);
            rows_left -= expected;
            let lists = batch.column(0).as_fixed_size_list();
            let values = lists.values().as_primitive::<Float32Type>().values();
            let is_whole = batch.num_rows() == expected
                && lists.null_count() == 0
                && values.len() == expected * dimension;
            if !is_whole {
                return Err(IndexError::corrupt(path, format!("batch {number} is not full")));
            }
            batches.push(values.clone());
        }
        if rows_left > 0 {
            return Err(IndexError::corrupt(path, format!("it lacks {rows_left} rows")));
        }
        Ok(Self { dimension, rows, batches })
    }

    /// Returns how many vectors there are.
    pub(crate) fn rows(&self) -> u32 {
        self.rows
    }

    /// Returns how long the vectors are.
    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// Returns a vector in place.
    #[inline]
    pub(crate) fn row(&self, row: u32) -> &[f32] {
        let batch = &self.batches[(row >> BATCH_BITS) as usize];
        let start = (row as usize & (BATCH_ROWS - 1)) * self.dimension;
        &batch[start..start + self.dimension]
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
    use super::{
        super::{arrow_file::ALIGNMENT, sections::map_checked},
        *,
    };
    use crate::{document::Document, tail::TailRow, vector::UnitVector};

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
        let (count, dimension) = (BATCH_ROWS + 100, 48);
        let rows = rows(count, dimension);
        let entry = Vectors::write(&path, dimension, &rows).unwrap();

        let file = ArrowFile::open(&path, &entry, &schema(dimension)).unwrap();
        for number in 0..file.batches() {
            let batch = file.decode(number).unwrap();
            let values = batch.column(0).as_fixed_size_list().values().to_data();
            let pointer = values.buffers()[0].as_ptr() as usize;
            assert!(file.addresses().contains(&pointer), "batch {number} was copied");
            assert_eq!(pointer % ALIGNMENT, 0, "batch {number} is not aligned");
        }

        let vectors = Vectors::open(&path, &entry, dimension, count as u32).unwrap();
        for (number, row) in rows.iter().enumerate() {
            assert_eq!(vectors.row(number as u32), row.vector());
        }
        assert!(Vectors::open(&path, &entry, dimension, count as u32 + 1).is_err());
        assert!(Vectors::open(&path, &entry, dimension + 1, count as u32).is_err());
    }

    #[test]
    fn every_changed_byte_is_found_at_the_latest_by_verify() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors.arrow");
        let rows = rows(5, 3);
        let entry = Vectors::write(&path, 3, &rows).unwrap();
        let bytes = fs_err::read(&path).unwrap();
        let copy = folder.path().join("changed.arrow");
        let mut found_at_open = 0;
        for position in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[position] ^= 0x5a;
            fs_err::write(&copy, &changed).unwrap();
            assert!(map_checked(&copy, &entry.file).is_err(), "byte {position}");
            found_at_open += usize::from(Vectors::open(&copy, &entry, 3, 5).is_err());
        }
        assert!(found_at_open > bytes.len() / 4, "only {found_at_open} of {}", bytes.len());
    }
}
