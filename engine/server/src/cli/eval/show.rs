//! An evaluation for people.

use std::collections::BTreeSet;

use twn_train::{
    Comparison, Frontier, GateReport, KindReport, KindRow, Latency, QueryScores, Report, Row,
};

use crate::output::{figures, milliseconds, table};

/// Points of the frontier that are shown.
const POINTS: usize = 9;

/// Writes the report for people.
pub(super) fn written(report: &Report) -> String {
    let data = &report.data;
    let heading = format!(
        "{}: {} documents, {} queries",
        data.name,
        figures(data.documents as u64),
        figures(data.queries as u64)
    );
    let mut parts = vec![format!("{heading}\n{}", rows_table(&report.rows))];
    parts.extend(comparisons(&report.comparisons));
    parts.extend(report.kinds.iter().map(kind_table));
    parts.extend(report.gate.as_ref().map(gate));
    parts.extend(report.latency.as_ref().and_then(latency));
    parts.extend(report.frontier.as_ref().map(frontier));
    if let Some(choice) = &report.choice {
        let point = choice.point;
        parts.push(format!(
            "for {:.0} % of the tokens, at most {:.1} a query: threshold {}, nDCG@10 {:.3}, think \
             rate {:.2}, {:.1} tokens a query",
            choice.token_share * 1e2,
            choice.token_budget,
            point.threshold,
            point.ndcg_at_10,
            point.think_rate,
            point.reasoning_tokens_per_query
        ));
    }
    if report.rows.iter().any(|row| row.trained == Some(false)) {
        parts.push("The encoder is untrained: its adapters are freshly initialised.".to_owned());
    }
    parts.join("\n\n")
}

fn rows_table(rows: &[Row]) -> String {
    let more_recall: BTreeSet<usize> =
        rows.iter().flat_map(|row| row.recall_at.keys().copied()).collect();
    let extra: Vec<String> = more_recall.iter().map(|k| format!("recall@{k}")).collect();
    let mut header = vec!["system", "mode", "nDCG@10", "recall@10", "MRR@10", "hit@1"];
    header.extend(extra.iter().map(String::as_str));
    header.extend(["think rate", "tokens/query", "seconds"]);
    let right: Vec<usize> = (2..header.len()).collect();
    let cells = rows.iter().map(|row| {
        let mut cells = scored(&row.system, row.mode.as_deref(), &row.scores);
        let recall = |k: &usize| row.recall_at.get(k).map_or("-".into(), |r| format!("{r:.3}"));
        cells.extend(more_recall.iter().map(recall));
        cells.extend([optional(row.think_rate), optional(row.reasoning_tokens_per_query)]);
        cells.push(format!("{:.1}", row.seconds));
        cells
    });
    table(&header, &right, cells.collect())
}

fn kind_table(report: &KindReport) -> String {
    let header =
        ["system", "mode", "nDCG@10", "recall@10", "MRR@10", "hit@1", "think rate", "tokens/query"];
    let cells = report.rows.iter().map(|row: &KindRow| {
        let mut cells = scored(&row.system, row.mode.as_deref(), &row.scores);
        cells.extend([optional(row.think_rate), optional(row.reasoning_tokens_per_query)]);
        cells
    });
    let mut text = format!("{}: {} queries", report.kind, figures(report.queries as u64));
    if let Some(helped) = report.helped {
        text += &format!(", thinking helps {:.0} %", helped * 1e2);
    }
    if let Some(auroc) = report.gate_auroc {
        text += &format!(", gate's AUROC {auroc:.3}");
    }
    text += &format!("\n{}", table(&header, &[2, 3, 4, 5, 6, 7], cells.collect()));
    if let Some(comparisons) = comparisons(&report.comparisons) {
        text += &format!("\n{comparisons}");
    }
    text
}

fn scored(system: &str, mode: Option<&str>, scores: &QueryScores) -> Vec<String> {
    let mut cells = vec![system.to_owned(), mode.unwrap_or("-").to_owned()];
    let values = [scores.ndcg_at_10, scores.recall_at_10, scores.mrr_at_10, scores.hit_at_1];
    cells.extend(values.map(|value| format!("{value:.3}")));
    cells
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

fn comparisons(comparisons: &[Comparison]) -> Option<String> {
    let line = |one: &Comparison| {
        let s = &one.significance;
        format!(
            "{} - {}: nDCG@10 {:+.3} ({:+.3} to {:+.3}, p = {:.4})",
            one.a, one.b, s.difference, s.low, s.high, s.p_value
        )
    };
    let lines: Vec<String> = comparisons.iter().map(line).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn gate(report: &GateReport) -> String {
    let shown = |auroc: Option<f64>| auroc.map_or("none".to_owned(), |auroc| format!("{auroc:.3}"));
    let (auroc, of_ndcg) = (shown(report.auroc), shown(report.auroc_ndcg));
    let bins = report.reliability.iter().map(|bin| {
        vec![
            format!("{:.1} to {:.1}", bin.from, bin.to),
            bin.queries.to_string(),
            format!("{:.2}", bin.mean_score),
            format!("{:.2}", bin.helped),
        ]
    });
    let header = ["gate's score", "queries", "mean score", "thinking helps"];
    format!(
        "gate: AUROC {auroc} ({of_ndcg} for a higher nDCG@10), calibration error {:.3}, Brier {:.3}; thinking helps {:.0} % of {} \
         queries\n{}",
        report.expected_calibration_error,
        report.brier,
        report.helped * 1e2,
        figures(report.queries as u64),
        table(&header, &[1, 2, 3], bins.collect())
    )
}

fn latency(latency: &Latency) -> Option<String> {
    let routes = [("direct", &latency.direct), ("reasoned", &latency.reasoned)];
    let rows: Vec<Vec<String>> = routes
        .into_iter()
        .filter_map(|(route, times)| {
            let times = times.as_ref()?;
            let p = [milliseconds(times.p50_ms), milliseconds(times.p95_ms)];
            Some([vec![route.to_owned(), times.queries.to_string()], p.into()].concat())
        })
        .collect();
    let header = ["latency, one at a time", "queries", "p50", "p95"];
    (!rows.is_empty()).then(|| table(&header, &[1, 2, 3], rows))
}

fn frontier(frontier: &Frontier) -> String {
    let points = frontier.thinned(POINTS).points;
    let rows = points.iter().map(|point| {
        vec![
            format!("{:.4}", point.threshold),
            format!("{:.2}", point.think_rate),
            format!("{:.1}", point.reasoning_tokens_per_query),
            format!("{:.3}", point.ndcg_at_10),
        ]
    });
    let header = ["threshold", "think rate", "tokens/query", "nDCG@10"];
    table(&header, &[0, 1, 2, 3], rows.collect())
}
