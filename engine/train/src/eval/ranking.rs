//! Exact nearest documents: every row is compared with the query.

use super::metrics::Relevance;

/// The corpus as vectors.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rows {
    /// One vector after the other.
    pub(crate) values: Vec<f32>,
    /// Whether a document has a vector; one that has none is not ranked.
    pub(crate) present: Vec<bool>,
}

/// A query's nearest documents, and how clearly the relevant ones stand out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ranked {
    /// Positions, best first.
    pub(crate) nearest: Vec<u32>,
    /// Similarity of the best relevant document minus that of the best irrelevant one.
    pub(crate) margin: Option<f64>,
}

/// Ranks the `k` rows most similar to `query`; equal scores keep the corpus order. With
/// unit vectors the similarity is the cosine.
pub(crate) fn rank(query: &[f32], rows: &Rows, relevance: &Relevance, k: usize) -> Ranked {
    let scored: Vec<(f64, u32)> = rows
        .values
        .chunks_exact(query.len())
        .zip(&rows.present)
        .zip(0u32..)
        .filter(|((_, present), _)| **present)
        .map(|((row, _), position)| (f64::from(dot(query, row)), position))
        .collect();
    let best_of = |is_relevant: bool| {
        let those = scored.iter().filter(|(_, row)| (relevance.grade(*row) > 0) == is_relevant);
        those.map(|(score, _)| *score).max_by(f64::total_cmp)
    };
    let margin = best_of(true).zip(best_of(false)).map(|(relevant, other)| relevant - other);
    Ranked { nearest: best(scored, k), margin }
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

    fn nearest(query: &[f32], values: &[f32], present: &[bool], k: usize) -> Vec<u32> {
        let rows = Rows { values: values.to_vec(), present: present.to_vec() };
        rank(query, &rows, &Relevance::default(), k).nearest
    }

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

    #[test]
    fn the_margin_is_between_the_best_relevant_and_the_best_irrelevant() {
        let values = vec![1.0, 0.0, 0.8, 0.6, 0.6, 0.8, 0.0, 1.0];
        let rows = Rows { values, present: vec![true, true, true, false] };
        let margin = |judgments: &[(u32, i32)]| {
            let relevance = Relevance::new(judgments.iter().copied());
            rank(&[1.0, 0.0], &rows, &relevance, 1).margin
        };
        assert_eq!(margin(&[(0, 2), (1, 0)]).map(|m| (m * 1e4).round()), Some(2e3));
        assert_eq!(margin(&[(1, 1), (2, 1)]).map(|m| (m * 1e4).round()), Some(-2e3));
        assert_eq!(margin(&[(0, 1), (1, 1), (2, 1)]), None);
        assert_eq!(margin(&[(3, 1)]), None);
    }
}
