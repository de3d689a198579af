//! `twn-bench shapes`: what backbones too large to ship cost on this processor.
//!
//! Weights are random in the shapes of published models, since speed and memory depend on
//! shapes and not on values. Nothing is read from disk, so loading times are not measured.
//! Each row has a process of its own: what an allocator keeps of one would hide what the
//! next one takes.
//!
//! | module | owns |
//! |---|---|
//! | `shape` | the published shapes |
//! | `random` | weights of no meaning |
//! | `memory` | what this process holds |

mod memory;
mod random;
mod shape;

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, ensure};
use clap::Args;
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use serde::{Deserialize, Serialize};
use twn_encoder::{
    Precision,
    backbone::{Backbone, FusedOptions, KvCache, Span},
};

use self::{memory::Memory, random::RandomTensors, shape::Shape};
use crate::environment::Environment;

/// Which shapes are measured, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct ShapesArguments {
    /// Shapes, smallest first: the text sides of Qwen3-VL
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["2b", "4b", "8b"])]
    shapes: Vec<Shape>,
    /// How exactly weights are kept: q8 or q4
    #[arg(long, value_delimiter = ',', default_values = ["q8", "q4"])]
    precisions: Vec<Precision>,
    /// Tokens of the prompt
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    prompt: u32,
    /// Tokens decoded after it
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    decode: u32,
    /// Threads; 0 takes one for each core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// One shape at one precision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Row {
    shape: String,
    precision: String,
    parameters: u64,
    /// Of a file of these weights in bf16.
    file_bytes: u64,
    /// Of the packed weights.
    weight_bytes: usize,
    /// The most memory that packing took at a time, packed weights included, if that is known;
    /// what is mapped of files is not counted.
    loading_bytes_max: Option<u64>,
    /// The same as a share of the file's size; the target is 1.1 at most.
    loading_share_of_file: Option<f64>,
    prefill_tokens_per_s: f64,
    decode_tokens_per_s: f64,
}

/// A shape that was passed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Skipped {
    shape: String,
    precision: String,
    reason: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Findings {
    rows: Vec<Row>,
    skipped: Vec<Skipped>,
}

#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    findings: Findings,
    environment: Environment,
}

/// Runs the measurement and prints what it found.
pub(crate) fn main(arguments: &ShapesArguments) -> anyhow::Result<()> {
    let environment = Environment::capture(None);
    let mut findings = Findings::default();
    let is_only_one = arguments.shapes.len() * arguments.precisions.len() == 1;
    for &shape in &arguments.shapes {
        for &precision in &arguments.precisions {
            let found = if is_only_one {
                findings_here(shape, precision, arguments)
            } else {
                eprintln!("measuring {} in {}", shape.name(), precision.name());
                findings_apart(shape, precision, arguments)
            };
            let found = found.with_context(|| format!("{} in {precision:?}", shape.name()))?;
            findings.rows.extend(found.rows);
            findings.skipped.extend(found.skipped);
        }
    }
    let mut output = std::io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut output, &Report { findings, environment })?;
        writeln!(output)?;
    } else {
        writeln!(output, "{}", table(&findings.rows))?;
        for Skipped { shape, precision, reason } in &findings.skipped {
            writeln!(output, "{shape} in {precision} was passed over: {reason}")?;
        }
    }
    Ok(())
}

/// Measures one row, if there is room for it.
fn findings_here(
    shape: Shape,
    precision: Precision,
    arguments: &ShapesArguments,
) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    match memory::check_room(shape.bytes(precision)) {
        Ok(()) => findings.rows.push(measure(shape, precision, arguments)?),
        Err(reason) => {
            let (shape, precision) = (shape.name().to_owned(), precision.name().to_owned());
            findings.skipped.push(Skipped { shape, precision, reason });
        }
    }
    Ok(findings)
}

/// Measures one row in a process of its own.
fn findings_apart(
    shape: Shape,
    precision: Precision,
    arguments: &ShapesArguments,
) -> anyhow::Result<Findings> {
    let output = Command::new(std::env::current_exe()?)
        .args(["shapes", "--json", "--shapes", shape.name(), "--precisions", precision.name()])
        .args(["--prompt", &arguments.prompt.to_string()])
        .args(["--decode", &arguments.decode.to_string()])
        .args(["--threads", &arguments.threads.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the process that measures it ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn measure(shape: Shape, precision: Precision, arguments: &ShapesArguments) -> anyhow::Result<Row> {
    let config = shape.config();
    let positions = (arguments.prompt + arguments.decode) as usize;
    let options =
        FusedOptions { precision, threads: arguments.threads, ..FusedOptions::new(positions) };
    let tensors = RandomTensors::new(&config);
    let memory = Memory::watch();
    let backbone = Backbone::load_fused(&config, &tensors, &options)?;
    let loading_bytes_max = memory.peak();

    let vocabulary = config.vocab_size as u32;
    let token = |index: u32| index.wrapping_mul(7919) % vocabulary;
    let prompt: Vec<u32> = (0..arguments.prompt).map(token).collect();
    // Once to touch all pages, once to measure, and once more as a thought's prompt.
    let read = |mut cache: KvCache| {
        let started = Instant::now();
        let rows = backbone.embed(&prompt);
        let span = Span { len: prompt.len(), cache: &mut cache };
        backbone.forward(rows, &mut [span], None);
        (cache, started.elapsed().as_secs_f64())
    };
    read(backbone.new_embedding_cache(positions));
    let (_, prefill_s) = read(backbone.new_embedding_cache(positions));
    let (mut cache, _) = read(backbone.new_cache(positions));
    let started = Instant::now();
    for index in 0..arguments.decode {
        let rows = backbone.embed(&[token(index)]);
        let hidden = backbone.forward(rows, &mut [Span { len: 1, cache: &mut cache }], None);
        backbone.logits(hidden);
    }
    let decode_s = started.elapsed().as_secs_f64();
    let file_bytes = config.parameters() * 2;
    Ok(Row {
        shape: shape.name().to_owned(),
        precision: precision.name().to_owned(),
        parameters: config.parameters(),
        file_bytes,
        weight_bytes: backbone.packed_bytes(),
        loading_bytes_max,
        loading_share_of_file: loading_bytes_max.map(|bytes| bytes as f64 / file_bytes as f64),
        prefill_tokens_per_s: f64::from(arguments.prompt) / prefill_s,
        decode_tokens_per_s: f64::from(arguments.decode) / decode_s,
    })
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header([
        "shape",
        "weights",
        "parameters",
        "bf16 file, GiB",
        "packed, GiB",
        "most while packing, GiB",
        "of the file",
        "prefill, tokens/s",
        "decode, tokens/s",
    ]);
    for row in rows {
        let gib = |bytes: u64| format!("{:.2}", bytes as f64 / f64::from(1 << 30));
        table.add_row([
            row.shape.clone(),
            row.precision.clone(),
            format!("{:.2} G", row.parameters as f64 / 1e9),
            gib(row.file_bytes),
            gib(row.weight_bytes as u64),
            row.loading_bytes_max.map_or("unknown".to_owned(), gib),
            row.loading_share_of_file
                .map_or("unknown".to_owned(), |share| format!("{:.0} %", 100.0 * share)),
            format!("{:.1}", row.prefill_tokens_per_s),
            format!("{:.2}", row.decode_tokens_per_s),
        ]);
    }
    table
}
