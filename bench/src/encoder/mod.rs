//! `twn-bench encoder`: the encoder's speed beside its peers, in one run.
//!
//! llama.cpp and PyTorch run the same model in processes of their own, and take turns with
//! ours. What the machine itself can do at best is measured too, so that a figure can be
//! read as a share of it.
//!
//! | module | owns |
//! |---|---|
//! | `options` | the command line, checked |
//! | `contestant` | who runs; what they must be able to do |
//! | `stable` | where they come from |
//! | `workload` | what they are timed at, and the machine's limit for it |
//! | `plan` | which speeds are compared, with their targets |
//! | `drive` | the alternating loop |
//! | `ours` | our encoder as a contestant |
//! | `own` | what is compared with ourselves |
//! | `divergence` | by how little greedy thoughts part |
//! | `texts` | real texts to embed |

mod contestant;
mod divergence;
mod drive;
mod options;
mod ours;
mod own;
mod plan;
mod ran;
mod stable;
#[cfg(test)]
mod tests;
pub(crate) mod texts;
mod workload;

use std::{collections::BTreeMap, io::Write};

use anyhow::ensure;
use serde::Serialize;
use serde_json::Value;

use self::{
    contestant::{Cost, Ours},
    drive::{Field, Stable},
    options::Options,
    own::Check,
    plan::Pairing,
    stable::Machine,
};
use crate::{
    contention::{self, Watch},
    environment::Environment,
    floor::Limits,
    rows::{self, Report},
};

pub(crate) use self::options::EncoderArguments;

/// Where and with whom it was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Circumstances {
    #[serde(flatten)]
    here: Environment,
    threads: usize,
    repeat: usize,
    /// Fewer runs than a figure to publish needs.
    quick: bool,
    limits: Limits,
    /// What each contestant says about itself.
    contestants: BTreeMap<String, Value>,
    /// Of the machine's processor time during the measurement; absent where unknown.
    others_share: Option<f64>,
    load_average_before: Option<f64>,
}

/// Runs the measurement and prints what it found.
pub(crate) fn main(arguments: &EncoderArguments) -> anyhow::Result<()> {
    let options = Options::new(arguments)?;
    let mut machine = Machine {
        peers: options.peers.clone(),
        threads: options.threads,
        isa: options.isa,
        model: options.model.clone(),
    };
    let report = measure(&options, &mut machine)?;

    let mut output = std::io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut output, &report)?;
        writeln!(output)?;
    } else {
        write_report(&report, &mut output)?;
    }
    Ok(())
}

fn measure(options: &Options, stable: &mut dyn Stable) -> anyhow::Result<Report<Circumstances>> {
    let mut pairings = plan::pairings();
    pairings.retain(|pairing| options.wants(&pairing.what()));
    let mut checks = Check::all();
    checks.retain(|check| options.wants(&check.what()));
    ensure!(!pairings.is_empty() || !checks.is_empty(), "--only matches no row");

    let here = Environment::capture(None);
    let load_average_before = contention::load_average();
    eprintln!("measuring the machine's limits");
    let limits_before = Limits::measure(options.threads, options.isa);
    eprintln!("loading the contestants");
    let mut field = Field::new(stable);
    field.assemble(&pairings)?;
    let watch = Watch::start(&field.process_ids());

    let speeds = field.race(&pairings, options.rounds)?;
    let costs = costs(&pairings, &mut field)?;
    // Twice, since others may have used the machine at one of the two moments.
    let limits = limits_before.or_higher(Limits::measure(options.threads, options.isa));
    let own_rows = own::measure(&checks, &mut field, &options.effort, &limits)?;
    let others_share = watch.and_then(|watch| watch.others_share());

    let mut rows = drive::rows(&pairings, &speeds, &costs, &limits);
    rows.extend(own_rows);

    let environment = Circumstances {
        here,
        threads: options.threads,
        repeat: options.rounds.repeat,
        quick: options.quick,
        limits,
        others_share,
        contestants: field.describe()?,
        load_average_before,
    };
    Ok(Report { rows, environment })
}

fn costs(pairings: &[Pairing], field: &mut Field<'_>) -> anyhow::Result<BTreeMap<Ours, Cost>> {
    let mut costs = BTreeMap::new();
    for Pairing { ours, .. } in pairings {
        if let Some(engine) = field.engine(*ours)? {
            costs.insert(*ours, engine.cost());
        }
    }
    Ok(costs)
}

fn write_report(report: &Report<Circumstances>, output: &mut dyn Write) -> anyhow::Result<()> {
    let Report { rows, environment } = report;
    writeln!(output, "{}", rows::table(rows))?;
    for (note, count) in notes(rows) {
        writeln!(output, "{count} rows: {note}")?;
    }
    let here = &environment.here;
    let cpu = here.cpu.as_deref().unwrap_or("unknown processor");
    writeln!(
        output,
        "{cpu}, {} threads, medians of {}{}",
        environment.threads,
        environment.repeat,
        if environment.quick { ", QUICK: too few to publish" } else { "" }
    )?;
    let limits = &environment.limits;
    writeln!(
        output,
        "limits ({}): {:.0} GFLOP/s f32, {:.0} GOP/s int16, {:.0} GOP/s int8, {:.1} GB/s read",
        limits.instructions,
        limits.f32_operations_per_s / 1e9,
        limits.int16_operations_per_s / 1e9,
        limits.int8_operations_per_s / 1e9,
        limits.read_bytes_per_s / 1e9,
    )?;
    for (name, description) in &environment.contestants {
        let version = description.get("version").and_then(Value::as_str).unwrap_or_default();
        writeln!(output, "{name}: {version}")?;
    }
    match environment.others_share {
        Some(share) if share > 0.05 => writeln!(
            output,
            "DISTURBED: others had {:.0} % of the machine meanwhile",
            share * 100.0
        )?,
        Some(share) => writeln!(output, "others had {:.1} % of the machine", share * 100.0)?,
        None => writeln!(output, "what others had of the machine is not known")?,
    }
    Ok(())
}

fn notes(rows: &[rows::Row]) -> BTreeMap<&str, usize> {
    let mut notes = BTreeMap::new();
    for note in rows.iter().filter_map(|row| row.note.as_deref()) {
        *notes.entry(note).or_default() += 1;
    }
    notes
}
