//! `twn train data`

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use twn_train::data::{DataOptions, make};

use super::{Outcome, Session};

/// Train adapters
#[derive(Debug, Clone, Subcommand)]
pub enum TrainCommand {
    /// Make training files and evaluation sets
    ///
    /// Resolving queries are generated; the other kinds come from files of packages that
    /// have been unpacked, and are left out where no folder is named. The same inputs and
    /// seed give the same files.
    Data(DataArgs),
}

/// What data is made of.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    /// Write the files here
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Decides every draw
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// WordNet's folder with data.noun, data.verb, data.adj and data.adv
    #[arg(long, value_name = "FOLDER")]
    wordnet: Option<PathBuf>,
    /// Debian package descriptions, as `apt-cache dumpavail` prints them
    #[arg(long, value_name = "FILE")]
    packages: Option<PathBuf>,
    /// JSONL files of {question, answer, rationale}
    #[arg(long, value_name = "FOLDER")]
    cot: Option<PathBuf>,
    /// Unpacked documentation, one folder a package
    #[arg(long, value_name = "FOLDER")]
    texts: Option<PathBuf>,
    /// JSONL files, or folders of them, whose texts must not be trained on
    #[arg(long, value_name = "PATH", num_args = 1..)]
    exclude: Vec<PathBuf>,
    /// Resolving examples for training
    #[arg(long, default_value_t = 80_000, value_parser = limit)]
    resolving: usize,
    /// Plain pairs for training, at most
    #[arg(long, default_value_t = 120_000, value_parser = limit)]
    plain: usize,
    /// Texts to distil from of one package, at most
    #[arg(long, default_value_t = 40_000, value_parser = limit)]
    texts_per_source: usize,
    /// Megabytes of text to distil from, at most
    #[arg(long, default_value_t = 38, value_parser = limit)]
    distill_megabytes: usize,
}

fn limit(text: &str) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|error| format!("{error}"))?;
    if number <= 10_000_000 { Ok(number) } else { Err("more than 10 million".to_owned()) }
}

/// Runs the command.
///
/// # Errors
/// Fails when an input can't be read or a file can't be written.
pub fn run(command: &TrainCommand, session: &Session) -> anyhow::Result<Outcome> {
    let TrainCommand::Data(arguments) = command;
    let arguments = arguments.clone();
    let options = DataOptions {
        seed: arguments.seed,
        wordnet: arguments.wordnet,
        packages: arguments.packages,
        rationales: arguments.cot,
        texts: arguments.texts,
        exclude: arguments.exclude,
        resolving: arguments.resolving,
        plain: arguments.plain,
        texts_per_source: arguments.texts_per_source,
        distill_bytes: arguments.distill_megabytes << 20,
    };
    let mut show = |step: &str| eprintln!("{step}");
    let summary = make(&arguments.out, &options, &mut show).context("making data")?;
    let text = serde_json::to_string_pretty(&summary)?;
    fs_err::write(arguments.out.join("summary.json"), format!("{text}\n"))?;
    let _ = session;
    println!("{text}");
    Ok(Outcome::Done)
}
