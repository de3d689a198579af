//! Comparisons: our figure beside a peer's, taken in one run, and the ratio of the two.
//!
//! As JSON: `{rows: [{what, unit, ours, peer, ratio, target, …}], environment}`. The ratio
//! is ours over the peer's, whatever the unit; `target` bounds the ratio, or our figure
//! where there is no peer to the row, from below or from above as `target_is` says.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

/// What one run found, and where.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report<E> {
    pub(crate) rows: Vec<Row>,
    pub(crate) environment: E,
}

/// One comparison. What could not be measured is null, and `note` says why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// For example `prefill 1x128: ours 4-bit vs llama.cpp q4_0`.
    pub(crate) what: String,
    /// Of `ours` and `peer`.
    pub(crate) unit: &'static str,
    /// Median of the samples.
    pub(crate) ours: Option<f64>,
    /// Median of the samples.
    pub(crate) peer: Option<f64>,
    /// `ours / peer`.
    pub(crate) ratio: Option<f64>,
    /// What the ratio or the figure should be; absent where none is set.
    #[serde(flatten)]
    pub(crate) target: Option<Target>,
    /// Whether the ratio, or where there is no peer the figure, is what it should be.
    pub(crate) met: Option<bool>,
    /// Our figure as a share of what the machine's own limit would give.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) floor_fraction: Option<f64>,
    /// Least and greatest sample.
    pub(crate) ours_range: Option<Range>,
    /// Least and greatest sample.
    pub(crate) peer_range: Option<Range>,
    /// How many samples each median is taken over.
    pub(crate) samples: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// A bound on a ratio or a figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Target {
    #[serde(rename = "target")]
    pub(crate) bound: f64,
    #[serde(rename = "target_is")]
    pub(crate) side: Side,
}

/// Which side of its bound a ratio should be on; the bound itself is good.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    AtLeast,
    AtMost,
}

/// Least and greatest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Range {
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Target {
    /// The ratio should be `bound` or more.
    pub(crate) fn at_least(bound: f64) -> Self {
        Self { bound, side: Side::AtLeast }
    }

    /// The ratio should be `bound` or less.
    pub(crate) fn at_most(bound: f64) -> Self {
        Self { bound, side: Side::AtMost }
    }

    /// Whether `ratio` is on the right side.
    pub(crate) fn is_met_by(self, ratio: f64) -> bool {
        match self.side {
            Side::AtLeast => ratio >= self.bound,
            Side::AtMost => ratio <= self.bound,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.side {
            Side::AtLeast => ">=",
            Side::AtMost => "<=",
        };
        write!(f, "{sign} {}", self.bound)
    }
}

impl Range {
    /// The range of `samples`; none of an empty slice.
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        let first = *samples.first()?;
        let start = Self { min: first, max: first };
        Some(samples.iter().fold(start, |range, sample| Self {
            min: range.min.min(*sample),
            max: range.max.max(*sample),
        }))
    }
}

impl Row {
    /// Compares the medians of two sets of samples; an empty set gives nulls.
    pub(crate) fn compare(
        what: impl Into<String>,
        unit: &'static str,
        ours: &[f64],
        peer: &[f64],
        target: Option<Target>,
    ) -> Self {
        let (our_median, peer_median) = (median(ours), median(peer));
        let ratio = our_median
            .zip(peer_median)
            .map(|(ours, peer)| ours / peer)
            .filter(|ratio| ratio.is_finite());
        Self {
            what: what.into(),
            unit,
            ours: our_median,
            peer: peer_median,
            ratio,
            target,
            met: target.zip(ratio).map(|(target, ratio)| target.is_met_by(ratio)),
            floor_fraction: None,
            ours_range: Range::of(ours),
            peer_range: Range::of(peer),
            samples: match (ours.len(), peer.len()) {
                (0, count) | (count, 0) => count,
                (ours, peer) => ours.min(peer),
            },
            note: None,
        }
    }

    /// States a figure of ours alone; the target is about the figure itself.
    pub(crate) fn state(
        what: impl Into<String>,
        unit: &'static str,
        ours: &[f64],
        target: Option<Target>,
    ) -> Self {
        let row = Self::compare(what, unit, ours, &[], target);
        let met = target.zip(row.ours).map(|(target, ours)| target.is_met_by(ours));
        Self { met, ..row }
    }

    /// Says what the reader should know about the row.
    pub(crate) fn with_note(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }
}

/// The middle sample, or the mean of the two in the middle; none of an empty slice.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((sorted[sorted.len() / 2 - 1] + upper) / 2.0)
}

