//! What quality costs: the gate's threshold against thought tokens and nDCG.
//!
//! Made from queries that were embedded both ways, so that no threshold needs another run.

use serde::{Deserialize, Serialize};

use super::outcome::QueryOutcome;

/// One threshold of the gate, and what it gives. Means are over all queries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FrontierPoint {
    /// Queries think when their score is above this; in [0, 1].
    pub threshold: f32,
    /// Share of the queries that think.
    pub think_rate: f64,
    /// Thought tokens per query.
    pub reasoning_tokens_per_query: f64,
    /// Quality.
    pub ndcg_at_10: f64,
}

/// Every choice that the gate leaves, from never thinking to always, thresholds falling.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Frontier {
    /// Think rate and tokens never fall from one point to the next.
    pub points: Vec<FrontierPoint>,
}

impl Frontier {
    /// Sweeps the threshold over queries that were all embedded both ways; one without a
    /// thought counts as one that cannot have any.
    ///
    /// The first point is 1, above which no score lies. A further one lies between each
    /// two neighbouring scores, and the last one is 0: always thinking, unless a score is
    /// 0 itself, which no threshold reaches. Empty for no queries.
    pub fn of(outcomes: &[QueryOutcome]) -> Self {
        if outcomes.is_empty() {
            return Self::default();
        }
        let mut reachable: Vec<&QueryOutcome> =
            outcomes.iter().filter(|outcome| outcome.gate_score > 0.0).collect();
        reachable.sort_by(|a, b| b.gate_score.total_cmp(&a.gate_score));

        let mut sums = Sums::over(outcomes);
        let mut points = vec![sums.point(1.0)];
        let mut groups = reachable.chunk_by(|a, b| a.gate_score == b.gate_score).peekable();
        while let Some(group) = groups.next() {
            group.iter().for_each(|outcome| sums.think(outcome));
            let score = group[0].gate_score;
            let next = groups.peek().map_or(0.0, |next| next[0].gate_score);
            points.push(sums.point(between(score, next, groups.peek().is_none())));
        }
        Self { points }
    }

    /// The best quality within a budget of thought tokens per query, and of equals the
    /// cheapest. `None` when there is no point, or no point within the budget.
    pub fn threshold_for(&self, token_budget: f64) -> Option<FrontierPoint> {
        let affordable =
            self.points.iter().filter(|point| point.reasoning_tokens_per_query <= token_budget);
        // Of equals `max_by` takes the last, and the cheapest come first.
        affordable.rev().max_by(|a, b| a.ndcg_at_10.total_cmp(&b.ndcg_at_10)).copied()
    }

    /// The best quality within a share of the tokens that always thinking takes.
    pub fn threshold_for_share(&self, share: f64) -> Option<FrontierPoint> {
        // The slack makes a share of 1 mean the last point whatever rounding does.
        let most = self.always()?.reasoning_tokens_per_query;
        self.threshold_for(most * share * (1.0 + 1e-12))
    }

    /// The end at which nothing thinks.
    pub fn never(&self) -> Option<&FrontierPoint> {
        self.points.first()
    }

    /// The end at which everything thinks.
    pub fn always(&self) -> Option<&FrontierPoint> {
        self.points.last()
    }

    /// Keeps at most `most` points, at least the two ends, evenly over the think rate.
    #[must_use]
    pub fn thinned(&self, most: usize) -> Self {
        let (Some(first), Some(last)) = (self.never(), self.always()) else {
            return Self::default();
        };
        let most = most.max(2);
        if self.points.len() <= most {
            return self.clone();
        }
        let step = (last.think_rate - first.think_rate) / (most - 1) as f64;
        let mut points = vec![*first];
        for point in &self.points[1..self.points.len() - 1] {
            let due = first.think_rate + step * points.len() as f64;
            if point.think_rate >= due && points.len() < most - 1 {
                points.push(*point);
            }
        }
        points.push(*last);
        Self { points }
    }
}

