//! Where the projection of the means begins: the ridge regression from a bare backbone's
//! mean-pooled states to the teacher's vectors.

use burn::tensor::Tensor;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use twn_encoder::{HostTensor, Projection};

use super::{Batch, Example, Sequence, Sequencer, Student, Teacher, TrainError};

/// Texts that the fit reads: several for each of its coefficients' columns.
const TEXTS: usize = 3_000;
/// Positions of one pass.
const PASS_TOKENS: usize = 4_096;
/// Weight of the penalty, relative to the mean variance.
const RIDGE: f64 = 0.1;

/// Fits the projection of the means to the teacher. Does nothing when the teacher has read
/// too few texts.
///
/// # Errors
/// Fails when a text cannot be made into a prompt, or the states are not finite.
pub(super) fn fit_mean_projection(
    student: &mut Student,
    sequencer: &Sequencer,
    teacher: &Teacher,
    data: &BTreeMap<String, Vec<Example>>,
    seed: u64,
) -> Result<(), TrainError> {
    let mut texts: Vec<(&str, bool)> = Vec::new();
    for example in data.values().flatten() {
        texts.push((&example.query, false));
        texts.extend(example.positives.iter().map(|text| (text.as_str(), true)));
    }
    texts.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut sequences = Vec::new();
    let mut wanted = Vec::new();
    for (text, is_document) in texts {
        let Some(vector) = teacher.vector(text) else { continue };
        sequences.push(match is_document {
            true => sequencer.document(text)?,
            false => sequencer.query(text, None)?,
        });
        wanted.push(vector);
        if wanted.len() == TEXTS {
            break;
        }
    }
    let hidden = student.backbone().config().hidden_size;
    if wanted.len() < 2 * hidden {
        return Ok(());
    }
    let means = all_means(&student.frozen(), &sequences)?;
    let (weight, bias) = ridge(&means, &wanted)
        .ok_or_else(|| TrainError::Internal { problem: "means are not finite".to_owned() })?;
    let dimension = teacher.dimension();
    student.adapters.pooler.mean = Some(Projection::new(
        HostTensor { shape: vec![dimension, hidden], values: weight },
        HostTensor { shape: vec![dimension], values: bias },
        student.device(),
    ));
    Ok(())
}

fn all_means(student: &Student, sequences: &[Sequence]) -> Result<Vec<Vec<f32>>, TrainError> {
    let mut all = vec![Vec::new(); sequences.len()];
    for group in student.embedding_passes(sequences, PASS_TOKENS) {
        let rows = group.iter().map(|&index| &sequences[index]).collect();
        let means = student.means(&Batch::new(rows, student.queries()));
        let width = means.dims()[1];
        let values = means.into_data().convert::<f32>();
        let values = values.try_to_vec::<f32>().expect("converted to f32");
        for (&index, row) in group.iter().zip(values.chunks_exact(width)) {
            row.clone_into(&mut all[index]);
        }
    }
    Ok(all)
}

/// Ridge regression with an intercept: `weight` is `[outputs, inputs]` row by row. `None`
/// when the inputs are not finite.
fn ridge(inputs: &[Vec<f32>], outputs: &[Vec<f32>]) -> Option<(Vec<f32>, Vec<f32>)> {
    let (count, width, height) = (inputs.len() as f64, inputs[0].len(), outputs[0].len());
    let center = |rows: &[Vec<f32>], len: usize| -> Vec<f64> {
        (0..len).map(|c| rows.iter().map(|row| f64::from(row[c])).sum::<f64>() / count).collect()
    };
    let (middle, target) = (center(inputs, width), center(outputs, height));
    let mut gram = vec![0.0; width * width];
    let mut cross = vec![0.0; width * height];
    for (input, output) in inputs.iter().zip(outputs) {
        let input: Vec<f64> = input.iter().zip(&middle).map(|(x, m)| f64::from(*x) - m).collect();
        let output: Vec<f64> = output.iter().zip(&target).map(|(y, m)| f64::from(*y) - m).collect();
        for (row, &x) in input.iter().enumerate() {
            for (cell, &other) in gram[row * width..].iter_mut().zip(&input[..=row]) {
                *cell += x * other;
            }
            for (cell, &y) in cross[row * height..].iter_mut().zip(&output) {
                *cell += x * y;
            }
        }
    }
    let variance = (0..width).map(|i| gram[i * width + i]).sum::<f64>() / width as f64;
    for i in 0..width {
        gram[i * width + i] += RIDGE * variance;
    }
    cholesky_solve(&mut gram, &mut cross, width, height)?;
    let mut weight = vec![0.0; height * width];
    let mut bias = target;
    for (column, middle) in middle.iter().enumerate() {
        for row in 0..height {
            let value = cross[column * height + row];
            weight[row * width + column] = value as f32;
            bias[row] -= value * middle;
        }
    }
    Some((weight, bias.iter().map(|&value| value as f32).collect()))
}

