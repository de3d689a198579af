//! The figures of a load run for people.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use super::report::{Figures, Report};

const HEADER: [&str; 11] = [
    "route",
    "samples",
    "per s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "p99.9 ms",
    "max ms",
    "mean ms",
    "thought tokens",
    "per query",
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (setup, result) = (&self.setup, &self.result);
        if let (Some(rate), Some(arrivals)) = (setup.rate_per_s, setup.arrivals) {
            writeln!(f, "open loop, {arrivals} arrivals at {rate}/s")?;
            writeln!(f, "latency counts from when each request was due")?;
        } else if let Some(clients) = setup.concurrency {
            writeln!(f, "CLOSED LOOP, clients: {clients}")?;
            writeln!(
                f,
                "latency counts from sending: the waiting that a stall causes is left out"
            )?;
        }
        writeln!(f, "{}", table(self))?;
        write_counts(self, f)?;
        write_environment(self, f)?;
        if result.interrupted {
            writeln!(f, "interrupted: the run was shorter than asked for")?;
        }
        let unanswered = result.unfinished + result.dropped;
        if unanswered > 0 {
            writeln!(f, "the server did not keep up: {unanswered} requests have no answer")?;
            writeln!(f, "their waiting is under `failed`, not in the other latencies")?;
        }
        Ok(())
    }
}

fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.set_header(HEADER);
    let routes = &report.result.routes;
    for (name, figures) in [
        ("all", &routes.all),
        ("direct", &routes.direct),
        ("reasoned", &routes.reasoned),
        ("failed", &routes.failed),
    ] {
        table.add_row(row(name, figures));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn row(name: &str, figures: &Figures) -> Vec<String> {
    let absent = || "-".to_owned();
    let mut row = vec![
        name.to_owned(),
        figures.samples.to_string(),
        format!("{:.2}", figures.throughput_per_s),
    ];
    match figures.latency_ms {
        Some(l) => {
            row.extend([l.p50, l.p95, l.p99, l.p99_9, l.max, l.mean].map(|ms| format!("{ms:.2}")));
        }
        None => row.extend(std::iter::repeat_with(absent).take(6)),
    }
    row.push(figures.reasoning_tokens.to_string());
    let per_query = figures.reasoning_tokens_per_query;
    row.push(per_query.map_or_else(absent, |tokens| format!("{tokens:.1}")));
    row
}

fn write_counts(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let result = &report.result;
    writeln!(
        f,
        "{} requests in {:.1} s: {} answered, {} failed, {} unfinished, {} dropped \
         ({:.2} % errors); {} sent late, at most {:.1} ms",
        result.requests,
        result.measured_s,
        result.answered,
        result.failed,
        result.unfinished,
        result.dropped,
        result.error_rate * 100.0,
        result.late,
        result.max_lag_ms,
    )?;
    if let Some(rate) = result.think_rate {
        writeln!(f, "think rate {:.1} % of the answers", rate * 100.0)?;
    }
    for (code, count) in &result.errors {
        writeln!(f, "  {code}: {count}")?;
    }
    Ok(())
}

fn write_environment(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let here = &report.environment;
    let cpu = here.cpu.as_deref().unwrap_or("unknown processor");
    let memory = here.memory_bytes.map_or_else(|| "?".to_owned(), |b| (b >> 20).to_string());
    writeln!(f, "client: {cpu}, {} cores, {memory} MiB", here.cores)?;
    let Some(server) = &here.server else { return Ok(()) };
    let fingerprint: String = server.fingerprint.chars().take(12).collect();
    let training = if server.trained { "trained" } else { "UNTRAINED" };
    writeln!(f, "server: {} at {}, {}", server.version, server.address, server.device)?;
    writeln!(f, "encoder: {}, {training}, {fingerprint}", server.model)
}
