//! Whether the gate knows when thinking helps.
//!
//! A query's label is whether the reasoned embedding has the wider margin between the best
//! relevant and the best irrelevant document. The gate's score is held against it: AUROC
//! says whether it orders queries rightly, the expected calibration error whether 0.8 means
//! eight times in ten. Both agree with scikit-learn's in the tests.

use serde::Serialize;

use super::outcome::QueryOutcome;

/// Bins of the reliability diagram, of equal width over [0, 1].
const BINS: usize = 10;

/// The gate's scores against what thinking did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateReport {
    /// Queries that have a label.
    pub queries: usize,
    /// Share of them that thinking helped.
    pub helped: f64,
    /// Probability that a query which thinking helped scores above one which it did not,
    /// ties counted as one half; `None` when all labels are alike.
    pub auroc: Option<f64>,
    /// The same for another label: that the thought raised nDCG@10. A margin may widen where
    /// there was nothing to win.
    pub auroc_ndcg: Option<f64>,
    /// Mean distance between score and label's frequency over the bins, weighted by queries.
    pub expected_calibration_error: f64,
    /// Mean squared distance between score and label.
    pub brier: f64,
    /// The reliability diagram; empty bins are left out.
    pub reliability: Vec<ReliabilityBin>,
}

/// Queries whose score lies in `(from, to]`; the first bin has 0 too.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReliabilityBin {
    /// Lower end.
    pub from: f64,
    /// Upper end.
    pub to: f64,
    /// Queries in it, at least 1.
    pub queries: usize,
    /// Mean of their scores.
    pub mean_score: f64,
    /// Share of them that thinking helped.
    pub helped: f64,
}

impl GateReport {
    /// Judges the gate over the queries that were embedded both ways; `None` when there
    /// are none.
    pub fn of(outcomes: &[QueryOutcome]) -> Option<Self> {
        let labelled = |gain: fn(&QueryOutcome) -> Option<f64>| -> (Vec<f64>, Vec<bool>) {
            let pair = |one: &QueryOutcome| Some((f64::from(one.gate_score), gain(one)? > 0.0));
            outcomes.iter().filter_map(pair).unzip()
        };
        let (scores, labels) = labelled(QueryOutcome::gain);
        let (ndcg_scores, raised) = labelled(QueryOutcome::ndcg_gain);
        let queries = labels.len();
        if queries == 0 {
            return None;
        }
        let helped = share(&labels);
        let squares =
            scores.iter().zip(&labels).map(|(score, label)| (score - worth(*label)).powi(2));
        let brier = squares.sum::<f64>() / queries as f64;
        let reliability = reliability(&scores, &labels);
        Some(Self {
            queries,
            helped,
            auroc: auroc(&scores, &labels),
            auroc_ndcg: auroc(&ndcg_scores, &raised),
            expected_calibration_error: expected_calibration_error(&reliability),
            brier,
            reliability,
        })
    }
}

