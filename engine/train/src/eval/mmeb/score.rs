//! One query's score from its candidates' similarities.

use crate::eval::{Gain, Relevance, hit, ndcg, ranking::best};

/// Cut-off of the gain of documents.
const NDCG_CUTOFF: usize = 5;

/// What a ranking is worth.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct QueryScore {
    /// Whether the best candidate is right: 1 or 0.
    pub hit_at_1: f64,
    /// Gain of the first five with grades as gains, discounted by log2(rank + 1) and divided
    /// by the best possible; in [0, 1].
    pub ndcg_linear_at_5: f64,
}

/// Scores one query from its candidates' similarities and positions. Equal similarities
/// keep the order of their positions.
pub fn score_query(similarities: Vec<(f64, u32)>, relevance: &Relevance) -> QueryScore {
    let ranking = best(similarities, NDCG_CUTOFF);
    QueryScore {
        hit_at_1: hit(&ranking, relevance, 1),
        ndcg_linear_at_5: ndcg(&ranking, relevance, NDCG_CUTOFF, Gain::Graded),
    }
}
