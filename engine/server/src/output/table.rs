//! Tables and figures for people.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use twn_protos::v1 as pb;

use super::summary_of_timings;

/// Makes a table that fits the terminal, without lines around it. The columns named in
/// `right` are aligned to the right.
pub fn table(header: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header)
        .add_rows(rows);
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    // What is left of the lines around it are the spaces beside them.
    let lines =
        table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// Cuts a text to one line of at most `max` characters. Control characters, which could
/// drive a terminal, become spaces.
pub fn ellipsis(text: &str, max: usize) -> String {
    let mut line = String::new();
    let mut count = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty())
    {
        if count > 0 {
            line.push(' ');
            count += 1;
        }
        for c in word.chars() {
            if count + 1 >= max && max > 0 {
                line.push('…');
                return line;
            }
            line.push(c);
            count += 1;
        }
    }
    line
}

/// Writes a large number with its thousands apart.
pub fn figures(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes milliseconds, with a decimal when they are few.
pub fn milliseconds(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

/// Says in one line how an embedding was made: the route and why, the gate's score, the
/// tokens and the time.
pub fn verdict(usage: &pb::Usage, timings: Option<&pb::Timings>) -> String {
    let route = short(usage.route().as_str_name(), "ROUTE_");
    let reason = short(usage.route_reason().as_str_name(), "ROUTE_REASON_");
    let mut parts = vec![format!("{route} ({reason})")];
    match (usage.gate_score, usage.gate_threshold) {
        (Some(score), Some(threshold)) => {
            let raised = match usage.base_threshold {
                Some(base) if base != threshold => match usage.threshold_source() {
                    pb::ThresholdSource::Curve => {
                        format!(" (raised from {base:.3} along the gate's curve)")
                    }
                    _ => format!(" (raised from {base:.3})"),
                },
                _ => String::new(),
            };
            parts.push(format!("gate {score:.3} of {threshold:.3}{raised}"));
        }
        (Some(score), None) => parts.push(format!("gate {score:.3}")),
        _ => {}
    }
    let (prompt_tokens, reasoning_tokens) = match &usage.original {
        Some(original) => {
            parts.push("from the cache".to_owned());
            (original.prompt_tokens, original.reasoning_tokens)
        }
        None => (usage.prompt_tokens, usage.reasoning_tokens),
    };
    let mut tokens = format!("{prompt_tokens} prompt");
    if usage.route() == pb::Route::Reasoned {
        let stop = short(usage.stop_reason().as_str_name(), "STOP_REASON_");
        tokens.push_str(&format!(" + {} thought tokens (ended: {stop})", reasoning_tokens));
    } else {
        tokens.push_str(" tokens");
    }
    if usage.original.is_some() {
        tokens.push_str(" then, none now");
    }
    parts.push(tokens);
    match usage.pressure() {
        pb::Pressure::Load => parts.push("the server was busy".to_owned()),
        pb::Pressure::Deadline => parts.push("the deadline was near".to_owned()),
        pb::Pressure::None | pb::Pressure::Unspecified => {}
    }
    if usage.truncated {
        parts.push("cut to fit the context".to_owned());
    }
    parts.push(milliseconds(summary_of_timings(timings)));
    parts.join(", ")
}

/// Turns an enumeration's protobuf name into words.
fn short(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase().replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_no_spaces_around_them() {
        let rows = vec![vec!["7".into(), "x".into()], vec!["10".into(), String::new()]];
        assert_eq!(table(&["n", "text"], &[0], rows), " n  text\n 7  x\n10");
    }

    #[test]
    fn long_texts_become_one_short_line() {
        assert_eq!(ellipsis("  two\n words ", 20), "two words");
        assert_eq!(ellipsis("abcdef", 4), "abc…");
        assert_eq!(ellipsis("ab\u{1b}[31m", 20), "ab [31m");
        assert_eq!(ellipsis("", 5), "");
    }

    #[test]
    fn figures_have_groups() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(figures), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([milliseconds(1.26), milliseconds(210.4)], ["1.3 ms", "210 ms"]);
    }

    #[test]
    fn verdicts_name_route_reason_gate_tokens_and_time() {
        let mut usage = pb::Usage {
            route: pb::Route::Direct.into(),
            route_reason: pb::RouteReason::GateBelowThreshold.into(),
            gate_score: Some(0.5),
            gate_threshold: Some(0.5),
            prompt_tokens: 31,
            ..pb::Usage::default()
        };
        let total = Some(prost_types::Duration { seconds: 0, nanos: 88_000_000 });
        let times = pb::Timings { total, ..pb::Timings::default() };
        assert_eq!(
            verdict(&usage, Some(&times)),
            "direct (gate below threshold), gate 0.500 of 0.500, 31 prompt tokens, 88 ms"
        );
        usage.set_route(pb::Route::Reasoned);
        usage.set_route_reason(pb::RouteReason::PolicyAlways);
        usage.set_stop_reason(pb::StopReason::Budget);
        (usage.reasoning_tokens, usage.gate_threshold, usage.truncated) = (48, None, true);
        assert_eq!(
            verdict(&usage, None),
            "reasoned (policy always), gate 0.500, 31 prompt + 48 thought tokens (ended: budget), \
             cut to fit the context, 0.0 ms"
        );
    }

    #[test]
    fn verdicts_tell_of_pressure_and_of_the_cache() {
        let mut usage = pb::Usage {
            route: pb::Route::Direct.into(),
            route_reason: pb::RouteReason::GateBelowThreshold.into(),
            gate_score: Some(0.625),
            gate_threshold: Some(0.75),
            base_threshold: Some(0.5),
            prompt_tokens: 31,
            pressure: pb::Pressure::Load.into(),
            ..pb::Usage::default()
        };
        assert_eq!(
            verdict(&usage, None),
            "direct (gate below threshold), gate 0.625 of 0.750 (raised from 0.500), \
             31 prompt tokens, the server was busy, 0.0 ms"
        );
        usage.set_threshold_source(pb::ThresholdSource::Curve);
        assert!(verdict(&usage, None).contains("(raised from 0.500 along the gate's curve)"));
        usage.set_pressure(pb::Pressure::None);
        let cost = pb::TokenCost { prompt_tokens: 31, ..pb::TokenCost::default() };
        (usage.gate_threshold, usage.original, usage.prompt_tokens) = (Some(0.5), Some(cost), 0);
        assert_eq!(
            verdict(&usage, None),
            "direct (gate below threshold), gate 0.625 of 0.500, from the cache, \
             31 prompt tokens then, none now, 0.0 ms"
        );
    }
}
