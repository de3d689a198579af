//! What a run found: our figure beside a peer's, and the ratio of the two.

use crate::environment::Environment;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

/// The rows of a run, and where they were taken.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    pub(crate) environment: Environment,
}

/// One comparison. What could not be measured is null, and `note` says why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    /// Of `ours` and `peer`.
    pub(crate) unit: &'static str,
    pub(crate) ours: Option<f64>,
    pub(crate) peer: Option<f64>,
    /// `ours / peer`, or `ours` where the target is about that alone.
    pub(crate) ratio: Option<f64>,
    #[serde(flatten)]
    pub(crate) target: Option<Target>,
    /// Whether the ratio is what it should be.
    pub(crate) met: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// A bound on a ratio.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Target {
    #[serde(rename = "target")]
    bound: f64,
    #[serde(rename = "target_is")]
    side: Side,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Side {
    AtLeast,
    AtMost,
}

impl Target {
    pub(crate) fn at_least(bound: f64) -> Option<Self> {
        Some(Self { bound, side: Side::AtLeast })
    }

    pub(crate) fn at_most(bound: f64) -> Option<Self> {
        Some(Self { bound, side: Side::AtMost })
    }

    fn is_met_by(self, value: f64) -> bool {
        match self.side {
            Side::AtLeast => value >= self.bound,
            Side::AtMost => value <= self.bound,
        }
    }
}

impl Row {
    /// Compares two figures; the target is about their ratio.
    pub(crate) fn compare(
        what: impl Into<String>,
        unit: &'static str,
        ours: Option<f64>,
        peer: Option<f64>,
        target: Option<Target>,
    ) -> Self {
        let ratio = ours.zip(peer).map(|(ours, peer)| ours / peer);
        let met = target.zip(ratio).map(|(target, ratio)| target.is_met_by(ratio));
        Self { what: what.into(), unit, ours, peer, ratio, target, met, note: None }
    }

    /// States a figure of ours; the target is about the figure itself.
    pub(crate) fn state(
        what: impl Into<String>,
        unit: &'static str,
        ours: Option<f64>,
        target: Option<Target>,
    ) -> Self {
        let met = target.zip(ours).map(|(target, ours)| target.is_met_by(ours));
        Self { what: what.into(), unit, ours, peer: None, ratio: None, target, met, note: None }
    }

    pub(crate) fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

/// Lays the rows out for people.
pub(crate) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.set_header(["what", "unit", "ours", "peer", "ratio", "target", "met", "note"]);
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.4}"));
    for row in rows {
        let sign = |target: &Target| match target.side {
            Side::AtLeast => format!(">= {}", target.bound),
            Side::AtMost => format!("<= {}", target.bound),
        };
        table.add_row([
            row.what.clone(),
            row.unit.to_owned(),
            number(row.ours),
            number(row.peer),
            number(row.ratio),
            row.target.as_ref().map_or_else(String::new, sign),
            row.met.map_or("", |met| if met { "yes" } else { "no" }).to_owned(),
            row.note.clone().unwrap_or_default(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_about_the_ratio_of_a_comparison_and_the_figure_of_a_statement() {
        let row = Row::compare("x", "QPS", Some(30.0), Some(20.0), Target::at_least(1.0));
        assert_eq!((row.ratio, row.met), (Some(1.5), Some(true)));
        let row = Row::compare("x", "s", Some(30.0), Some(20.0), Target::at_most(1.3));
        assert_eq!(row.met, Some(false));
        let row = Row::compare("x", "s", Some(30.0), None, Target::at_most(1.3));
        assert_eq!((row.ratio, row.met), (None, None));
        assert_eq!(Row::state("x", "bytes", Some(90.0), Target::at_most(160.0)).met, Some(true));
        let json = serde_json::to_value(Row::state("x", "ms", None, Target::at_most(9.0))).unwrap();
        assert_eq!(json["target"], 9.0);
        assert_eq!(json["target_is"], "at_most");
        assert!(json["ours"].is_null());
    }
}