/// Solves `matrix x = right` in place for a symmetric positive matrix, of which the lower
/// half is read; `right` is `[width, height]`. `None` when the matrix is not positive.
fn cholesky_solve(
    matrix: &mut [f64],
    right: &mut [f64],
    width: usize,
    height: usize,
) -> Option<()> {
    for row in 0..width {
        for column in 0..=row {
            let dot: f64 =
                (0..column).map(|k| matrix[row * width + k] * matrix[column * width + k]).sum();
            let rest = matrix[row * width + column] - dot;
            matrix[row * width + column] = if row != column {
                rest / matrix[column * width + column]
            } else if rest > 0.0 && rest.is_finite() {
                rest.sqrt()
            } else {
                return None;
            };
        }
    }
    for row in 0..width {
        for k in 0..row {
            subtract(right, row, k, matrix[row * width + k], height);
        }
        scale(right, row, matrix[row * width + row], height);
    }
    for row in (0..width).rev() {
        for k in row + 1..width {
            subtract(right, row, k, matrix[k * width + row], height);
        }
        scale(right, row, matrix[row * width + row], height);
    }
    Some(())
}

/// Takes `factor` times row `k` off row `row`.
fn subtract(rows: &mut [f64], row: usize, k: usize, factor: f64, height: usize) {
    for column in 0..height {
        rows[row * height + column] -= factor * rows[k * height + column];
    }
}

fn scale(rows: &mut [f64], row: usize, divisor: f64, height: usize) {
    for value in &mut rows[row * height..(row + 1) * height] {
        *value /= divisor;
    }
}

impl Student {
    /// The means of what is pooled, before any projection: `[batch, hidden]`. The batch
    /// has room for [`Student::queries`] rows.
    pub(super) fn means(&self, batch: &Batch<'_>) -> Tensor<2> {
        self.pooled(batch).0.inner()
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn ridge_finds_an_affine_map() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut draw = || (0..3).map(|_| rng.random_range(0.0..1.0)).collect();
        let inputs: Vec<Vec<f32>> = (0..2_000).map(|_| draw()).collect();
        let outputs: Vec<Vec<f32>> =
            inputs.iter().map(|x| vec![2.0 * x[0] - x[2] + 0.5, x[1] - 0.25]).collect();
        let (weight, bias) = ridge(&inputs, &outputs).expect("finite");
        // Of independent columns of one variance the penalty keeps 1 / (1 + RIDGE).
        for (got, want) in weight.iter().zip([2.0, 0.0, -1.0, 0.0, 1.0, 0.0]) {
            assert!((f64::from(*got) - want / (1.0 + RIDGE)).abs() < 0.03, "{weight:?}");
        }
        // The mean of the inputs goes to the mean of the outputs.
        let mean = |c: usize| inputs.iter().map(|x| x[c]).sum::<f32>() / 2_000.0;
        let got: f32 = bias[1] + (0..3).map(|c| weight[3 + c] * mean(c)).sum::<f32>();
        assert!((got - (mean(1) - 0.25)).abs() < 1e-4, "{got}");
        assert!(ridge(&[vec![f32::NAN]], &[vec![1.0]]).is_none());
    }
}
