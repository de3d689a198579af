//! Finding the centroids of the partitions, and the nearest of them for each row.
//!
//! Rounds of k-means over a sample, in which vectors of length 1 are compared by their dot
//! product; after Dhillon and Modha, "Concept Decompositions for Large Sparse Text Data using
//! Clustering" (2001). The same rows give the same partitions.

use crate::{
    error::IndexError,
    graph::{Stop, in_random_order},
    segment::Vectors,
    simd::{BLOCK_ROWS, nearest_in_blocks, to_blocks},
};
use rayon::prelude::*;

/// Partitions for the square root of the rows: a search compares all centroids and the rows
/// of some partitions, and this many of them make that the least in all.
const PARTITIONS_PER_ROOT: f64 = 2.0;

/// Rows of the sample for each partition.
const SAMPLE_PER_PARTITION: usize = 32;

const ROUNDS: usize = 6;

/// Rows compared at a time with all centroids: few enough to stay in the cache meanwhile.
const ROWS_AT_ONCE: usize = 96;

/// The rows of a segment in partitions.
pub(super) struct Partitioned {
    /// The mean of the rows of each partition, one after the other.
    pub(super) means: Vec<f32>,
    /// Where the rows of each partition start, one more than there are partitions.
    pub(super) starts: Vec<u32>,
    /// All rows, those of one partition after those of another.
    pub(super) order: Vec<u32>,
}

/// Partitions rows on the threads of the current pool.
pub(super) fn partition(vectors: &Vectors, stop: &Stop) -> Result<Partitioned, IndexError> {
    let rows = in_random_order(0..vectors.rows());
    let count = count(rows.len());
    let sample = &rows[..rows.len().min(SAMPLE_PER_PARTITION * count)];
    let mut centroids: Vec<f32> =
        sample.iter().take(count).flat_map(|&row| vectors.row(row)).copied().collect();
    for _ in 0..ROUNDS {
        let nearest = nearest(vectors, sample, &centroids, stop)?;
        let members = sample.iter().copied().zip(nearest);
        centroids = means(vectors, members, &centroids);
        centroids.chunks_exact_mut(vectors.dimension()).for_each(normalise);
    }
    let rows: Vec<u32> = (0..vectors.rows()).collect();
    let nearest = nearest(vectors, &rows, &centroids, stop)?;
    let members = rows.iter().copied().zip(nearest.iter().copied());
    let means = means(vectors, members, &centroids);
    let (starts, order) = grouped(&nearest, count);
    Ok(Partitioned { means, starts, order })
}

/// Returns how many partitions there are for some rows: as many as fill blocks.
fn count(rows: usize) -> usize {
    let wanted = PARTITIONS_PER_ROOT * (rows as f64).sqrt();
    (wanted as usize).next_multiple_of(BLOCK_ROWS).min(rows / BLOCK_ROWS * BLOCK_ROWS)
}

/// Returns the number of the nearest centroid for each of some rows.
fn nearest(
    vectors: &Vectors,
    rows: &[u32],
    centroids: &[f32],
    stop: &Stop,
) -> Result<Vec<u32>, IndexError> {
    let blocks = to_blocks(centroids, vectors.dimension());
    let mut nearest = vec![0; rows.len()];
    rows.par_chunks(ROWS_AT_ONCE).zip(nearest.par_chunks_mut(ROWS_AT_ONCE)).for_each(
        |(rows, nearest)| {
            if !stop.is_requested() {
                let rows: Vec<&[f32]> = rows.iter().map(|&row| vectors.row(row)).collect();
                nearest_in_blocks(&rows, &blocks, nearest);
            }
        },
    );
    if stop.is_requested() { Err(IndexError::Closed) } else { Ok(nearest) }
}

/// Returns the mean of the rows of each partition; that of one without rows stays as it was.
fn means(vectors: &Vectors, members: impl Iterator<Item = (u32, u32)>, before: &[f32]) -> Vec<f32> {
    let dimension = vectors.dimension();
    let mut sums = vec![0.0_f32; before.len()];
    let mut counts = vec![0_u32; before.len() / dimension];
    for (row, partition) in members {
        counts[partition as usize] += 1;
        let sum = &mut sums[partition as usize * dimension..][..dimension];
        sum.iter_mut().zip(vectors.row(row)).for_each(|(sum, value)| *sum += value);
    }
    let partitions = sums.chunks_exact_mut(dimension).zip(before.chunks_exact(dimension));
    for ((sum, before), count) in partitions.zip(counts) {
        match count {
            0 => sum.copy_from_slice(before),
            count => sum.iter_mut().for_each(|value| *value /= count as f32),
        }
    }
    sums
}

fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}

/// Groups rows by partition: where each starts, and the rows.
fn grouped(nearest: &[u32], count: usize) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0_u32; count + 1];
    nearest.iter().for_each(|&partition| starts[partition as usize + 1] += 1);
    for partition in 0..count {
        starts[partition + 1] += starts[partition];
    }
    let (mut ends, mut order) = (starts.clone(), vec![0_u32; nearest.len()]);
    for (row, &partition) in nearest.iter().enumerate() {
        let end = &mut ends[partition as usize];
        order[*end as usize] = row as u32;
        *end += 1;
    }
    (starts, order)
}
