//! A teacher's vectors for texts of the data.
//!
//! Two files: `NAME.keys` has 8 bytes a text, the first of its SHA-256, and `NAME.f16` a
//! vector a text in the same order, little-endian halves. `minilm_vectors.py` writes them.

use std::{collections::HashMap, path::Path};

use sha2::{Digest, Sha256};

use super::TrainError;

const KEY_BYTES: usize = 8;

/// A teacher's vectors by text.
#[derive(Debug)]
pub struct Teacher {
    rows: HashMap<[u8; KEY_BYTES], usize>,
    values: Vec<half::f16>,
    dimension: usize,
}

impl Teacher {
    /// Reads `stem.keys` and `stem.f16`.
    ///
    /// # Errors
    /// Fails when a file cannot be read or the two do not fit together.
    pub fn read(stem: &Path) -> Result<Self, TrainError> {
        let keys = fs_err::read(stem.with_extension("keys"))?;
        let vectors = fs_err::read(stem.with_extension("f16"))?;
        let count = keys.len() / KEY_BYTES;
        let bytes = 2 * count;
        if count == 0
            || !keys.len().is_multiple_of(KEY_BYTES)
            || !vectors.len().is_multiple_of(bytes)
        {
            let problem = format!("{} bytes of keys, {} of vectors", keys.len(), vectors.len());
            return Err(TrainError::file(stem, problem));
        }
        let (keys, _) = keys.as_chunks::<KEY_BYTES>();
        let (halves, _) = vectors.as_chunks::<2>();
        Ok(Self {
            rows: keys.iter().enumerate().map(|(row, key)| (*key, row)).collect(),
            values: halves.iter().map(|&half| half::f16::from_le_bytes(half)).collect(),
            dimension: vectors.len() / bytes,
        })
    }

    /// One that has read these texts.
    #[cfg(test)]
    pub(super) fn of(texts: impl Iterator<Item = (String, Vec<f32>)>) -> Self {
        let mut teacher = Self { rows: HashMap::new(), values: Vec::new(), dimension: 0 };
        for (row, (text, vector)) in texts.enumerate() {
            teacher.rows.insert(key(&text), row);
            teacher.dimension = vector.len();
            teacher.values.extend(vector.into_iter().map(half::f16::from_f32));
        }
        teacher
    }

    /// Length of the vectors.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Tells whether the teacher has read a text.
    pub fn knows(&self, text: &str) -> bool {
        self.rows.contains_key(&key(text))
    }

    /// The unit vector of a text, if the teacher has read it.
    pub fn vector(&self, text: &str) -> Option<Vec<f32>> {
        let row = *self.rows.get(&key(text))?;
        let values = &self.values[row * self.dimension..(row + 1) * self.dimension];
        let values: Vec<f32> = values.iter().map(|half| half.to_f32()).collect();
        let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        (norm > 0.0 && norm.is_finite()).then(|| values.iter().map(|value| value / norm).collect())
    }
}

fn key(text: &str) -> [u8; KEY_BYTES] {
    let digest = Sha256::digest(text.as_bytes());
    digest[..KEY_BYTES].try_into().expect("a digest is longer than a key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_found_by_text() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let stem = folder.path().join("teacher");
        let halves = |values: [f32; 4]| {
            values.map(|value| half::f16::from_f32(value).to_le_bytes()).concat()
        };
        fs_err::write(stem.with_extension("keys"), [key("a"), key("b")].concat()).expect("keys");
        fs_err::write(stem.with_extension("f16"), halves([3.0, 4.0, 0.0, 2.0])).expect("vectors");
        let teacher = Teacher::read(&stem).expect("valid");
        assert_eq!(teacher.vector("a"), Some(vec![0.6, 0.8]));
        assert_eq!(teacher.vector("b"), Some(vec![0.0, 1.0]));
        assert_eq!(teacher.vector("c"), None);

        fs_err::write(stem.with_extension("f16"), [0; 5]).expect("vectors");
        assert!(Teacher::read(&stem).is_err());
    }
}
