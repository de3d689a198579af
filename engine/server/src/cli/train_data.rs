//! `twn train data`

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use twn_train::data::{DataOptions, DataSummary, make};

use super::Outcome;
use crate::output::{Output, Progress, figures, table};

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
    /// Packages that may have four times the texts of others when not all fit
    #[arg(long, value_name = "NAME", num_args = 1..)]
    favour: Vec<String>,
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
pub fn run(arguments: DataArgs, output: Output) -> anyhow::Result<Outcome> {
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
        favoured: arguments.favour,
        distill_bytes: arguments.distill_megabytes << 20,
    };
    let progress = Progress::endless(output);
    let mut show = |step: &str| progress.say(step);
    let summary = make(&arguments.out, &options, &mut show).context("making data")?;
    let text = serde_json::to_string_pretty(&summary)?;
    fs_err::write(arguments.out.join("summary.json"), format!("{text}\n"))?;
    progress.clear();
    output.either(&summary, || describe(&summary))?;
    Ok(Outcome::Done)
}

/// What was made, for people.
fn describe(summary: &DataSummary) -> String {
    let count = |number: usize| figures(number as u64);
    let training = summary.training.iter().map(|(name, lines)| {
        let (exact, near) = summary.leaks.get(name).copied().unwrap_or_default();
        vec![(*name).to_owned(), count(*lines), count(exact), count(near)]
    });
    let header = ["training", "lines", "dropped copies", "dropped near copies"];
    let training = table(&header, &[1, 2, 3], training.collect());
    let sets = summary
        .evaluation
        .iter()
        .map(|(name, (documents, queries))| vec![name.clone(), count(*documents), count(*queries)]);
    let sets = table(&["evaluation", "documents", "queries"], &[1, 2], sets.collect());
    format!("{training}\n\n{sets}")
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, Subcommand};

    use crate::cli::train::TrainCommand;

    #[track_caller]
    fn parse(line: &str) -> Result<TrainCommand, clap::Error> {
        let words = std::iter::once("train").chain(line.split_whitespace());
        let command = TrainCommand::augment_subcommands(clap::Command::new("train"));
        TrainCommand::from_arg_matches(&command.try_get_matches_from(words)?)
    }

    #[test]
    fn options_are_read() {
        let line = "data --out o --seed 3 --exclude a b --resolving 10 --wordnet w --favour x y";
        let Ok(TrainCommand::Data(arguments)) = parse(line) else { panic!("refused") };
        assert_eq!((arguments.seed, arguments.resolving), (3, 10));
        assert_eq!(arguments.exclude.len(), 2);
        assert_eq!(arguments.favour, ["x", "y"]);
        assert!(parse("data").is_err());
        assert!(parse("data --out o --resolving 99999999999").is_err());
    }
}