/// A threshold below `score` and not below `next`, in the middle for the sake of other
/// roundings of the same scores; the last one is 0.
fn between(score: f32, next: f32, is_last: bool) -> f32 {
    if is_last {
        return 0.0;
    }
    let middle = next + (score - next) / 2.0;
    if middle < score { middle } else { next }
}

/// Running totals while more and more queries think.
struct Sums {
    queries: f64,
    thinking: usize,
    tokens: u64,
    ndcg: f64,
}

impl Sums {
    fn over(outcomes: &[QueryOutcome]) -> Self {
        let ndcg = outcomes.iter().map(|outcome| outcome.direct.scores.ndcg_at_10).sum();
        Self { queries: outcomes.len() as f64, thinking: 0, tokens: 0, ndcg }
    }

    fn think(&mut self, outcome: &QueryOutcome) {
        let Some(thought) = &outcome.reasoned else { return };
        self.thinking += 1;
        self.tokens += u64::from(thought.reasoning_tokens);
        self.ndcg += thought.judged.scores.ndcg_at_10 - outcome.direct.scores.ndcg_at_10;
    }

    fn point(&self, threshold: f32) -> FrontierPoint {
        FrontierPoint {
            threshold,
            think_rate: self.thinking as f64 / self.queries,
            reasoning_tokens_per_query: self.tokens as f64 / self.queries,
            ndcg_at_10: self.ndcg / self.queries,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use twn_encoder::ReasoningMode;

    use super::*;
    use crate::eval::{
        metrics::QueryScores,
        outcome::{Judged, JudgedThought},
    };

    fn outcome(gate_score: f32, direct: f64, reasoned: Option<(f64, u32)>) -> QueryOutcome {
        let judged = |ndcg_at_10| Judged {
            scores: QueryScores { ndcg_at_10, ..QueryScores::default() },
            ..Judged::default()
        };
        let reasoned = reasoned.map(|(ndcg, reasoning_tokens)| JudgedThought {
            judged: judged(ndcg),
            reasoning_tokens,
        });
        QueryOutcome { gate_score, direct: judged(direct), reasoned }
    }

    fn outcomes(count: usize, seed: u64) -> Vec<QueryOutcome> {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        (0..count)
            .map(|_| {
                // Few different scores, so that many are tied.
                let gate_score = random.random_range(1..=40) as f32 / 40.0;
                let thought = (random.random_range(0.0..1.0), random.random_range(1..64));
                let thought = random.random_bool(0.9).then_some(thought);
                outcome(gate_score, random.random_range(0.0..1.0), thought)
            })
            .collect()
    }

    /// What `ReasoningMode::Auto` gives at a threshold, computed query by query.
    fn replayed(outcomes: &[QueryOutcome], mode: ReasoningMode, threshold: f32) -> FrontierPoint {
        let count = outcomes.len() as f64;
        let mut point = FrontierPoint {
            threshold,
            think_rate: 0.0,
            reasoning_tokens_per_query: 0.0,
            ndcg_at_10: 0.0,
        };
        for outcome in outcomes {
            match outcome.thought(mode, threshold) {
                None => point.ndcg_at_10 += outcome.direct.scores.ndcg_at_10 / count,
                Some(thought) => {
                    point.think_rate += 1.0 / count;
                    point.reasoning_tokens_per_query += f64::from(thought.reasoning_tokens) / count;
                    point.ndcg_at_10 += thought.judged.scores.ndcg_at_10 / count;
                }
            }
        }
        point
    }

    #[track_caller]
    fn check_near(got: &FrontierPoint, want: &FrontierPoint) {
        let near = |got: f64, want: f64| (got - want).abs() < 1e-9;
        let tokens = (got.reasoning_tokens_per_query, want.reasoning_tokens_per_query);
        assert!(near(got.think_rate, want.think_rate), "{got:?}, {want:?}");
        assert!(near(tokens.0, tokens.1), "{got:?}, {want:?}");
        assert!(near(got.ndcg_at_10, want.ndcg_at_10), "{got:?}, {want:?}");
    }

    #[test]
    fn every_point_is_what_its_threshold_gives_and_the_ends_are_never_and_always() {
        for seed in 0..20 {
            let outcomes = outcomes(150, seed);
            let frontier = Frontier::of(&outcomes);
            for point in &frontier.points {
                let want = replayed(&outcomes, ReasoningMode::Auto, point.threshold);
                check_near(point, &want);
            }
            let never = replayed(&outcomes, ReasoningMode::Never, 0.0);
            let always = replayed(&outcomes, ReasoningMode::Always, 0.0);
            check_near(frontier.never().unwrap(), &never);
            check_near(frontier.always().unwrap(), &always);
            for pair in frontier.points.windows(2) {
                assert!(pair[0].threshold > pair[1].threshold);
                assert!(pair[0].think_rate <= pair[1].think_rate);
                assert!(pair[0].reasoning_tokens_per_query <= pair[1].reasoning_tokens_per_query);
            }
        }
    }

    #[test]
    fn a_budget_takes_the_best_that_it_affords_and_the_cheapest_of_equals() {
        let outcomes = [
            outcome(0.9, 0.0, Some((1.0, 10))),
            outcome(0.5, 0.5, Some((0.5, 10))),
            outcome(0.4, 0.5, Some((0.0, 10))),
            outcome(0.2, 0.0, Some((1.0, 10))),
        ];
        let frontier = Frontier::of(&outcomes);
        let rate = |budget| frontier.threshold_for(budget).unwrap().think_rate;
        assert_eq!(
            (rate(0.0), rate(2.4), rate(2.5), rate(5.0), rate(7.5)),
            (0.0, 0.0, 0.25, 0.25, 0.25)
        );
        assert_eq!(rate(10.0), 1.0);
        assert_eq!(frontier.threshold_for_share(1.0).unwrap().think_rate, 1.0);
        let half = frontier.threshold_for_share(0.5).unwrap();
        assert!((half.threshold - 0.7).abs() < 1e-6, "{half:?}");
        assert_eq!(frontier.threshold_for(-1.0), None);
        assert_eq!(Frontier::of(&[]).threshold_for_share(0.5), None);
    }

    #[test]
    fn scores_of_zero_and_neighbouring_floats_are_kept_apart() {
        let high = 0.5_f32;
        let low = f32::from_bits(high.to_bits() - 1);
        let outcomes = [
            outcome(high, 0.0, Some((1.0, 1))),
            outcome(low, 0.0, Some((1.0, 1))),
            outcome(0.0, 0.0, Some((1.0, 1))),
        ];
        let frontier = Frontier::of(&outcomes);
        let got: Vec<(f32, f64)> =
            frontier.points.iter().map(|p| (p.threshold, p.reasoning_tokens_per_query)).collect();
        assert_eq!(got, [(1.0, 0.0), (low, 1.0 / 3.0), (0.0, 2.0 / 3.0)]);
    }

    #[test]
    fn thinning_keeps_the_ends_and_the_order() {
        let whole = Frontier::of(&outcomes(500, 3));
        for most in [0, 2, 3, 7, 16] {
            let thin = whole.thinned(most);
            assert!((2..=most.max(2)).contains(&thin.points.len()), "{most}");
            assert_eq!((thin.never(), thin.always()), (whole.never(), whole.always()));
            assert!(thin.points.windows(2).all(|pair| pair[0].think_rate < pair[1].think_rate));
        }
        assert!(whole.thinned(16).points.len() > 12);
        assert_eq!(whole.thinned(1_000), whole);
        assert_eq!(Frontier::default().thinned(3), Frontier::default());
    }

    #[test]
    fn a_frontier_is_written_as_a_list_and_read_back() {
        let frontier = Frontier::of(&outcomes(5, 1));
        let json = serde_json::to_value(&frontier).unwrap();
        let fields: Vec<&String> = json[0].as_object().unwrap().keys().collect();
        let want = ["threshold", "think_rate", "reasoning_tokens_per_query", "ndcg_at_10"];
        assert_eq!(fields, want);
        assert_eq!(serde_json::from_value::<Frontier>(json).unwrap(), frontier);
    }
}
