//! Retrieval metrics of one query's ranking.
//!
//! nDCG is that of trec_eval: gain = relevance (linear), discount log2(rank + 1) with
//! ranks from 1, the ideal taken over all judged documents. The binary variant counts
//! every relevant document as 1. The numbers are held against trec_eval's own in the
//! tests.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// The cut-off of the reported metrics.
pub(super) const CUTOFF: usize = 10;

/// The relevant documents of a query with their grades, all at least 1.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relevance {
    grades: HashMap<u32, u32>,
}

/// What a relevant document is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gain {
    /// Its grade.
    Graded,
    /// One.
    Binary,
}

impl Relevance {
    /// Keeps the grades above 0: 0 and less mean that the document is not relevant.
    pub fn new(judgments: impl IntoIterator<Item = (u32, i32)>) -> Self {
        let grades = judgments
            .into_iter()
            .filter_map(|(document, grade)| {
                Some((document, u32::try_from(grade).ok().filter(|grade| *grade > 0)?))
            })
            .collect();
        Self { grades }
    }

    /// The grade of a document; 0 when it is not relevant.
    pub fn grade(&self, document: u32) -> u32 {
        self.grades.get(&document).copied().unwrap_or(0)
    }

    /// The relevant documents with their grades, in no order.
    pub(crate) fn judgments(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.grades.iter().map(|(document, grade)| (*document, *grade))
    }

    /// Number of relevant documents.
    pub fn relevant(&self) -> usize {
        self.grades.len()
    }
}

/// Discounted gain of the first `k` documents, divided by the best possible; in [0, 1].
pub fn ndcg(ranking: &[u32], relevance: &Relevance, k: usize, gain: Gain) -> f64 {
    let worth = |grade: u32| match gain {
        Gain::Graded => f64::from(grade),
        Gain::Binary => f64::from(grade.min(1)),
    };
    let found = ranking.iter().take(k).map(|document| worth(relevance.grade(*document)));
    let mut ideal: Vec<u32> = relevance.grades.values().copied().collect();
    ideal.sort_unstable_by(|a, b| b.cmp(a));
    let best = discounted(ideal.into_iter().take(k).map(worth));
    if best > 0.0 { discounted(found) / best } else { 0.0 }
}

fn discounted(gains: impl Iterator<Item = f64>) -> f64 {
    gains.zip(2u32..).map(|(gain, rank)| gain / f64::from(rank).log2()).sum()
}

/// Share of the relevant documents that are among the first `k`; in [0, 1].
pub fn recall(ranking: &[u32], relevance: &Relevance, k: usize) -> f64 {
    let found = ranking.iter().take(k).filter(|document| relevance.grade(**document) > 0).count();
    if relevance.relevant() > 0 { found as f64 / relevance.relevant() as f64 } else { 0.0 }
}

/// One divided by the rank of the first relevant document, 0 if none is among the first `k`.
pub fn reciprocal_rank(ranking: &[u32], relevance: &Relevance, k: usize) -> f64 {
    let first = ranking.iter().take(k).position(|document| relevance.grade(*document) > 0);
    first.map_or(0.0, |position| 1.0 / (position + 1) as f64)
}

/// 1 if a relevant document is among the first `k`, else 0.
pub fn hit(ranking: &[u32], relevance: &Relevance, k: usize) -> f64 {
    let found = ranking.iter().take(k).any(|document| relevance.grade(*document) > 0);
    f64::from(u8::from(found))
}

/// The metrics of one query.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct QueryScores {
    /// nDCG at 10 with the grades as gains.
    pub ndcg_at_10: f64,
    /// nDCG at 10 with every relevant document worth 1.
    pub ndcg_binary_at_10: f64,
    /// Recall at 10.
    pub recall_at_10: f64,
    /// Reciprocal rank at 10.
    pub mrr_at_10: f64,
    /// Whether the first document is relevant.
    pub hit_at_1: f64,
}

impl QueryScores {
    /// Scores a ranking, best document first.
    pub fn of(ranking: &[u32], relevance: &Relevance) -> Self {
        Self {
            ndcg_at_10: ndcg(ranking, relevance, CUTOFF, Gain::Graded),
            ndcg_binary_at_10: ndcg(ranking, relevance, CUTOFF, Gain::Binary),
            recall_at_10: recall(ranking, relevance, CUTOFF),
            mrr_at_10: reciprocal_rank(ranking, relevance, CUTOFF),
            hit_at_1: hit(ranking, relevance, 1),
        }
    }

    /// The mean over queries; zeros over none.
    pub fn mean(scores: &[Self]) -> Self {
        let count = scores.len().max(1) as f64;
        let mean = |field: fn(&Self) -> f64| scores.iter().map(field).sum::<f64>() / count;
        Self {
            ndcg_at_10: mean(|s| s.ndcg_at_10),
            ndcg_binary_at_10: mean(|s| s.ndcg_binary_at_10),
            recall_at_10: mean(|s| s.recall_at_10),
            mrr_at_10: mean(|s| s.mrr_at_10),
            hit_at_1: mean(|s| s.hit_at_1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A case of `tests/golden/metrics.json`, computed by trec_eval.
    #[derive(Deserialize)]
    struct Golden {
        ranking: Vec<u32>,
        judgments: Vec<(u32, i32)>,
        ndcg_at_10: f64,
        ndcg_binary_at_10: f64,
        ndcg_at_3: f64,
        recall_at_10: f64,
        recall_at_5: f64,
        mrr_at_10: f64,
        hit_at_1: f64,
    }

    #[test]
    fn metrics_equal_those_of_trec_eval() {
        let golden: Vec<Golden> =
            serde_json::from_str(include_str!("../../tests/golden/metrics.json")).unwrap();
        assert!(golden.len() >= 50);
        for (case, want) in golden.iter().enumerate() {
            let relevance = Relevance::new(want.judgments.iter().copied());
            let got = QueryScores::of(&want.ranking, &relevance);
            let pairs = [
                ("ndcg_at_10", got.ndcg_at_10, want.ndcg_at_10),
                ("ndcg_binary_at_10", got.ndcg_binary_at_10, want.ndcg_binary_at_10),
                ("ndcg_at_3", ndcg(&want.ranking, &relevance, 3, Gain::Graded), want.ndcg_at_3),
                ("recall_at_10", got.recall_at_10, want.recall_at_10),
                ("recall_at_5", recall(&want.ranking, &relevance, 5), want.recall_at_5),
                ("mrr_at_10", got.mrr_at_10, want.mrr_at_10),
                ("hit_at_1", got.hit_at_1, want.hit_at_1),
            ];
            for (metric, got, want) in pairs {
                assert!((got - want).abs() < 1e-6, "case {case}, {metric}: {got}, want {want}");
            }
        }
    }

    #[test]
    fn nothing_relevant_and_nothing_found_score_zero() {
        let relevance = Relevance::new([(1, 0), (2, -1)]);
        assert_eq!(relevance.relevant(), 0);
        assert_eq!(QueryScores::of(&[1, 2], &relevance), QueryScores::default());
        let relevance = Relevance::new([(1, 3)]);
        assert_eq!(QueryScores::of(&[], &relevance), QueryScores::default());
        assert_eq!(QueryScores::mean(&[]), QueryScores::default());
    }
}
