//! `twn-bench shapes`: what backbones too large to ship cost on this processor.
//!
//! Weights are random in the shapes of published models, since speed and memory depend on
//! shapes and not on values. Nothing is read from disk, so loading times are not measured.
//!
//! | module | owns |
//! |---|---|
//! | `shape` | the published shapes |
//! | `random` | weights of no meaning |
//! | `memory` | what this process holds |

mod memory;
mod random;
mod shape;

use std::{io::Write, time::Instant};

use anyhow::Context;
use clap::Args;
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use serde::Serialize;
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
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    shape: &'static str,
    precision: &'static str,
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
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Skipped {
    shape: &'static str,
    precision: &'static str,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Report {
    rows: Vec<Row>,
    skipped: Vec<Skipped>,
    environment: Environment,
}

/// Runs the measurement and prints what it found.
pub(crate) fn main(arguments: &ShapesArguments) -> anyhow::Result<()> {
    let mut report =
        Report { rows: Vec::new(), skipped: Vec::new(), environment: Environment::capture(None) };
    for &shape in &arguments.shapes {
        for &precision in &arguments.precisions {
            let (shape_name, name) = (shape.name(), precision.name());
            if let Err(reason) = memory::check_room(shape.bytes(precision)) {
                let skipped = Skipped { shape: shape_name, precision: name, reason };
                report.skipped.push(skipped);
                continue;
            }
            eprintln!("measuring {shape_name} in {name}");
            let row = measure(shape, precision, arguments);
            report.rows.push(row.with_context(|| format!("{shape_name} in {name}"))?);
        }
    }
    let mut output = std::io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut output, &report)?;
        writeln!(output)?;
    } else {
        writeln!(output, "{}", table(&report.rows))?;
        for Skipped { shape, precision, reason } in &report.skipped {
            writeln!(output, "{shape} in {precision} was passed over: {reason}")?;
        }
    }
    Ok(())
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
        shape: shape.name(),
        precision: precision.name(),
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
            row.shape.to_owned(),
            row.precision.to_owned(),
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
