//! An evaluation on MMEB-V2 for people.

use twn_train::mmeb::{MmebReport, MmebRow, MmebSummary};

use crate::output::{figures, table};

/// Writes the report for people.
pub(super) fn written(report: &MmebReport) -> String {
    let mut parts = vec![tasks(&report.rows), means(report)];
    if !report.missing.is_empty() {
        parts.push(format!(
            "{} of 78 tasks were not run, so `all` is not the benchmark's: {}",
            report.missing.len(),
            report.missing.join(" ")
        ));
    }
    if !report.trained {
        parts.push("The encoder is untrained: its adapters are freshly initialised.".to_owned());
    }
    parts.join("\n\n")
}

fn tasks(rows: &[MmebRow]) -> String {
    let header = [
        "task",
        "mode",
        "hit@1",
        "NDCG@5",
        "queries",
        "candidates",
        "think rate",
        "prompt/query",
        "thought/query",
        "seconds",
    ];
    let cells = rows.iter().map(|row| {
        vec![
            row.task.clone(),
            row.mode.clone(),
            percent(row.hit_at_1),
            percent(row.ndcg_linear_at_5),
            figures(row.queries as u64),
            figures(row.candidates as u64),
            format!("{:.2}", row.think_rate),
            format!("{:.1}", row.prompt_tokens_per_query),
            format!("{:.1}", row.reasoning_tokens_per_query),
            format!("{:.1}", row.query_seconds + row.candidate_seconds),
        ]
    });
    table(&header, &[2, 3, 4, 5, 6, 7, 8, 9], cells.collect())
}

/// The means, a column for each mode: over all tasks, families and groups.
fn means(report: &MmebReport) -> String {
    let summaries = &report.summaries;
    let mut header = vec!["mean of tasks"];
    header.extend(summaries.iter().map(|summary| summary.mode.as_str()));
    let line = |name: String, value: &dyn Fn(&MmebSummary) -> Option<String>| {
        let cells = summaries.iter().map(|s| value(s).unwrap_or_else(|| "-".to_owned()));
        std::iter::once(name).chain(cells).collect::<Vec<String>>()
    };
    let mut rows = vec![line("all".to_owned(), &|s| Some(percent(s.all)))];
    let first = summaries.first();
    for family in first.iter().flat_map(|summary| summary.families.keys()) {
        let of = |s: &MmebSummary| s.families.get(family).map(|score| percent(*score));
        rows.push(line((*family).to_owned(), &of));
        let groups = first.iter().flat_map(|summary| summary.groups.keys());
        for group in groups.filter(|group| group.starts_with(family)) {
            let of = |s: &MmebSummary| s.groups.get(group).map(|score| percent(*score));
            rows.push(line(format!("  {group}"), &of));
        }
    }
    rows.push(line("tasks".to_owned(), &|s| Some(s.tasks.to_string())));
    rows.push(line("think rate".to_owned(), &|s| Some(format!("{:.2}", s.think_rate))));
    let thoughts = |s: &MmebSummary| Some(format!("{:.1}", s.reasoning_tokens_per_query));
    rows.push(line("thought tokens/query".to_owned(), &thoughts));
    rows.push(line("seconds".to_owned(), &|s| Some(format!("{:.1}", s.seconds))));
    let right: Vec<usize> = (1..header.len()).collect();
    table(&header, &right, rows)
}

/// As the public tables have it.
fn percent(score: f64) -> String {
    format!("{:.1}", 100.0 * score)
}
