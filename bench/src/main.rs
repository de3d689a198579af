//! `twn-bench`: measurements of a running engine and of its parts.
//!
//! Every measurement is a subcommand with a module of its own; all print a table for
//! people, or with `--json` one object with an `environment` block.
#![deny(unsafe_code)]

mod contention;
mod encoder;
mod environment;
mod floor;
mod index;
mod load;
mod peer;
mod rows;
mod shapes;
mod training;

use clap::{Parser, Subcommand};

/// The product's own, so that what is measured here is what it does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures TWN.
#[derive(Parser)]
#[command(name = "twn-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Times the encoder beside llama.cpp and PyTorch.
    Encoder(encoder::EncoderArguments),
    /// Sends searches to a running server and reports latency, split by route.
    Load(load::LoadArguments),
    /// Measures the vector index, beside hnswlib, faiss and usearch.
    Index(index::IndexArguments),
    /// Times contrastive training steps beside PyTorch with PEFT.
    Training(training::TrainingArguments),
    /// Measures memory and speed of backbones in the shapes of large models.
    Shapes(shapes::ShapesArguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Encoder(arguments) => encoder::main(&arguments),
        Command::Load(arguments) => load::main(&arguments),
        Command::Index(arguments) => index::main(&arguments),
        Command::Training(arguments) => training::main(&arguments),
        Command::Shapes(arguments) => shapes::main(&arguments),
    }
}
