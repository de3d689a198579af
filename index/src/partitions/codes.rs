//! Rows at half a byte a value, for a first comparison.
//!
//! What is stored is the difference between a row and the mean of its partition, whose own
//! product with the query is known by then; the differences are small, so few steps tell them
//! apart. A step is a share of what the column's values spread.

use super::training::Partitioned;
use crate::{
    segment::Vectors,
    simd::{NibbleQuery, nibble_bytes, to_nibbles},
};
use rayon::prelude::*;

/// What half a byte counts to.
const NUMBERS: f32 = 16.0;

/// Standard deviations that the numbers reach to, on both sides; values beyond are rare.
const REACH: f32 = 3.0;

/// Rows looked at for the spread.
const ROWS_LOOKED_AT: usize = 1 << 16;

/// What the rounding of a product of bytes to f32 may come to, in 16,384 dimensions too.
const SLACK: i32 = 8;

/// The greatest magnitude of a value of the query.
const MOST: f32 = 127.0;

/// Rows by their place in the order of partitions.
pub(super) struct Codes {
    /// What a number stands for, by column.
    pub(super) steps: Vec<f32>,
    pub(super) bytes: Vec<u8>,
}

impl Codes {
    /// Makes the codes of all rows, on the threads of the current pool.
    pub(super) fn new(vectors: &Vectors, partitioned: &Partitioned) -> Self {
        let Partitioned { means, starts, order } = partitioned;
        let dimension = vectors.dimension();
        let difference = |partition: usize, row: u32| {
            let mean = &means[partition * dimension..][..dimension];
            vectors.row(row).iter().zip(mean).map(|(value, mean)| value - mean)
        };
        let steps = steps(dimension, starts, order, &difference);
        let width = nibble_bytes(dimension);
        let mut bytes = vec![0; width * order.len()];
        let mut rest = &mut bytes[..];
        let mut parts = Vec::with_capacity(starts.len());
        for (partition, bounds) in starts.windows(2).enumerate() {
            let rows = &order[bounds[0] as usize..bounds[1] as usize];
            let (part, behind) = rest.split_at_mut(width * rows.len());
            parts.push((partition, rows, part));
            rest = behind;
        }
        parts.into_par_iter().for_each(|(partition, rows, part)| {
            for (&row, code) in rows.iter().zip(part.chunks_exact_mut(width)) {
                let numbers = difference(partition, row).zip(&steps);
                to_nibbles(numbers.map(|(value, step)| to_number(value / step)), code);
            }
        });
        Self { steps, bytes }
    }
}

/// Returns the step of each column.
fn steps<I: Iterator<Item = f32>>(
    dimension: usize,
    starts: &[u32],
    order: &[u32],
    difference: &impl Fn(usize, u32) -> I,
) -> Vec<f32> {
    let mut squares = vec![0.0_f32; dimension];
    let between = order.len().div_ceil(ROWS_LOOKED_AT).max(1);
    let mut looked_at = 0;
    for (partition, bounds) in starts.windows(2).enumerate() {
        for &row in order[bounds[0] as usize..bounds[1] as usize].iter().step_by(between) {
            let values = difference(partition, row);
            squares.iter_mut().zip(values).for_each(|(square, value)| *square += value * value);
            looked_at += 1;
        }
    }
    let step = |square: f32| 2.0 * REACH / NUMBERS * (square / looked_at.max(1) as f32).sqrt();
    // A column that hardly differs is all in one step.
    squares.into_iter().map(|square| step(square).max(1e-30)).collect()
}

fn to_number(steps: f32) -> u8 {
    (steps + NUMBERS / 2.0).clamp(0.0, NUMBERS - 1.0) as u8
}

/// How a product of a query and a code becomes one of the query and the difference.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    step: f32,
    /// The product with the middle of all steps.
    middle: f32,
}

impl Scale {
    /// Makes the bytes of a query, and what they stand for.
    pub(super) fn of(query: &[f32], steps: &[f32], bytes: &mut NibbleQuery) -> Self {
        let scaled = || query.iter().zip(steps).map(|(value, step)| value * step);
        let greatest = scaled().fold(0.0_f32, |greatest, value| greatest.max(value.abs()));
        let step = if greatest > 0.0 { greatest / MOST } else { 1.0 };
        let mut sum = 0.0;
        let values = query.iter().zip(steps).map(|(value, number)| {
            let rounded = (value * number / step).round().clamp(-MOST, MOST);
            sum += rounded;
            rounded as i8
        });
        bytes.set(values);
        Self { step, middle: (NUMBERS - 1.0) / 2.0 * sum }
    }

    #[inline]
    pub(super) fn product(&self, dot: i32) -> f32 {
        self.step * (dot as f32 - self.middle)
    }

    /// Returns the least product of bytes that may come to this: none that does is less.
    #[inline]
    pub(super) fn least_dot(&self, product: f32) -> i32 {
        ((product / self.step + self.middle) as i32).saturating_sub(SLACK)
    }
}
