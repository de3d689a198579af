//! Exact nearest documents: every row is compared with the query.

/// Positions of the `k` rows most similar to `query`, best first, among those that
/// `present` admits; equal scores keep the corpus order.
///
/// `rows` holds one vector of `query.len()` floats for each entry of `present`. With
/// unit vectors the similarity is the cosine.
pub(super) fn nearest(query: &[f32], rows: &[f32], present: &[bool], k: usize) -> Vec<u32> {
    let scored = rows
        .chunks_exact(query.len())
        .zip(present)
        .zip(0u32..)
        .filter(|((_, present), _)| **present)
        .map(|((row, _), position)| (f64::from(dot(query, row)), position));
    best(scored.collect(), k)
}

/// Keeps the `k` best of `scored`, highest score first, then lowest position.
pub(super) fn best(mut scored: Vec<(f64, u32)>, k: usize) -> Vec<u32> {
    let order = |a: &(f64, u32), b: &(f64, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if k > 0 && k < scored.len() {
        scored.select_nth_unstable_by(k - 1, order);
    }
    scored.truncate(k);
    scored.sort_unstable_by(order);
    scored.into_iter().map(|(_, position)| position).collect()
}

/// Inner product. Eight sums run side by side, so that the compiler can use wide registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_lanes, b_lanes) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f32 = a_lanes.remainder().iter().zip(b_lanes.remainder()).map(|(x, y)| x * y).sum();
    let mut sums = [0.0; 8];
    for (a, b) in a_lanes.zip(b_lanes) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + tail
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn nearest_equals_a_full_sort_in_double_precision() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        for dimension in [1, 7, 8, 19, 64] {
            let query: Vec<f32> = (0..dimension).map(|_| random.random_range(-1.0..1.0)).collect();
            let rows: Vec<f32> =
                (0..200 * dimension).map(|_| random.random_range(-1.0..1.0)).collect();
            let present: Vec<bool> = (0..200).map(|row| row % 3 != 0).collect();
            let mut want: Vec<(f64, u32)> = (0..200u32)
                .filter(|row| row % 3 != 0)
                .map(|row| {
                    let start = row as usize * dimension;
                    let row_values = &rows[start..start + dimension];
                    let score =
                        query.iter().zip(row_values).map(|(a, b)| f64::from(*a) * f64::from(*b));
                    (score.sum(), row)
                })
                .collect();
            want.sort_by(|a, b| b.0.total_cmp(&a.0));
            let want: Vec<u32> = want.into_iter().take(10).map(|(_, row)| row).collect();
            assert_eq!(nearest(&query, &rows, &present, 10), want, "dimension {dimension}");
        }
    }

    #[test]
    fn ties_keep_the_corpus_order_and_k_may_exceed_the_rows() {
        let rows = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        let present = [true; 3];
        assert_eq!(nearest(&[1.0, 0.0], &rows, &present, 10), [0, 1, 2]);
        assert_eq!(nearest(&[1.0, 0.0], &rows, &present, 1), [0]);
        assert_eq!(nearest(&[1.0, 0.0], &rows, &present, 0), [0u32; 0]);
        assert_eq!(nearest(&[1.0, 0.0], &rows, &[false, true, false], 2), [1]);
    }
}
