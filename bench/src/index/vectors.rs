//! The data sets: files of real vectors, and clustered ones made here.
//!
//! A file has two u32, the rows and the columns, and then the rows as f32.

use anyhow::{Context, ensure};
use fs_err as fs;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::{Path, PathBuf};

/// Rows of one length, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Vectors {
    pub(crate) dimension: usize,
    pub(crate) values: Vec<f32>,
}

impl Vectors {
    pub(crate) fn rows(&self) -> usize {
        self.values.len() / self.dimension
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks(self.dimension)
    }

    /// Keeps the first rows only.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows * self.dimension);
    }

    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = fs::read(path)?;
        let word = |at: usize| -> anyhow::Result<usize> {
            let word = bytes.get(at..at + 4).context("the file has no head")?;
            Ok(u32::from_le_bytes(word.try_into()?) as usize)
        };
        let (rows, dimension) = (word(0)?, word(4)?);
        let values = bytes[8..].chunks_exact(4);
        let values: Vec<f32> = values
            .map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]]))
            .collect();
        ensure!(
            dimension > 0 && values.len() == rows * dimension,
            "{} does not hold {rows} rows of {dimension}",
            path.display()
        );
        Ok(Self { dimension, values })
    }

    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut bytes = Vec::with_capacity(8 + 4 * self.values.len());
        bytes.extend_from_slice(&u32::try_from(self.rows())?.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(self.dimension)?.to_le_bytes());
        self.values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        Ok(fs::write(path, bytes)?)
    }
}

/// A set of vectors and of queries, each in a file that peers can read.
#[derive(Debug)]
pub(crate) struct DataSet {
    pub(crate) name: String,
    pub(crate) base: Vectors,
    pub(crate) queries: Vectors,
    pub(crate) base_path: PathBuf,
    pub(crate) query_path: PathBuf,
}

impl DataSet {
    /// Reads `NAME.base.fbin` and `NAME.query.fbin` of a folder.
    pub(crate) fn read(name: &str, folder: &Path) -> anyhow::Result<Self> {
        let base_path = folder.join(format!("{name}.base.fbin"));
        let query_path = folder.join(format!("{name}.query.fbin"));
        let (base, queries) = (Vectors::read(&base_path)?, Vectors::read(&query_path)?);
        ensure!(base.dimension == queries.dimension, "`{name}` has queries of another dimension");
        Ok(Self { name: name.to_owned(), base, queries, base_path, query_path })
    }

    /// Cuts the set down, into files of its own in `folder`.
    pub(crate) fn cut(mut self, rows: usize, folder: &Path) -> anyhow::Result<Self> {
        if self.base.rows() <= rows {
            return Ok(self);
        }
        self.base.truncate(rows);
        self.name = format!("{} (first {rows})", self.name);
        self.base_path = folder.join(format!("cut-{rows}.base.fbin"));
        self.base.write(&self.base_path)?;
        Ok(self)
    }

    /// Makes clustered vectors of length 1: 2000 centres in 32 dimensions with
    /// noise around them, spread over all dimensions by one random map.
    pub(crate) fn clustered(rows: usize, folder: &Path) -> anyhow::Result<Self> {
        const DIMENSION: usize = 128;
        const QUERIES: usize = 2000;
        let name = format!("clustered-{rows}");
        let base_path = folder.join(format!("{name}.base.fbin"));
        let query_path = folder.join(format!("{name}.query.fbin"));
        if !query_path.exists() {
            let mut all = clustered(rows + QUERIES, DIMENSION);
            let base = all.split_off(QUERIES * DIMENSION);
            Vectors { dimension: DIMENSION, values: base }.write(&base_path)?;
            Vectors { dimension: DIMENSION, values: all }.write(&query_path)?;
        }
        Self::read(&name, folder)
    }
}

fn clustered(rows: usize, dimension: usize) -> Vec<f32> {
    const CENTRES: usize = 2000;
    const INNER: usize = 32;
    let mut random = ChaCha8Rng::seed_from_u64(7);
    // The sum of twelve uniform numbers is close enough to a normal one.
    let mut normal = move || (0..12).map(|_| random.random::<f32>()).sum::<f32>() - 6.0;
    let centres: Vec<f32> = (0..CENTRES * INNER).map(|_| normal()).collect();
    let map: Vec<f32> = (0..INNER * dimension).map(|_| normal() / (INNER as f32).sqrt()).collect();
    let mut values = Vec::with_capacity(rows * dimension);
    for row in 0..rows {
        let centre = &centres[row.wrapping_mul(7919) % CENTRES * INNER..][..INNER];
        let inner: Vec<f32> = centre.iter().map(|centre| centre + 0.5 * normal()).collect();
        let mut vector: Vec<f32> = (0..dimension).map(|_| 0.1 * normal()).collect();
        for (weight, column) in inner.iter().zip(map.chunks(dimension)) {
            vector.iter_mut().zip(column).for_each(|(value, map)| *value += weight * map);
        }
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        values.extend(vector.iter().map(|value| value / length));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_come_back_from_their_files_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let made = DataSet::clustered(300, folder.path()).unwrap();
        assert_eq!((made.base.rows(), made.queries.rows()), (300, 2000));
        for vector in made.base.iter() {
            let length: f32 = vector.iter().map(|value| value * value).sum();
            assert!((length - 1.0).abs() < 1e-4);
        }
        let again = DataSet::clustered(300, folder.path()).unwrap();
        assert_eq!(again.base.values, made.base.values);
        let cut = again.cut(100, folder.path()).unwrap();
        assert_eq!(Vectors::read(&cut.base_path).unwrap().values, made.base.values[..100 * 128]);
        fs::write(folder.path().join("short.base.fbin"), [1, 0, 0, 0, 4, 0, 0, 0, 9]).unwrap();
        assert!(Vectors::read(&folder.path().join("short.base.fbin")).is_err());
    }
}
