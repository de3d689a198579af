//! Ridge regression.

/// An affine map.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AffineMap {
    /// `[outputs, inputs]`, row by row.
    pub(super) weight: Vec<f32>,
    /// `[outputs]`.
    pub(super) bias: Vec<f32>,
}

impl AffineMap {
    /// The map of one input.
    pub(super) fn apply(&self, input: &[f32]) -> Vec<f32> {
        let rows = self.weight.chunks_exact(input.len()).zip(&self.bias);
        rows.map(|(row, bias)| bias + row.iter().zip(input).map(|(w, x)| w * x).sum::<f32>())
            .collect()
    }
}

/// Ridge regression with an intercept: the squared error's mean and `penalty`, relative to
/// the inputs' mean variance, times the squared weights. `None` when the inputs are not
/// finite.
pub(super) fn ridge(inputs: &[Vec<f32>], outputs: &[Vec<f32>], penalty: f64) -> Option<AffineMap> {
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
        gram[i * width + i] += penalty * variance;
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
    Some(AffineMap { weight, bias: bias.iter().map(|&value| value as f32).collect() })
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

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn ridge_finds_an_affine_map() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut draw = || (0..3).map(|_| rng.random_range(0.0..1.0)).collect();
        let inputs: Vec<Vec<f32>> = (0..2_000).map(|_| draw()).collect();
        let outputs: Vec<Vec<f32>> =
            inputs.iter().map(|x| vec![2.0 * x[0] - x[2] + 0.5, x[1] - 0.25]).collect();
        let penalty = 0.1;
        let AffineMap { weight, bias } = ridge(&inputs, &outputs, penalty).expect("finite");
        // Of independent columns of one variance the penalty keeps 1 / (1 + penalty).
        for (got, want) in weight.iter().zip([2.0, 0.0, -1.0, 0.0, 1.0, 0.0]) {
            assert!((f64::from(*got) - want / (1.0 + penalty)).abs() < 0.03, "{weight:?}");
        }
        // The mean of the inputs goes to the mean of the outputs.
        let mean = |c: usize| inputs.iter().map(|x| x[c]).sum::<f32>() / 2_000.0;
        let got: f32 = bias[1] + (0..3).map(|c| weight[3 + c] * mean(c)).sum::<f32>();
        assert!((got - (mean(1) - 0.25)).abs() < 1e-4, "{got}");
        assert!(ridge(&[vec![f32::NAN]], &[vec![1.0]], penalty).is_none());
    }
}