/// The rows for people.
pub(crate) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.set_header(["what", "unit", "ours", "peer", "ratio", "target", "", "of the limit"]);
    for row in rows {
        let met = match row.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        table.add_row([
            row.what.clone(),
            row.unit.to_owned(),
            figure(row.ours),
            figure(row.peer),
            row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}")),
            row.target.map(|target| target.to_string()).unwrap_or_default(),
            met.to_owned(),
            row.floor_fraction.map_or_else(String::new, |share| format!("{:.0} %", share * 100.0)),
        ]);
    }
    for index in [2, 3, 4, 5, 7] {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn figure(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_does_not_depend_on_the_order() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 100.0, 2.0]), Some(3.0));
    }

    #[test]
    fn a_row_compares_medians_and_keeps_the_spread() {
        let target = Some(Target::at_least(1.5));
        let row = Row::compare("x", "tokens/s", &[10.0, 40.0, 30.0], &[15.0, 20.0, 900.0], target);
        assert_eq!((row.ours, row.peer, row.ratio), (Some(30.0), Some(20.0), Some(1.5)));
        assert_eq!(row.met, Some(true));
        assert_eq!(row.ours_range, Some(Range { min: 10.0, max: 40.0 }));
        assert_eq!(row.peer_range, Some(Range { min: 15.0, max: 900.0 }));
        assert_eq!(row.samples, 3);
    }

    #[test]
    fn the_target_of_a_figure_alone_is_about_the_figure() {
        let row = Row::state("x", "bytes", &[90.0], Some(Target::at_most(160.0)));
        assert_eq!((row.ours, row.peer, row.ratio), (Some(90.0), None, None));
        assert_eq!((row.met, row.samples), (Some(true), 1));
        let row = Row::state("x", "ms", &[], Some(Target::at_most(9.0)));
        assert_eq!((row.ours, row.met, row.samples), (None, None, 0));
    }

    #[test]
    fn targets_have_a_side() {
        let check = |target: Target, good: f64, bad: f64| {
            assert!(target.is_met_by(good) && target.is_met_by(target.bound), "{target}");
            assert!(!target.is_met_by(bad), "{target}");
        };
        check(Target::at_least(2.0), 2.1, 1.9);
        check(Target::at_most(3.0), 2.9, 3.1);
        let late = Row::compare("p99", "ms", &[40.0], &[10.0], Some(Target::at_most(3.0)));
        assert_eq!((late.ratio, late.met), (Some(4.0), Some(false)));
    }

    #[test]
    fn what_is_missing_is_null_and_never_met() {
        let row = Row::compare("x", "s", &[], &[2.0, 4.0], Some(Target::at_least(1.0)));
        assert_eq!((row.ours, row.peer, row.ratio, row.met), (None, Some(3.0), None, None));
        assert_eq!(row.samples, 2);
        let by_zero = Row::compare("x", "s", &[1.0], &[0.0], Some(Target::at_least(1.0)));
        assert_eq!((by_zero.ratio, by_zero.met), (None, None));
    }

    #[test]
    fn json_has_the_promised_fields() {
        let row = Row::compare("x", "s", &[1.0], &[2.0], Some(Target::at_most(3.0)));
        let report = Report { rows: vec![row], environment: "here" };
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["environment"], "here");
        let row = &json["rows"][0];
        assert_eq!(row["what"], "x");
        assert_eq!((row["ours"].as_f64(), row["peer"].as_f64()), (Some(1.0), Some(2.0)));
        assert_eq!((row["ratio"].as_f64(), row["target"].as_f64()), (Some(0.5), Some(3.0)));
        assert_eq!(
            (row["target_is"].as_str(), row["met"].as_bool()),
            (Some("at_most"), Some(true))
        );
        assert!(row.get("floor_fraction").is_none());
    }

    #[test]
    fn the_table_shows_every_row_and_cries_about_misses() {
        let hit = Row::compare("hit", "s", &[4.0], &[2.0], Some(Target::at_least(1.0)));
        let miss = Row::compare("miss", "s", &[1.0], &[2.0], Some(Target::at_least(1.0)));
        let absent = Row::compare("absent", "s", &[], &[], None);
        let text = table(&[hit, miss, absent]).to_string();
        let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap().to_owned();
        assert!(line("hit").contains("met") && line("hit").contains("2.000"));
        assert!(line("miss").contains("MISSED"));
        assert!(!line("absent").contains("met") && line("absent").contains('-'));
    }
}