/// Area under the ROC curve by ranks (Mann and Whitney), ties sharing their mean rank.
/// `None` when all labels are alike or the lengths differ.
pub fn auroc(scores: &[f64], labels: &[bool]) -> Option<f64> {
    if scores.len() != labels.len() {
        return None;
    }
    let mut pairs: Vec<(f64, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut rank_sum = 0.0;
    let mut before = 0;
    for tied in pairs.chunk_by(|a, b| a.0 == b.0) {
        let mean_rank = before as f64 + (tied.len() + 1) as f64 / 2.0;
        rank_sum += mean_rank * tied.iter().filter(|(_, label)| *label).count() as f64;
        before += tied.len();
    }
    let positive = labels.iter().filter(|label| **label).count() as f64;
    let negative = labels.len() as f64 - positive;
    let wins = rank_sum - positive * (positive + 1.0) / 2.0;
    (positive > 0.0 && negative > 0.0).then(|| wins / (positive * negative))
}

/// Sorts scores, in [0, 1], into bins of equal width.
pub fn reliability(scores: &[f64], labels: &[bool]) -> Vec<ReliabilityBin> {
    let edge = |bin: usize| bin as f64 / BINS as f64;
    let inside = |bin: usize, score: f64| {
        let above = bin == 0 || score > edge(bin);
        above && (bin + 1 == BINS || score <= edge(bin + 1))
    };
    (0..BINS)
        .filter_map(|bin| {
            let members = scores.iter().zip(labels).filter(|(score, _)| inside(bin, **score));
            let (scores, labels): (Vec<f64>, Vec<bool>) = members.unzip();
            (!scores.is_empty()).then(|| ReliabilityBin {
                from: edge(bin),
                to: edge(bin + 1),
                queries: scores.len(),
                mean_score: scores.iter().sum::<f64>() / scores.len() as f64,
                helped: share(&labels),
            })
        })
        .collect()
}

/// Mean distance between a bin's score and its frequency, weighted by queries.
pub fn expected_calibration_error(bins: &[ReliabilityBin]) -> f64 {
    let queries: usize = bins.iter().map(|bin| bin.queries).sum();
    let distance = |bin: &ReliabilityBin| bin.queries as f64 * (bin.mean_score - bin.helped).abs();
    bins.iter().map(distance).sum::<f64>() / queries.max(1) as f64
}

fn worth(label: bool) -> f64 {
    f64::from(u8::from(label))
}

fn share(labels: &[bool]) -> f64 {
    labels.iter().filter(|label| **label).count() as f64 / labels.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::eval::outcome::{Judged, JudgedThought};

    /// A case of `tests/golden/calibration.json`, computed by scikit-learn.
    #[derive(Deserialize)]
    struct Golden {
        scores: Vec<f64>,
        labels: Vec<bool>,
        auroc: f64,
        brier: f64,
        expected_calibration_error: f64,
        mean_scores: Vec<f64>,
        helped: Vec<f64>,
    }

    fn outcome(gate_score: f64, helped: bool) -> QueryOutcome {
        let judged = |margin| Judged { margin: Some(margin), ..Judged::default() };
        let gain = if helped { 0.1 } else { 0.0 };
        let reasoned = JudgedThought { judged: judged(0.2 + gain), reasoning_tokens: 3 };
        let gate_score = gate_score as f32;
        QueryOutcome { gate_score, direct: judged(0.2), reasoned: Some(reasoned) }
    }

    #[test]
    fn figures_equal_those_of_scikit_learn() {
        let golden: Vec<Golden> =
            serde_json::from_str(include_str!("../../tests/golden/calibration.json")).unwrap();
        assert!(golden.len() >= 20);
        for (case, want) in golden.iter().enumerate() {
            let outcomes: Vec<QueryOutcome> = want
                .scores
                .iter()
                .zip(&want.labels)
                .map(|(score, label)| outcome(*score, *label))
                .collect();
            let got = GateReport::of(&outcomes).unwrap();
            assert_eq!(got.queries, want.scores.len());
            let near = |what: &str, got: f64, want: f64| {
                assert!((got - want).abs() < 1e-6, "case {case}, {what}: {got}, want {want}");
            };
            near("auroc", got.auroc.unwrap(), want.auroc);
            near("brier", got.brier, want.brier);
            near("ece", got.expected_calibration_error, want.expected_calibration_error);
            assert_eq!(got.reliability.len(), want.helped.len(), "case {case}");
            let bins = got.reliability.iter().zip(want.mean_scores.iter().zip(&want.helped));
            for (bin, (mean_score, helped)) in bins {
                near("mean score", bin.mean_score, *mean_score);
                near("helped", bin.helped, *helped);
            }
        }
    }

    #[test]
    fn a_wider_margin_and_a_higher_rank_are_two_labels() {
        let with_ndcg = |gate_score, helped, ndcg_at_10| {
            let mut one = outcome(gate_score, helped);
            one.direct.scores.ndcg_at_10 = 0.5;
            one.reasoned.as_mut().unwrap().judged.scores.ndcg_at_10 = ndcg_at_10;
            one
        };
        let outcomes =
            [with_ndcg(0.9, false, 1.0), with_ndcg(0.5, true, 0.5), with_ndcg(0.1, true, 0.4)];
        let report = GateReport::of(&outcomes).unwrap();
        assert_eq!((report.auroc, report.auroc_ndcg), (Some(0.0), Some(1.0)));
    }

    #[test]
    fn without_both_labels_there_is_no_auroc_and_without_thoughts_no_report() {
        let report = GateReport::of(&[outcome(0.9, true), outcome(0.2, true)]).unwrap();
        assert_eq!((report.auroc, report.helped), (None, 1.0));
        assert_eq!(auroc(&[0.1, 0.2], &[true]), None);
        let direct = QueryOutcome { reasoned: None, ..outcome(0.5, true) };
        assert_eq!(GateReport::of(&[direct]), None);
        assert_eq!(GateReport::of(&[]), None);
    }
}
