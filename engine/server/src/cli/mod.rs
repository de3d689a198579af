//! The command line: one file a subcommand. The comments on its types are its manual.

pub mod collection;
pub mod completions;
pub mod config;
pub mod count;
pub mod delete;
pub mod demo;
pub mod doctor;
pub mod embed;
pub mod eval;
pub mod get;
pub mod ingest;
pub mod maintenance;
pub mod model;
pub mod search;
pub mod serve;
pub mod train;
pub mod train_ablate;
pub mod train_data;
mod train_lexicon;

mod filter;
mod model_args;
mod model_inspect;
mod policy;
mod session;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use model_args::ModelArgs;
pub use model_inspect::InspectArgs;
pub use policy::PolicyArgs;
pub use session::{ServerArg, Session, start_log};

/// How a command ended, if not by an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it was asked to.
    Done,
    /// It has said what it could not do.
    Failed,
}

/// A retrieval engine that thinks only when it needs to.
///
/// An encoder turns documents and queries into embeddings; a gate decides for every input
/// whether a chain of thought is worth its tokens. `twn demo` shows it all in one go.
///
/// Settings come from defaults, then a TOML file (`--config`, or ./twn.toml, or
/// twn/twn.toml in the user's configuration folder), then environment variables
/// `TWN__SECTION__KEY`, then flags. `twn config print` shows each with its origin.
/// `TWN_HOME` names the folder of models (by default ~/.cache/twn).
#[derive(Debug, Parser)]
#[command(name = "twn", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 the command line can't be understood.")]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Globals {
    /// Print results as JSON, one value a line, and nothing else on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Read settings from this TOML file
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a server until it is told to stop
    ///
    /// SIGTERM or Ctrl-C lets it finish what it has accepted; a second one stops it at once.
    /// With --json it prints an event when it listens and one when it serves.
    Serve(serve::ServeArgs),
    /// Send documents to a server: JSONL, CSV, plain text, folders
    ///
    /// JSONL has an object a line: `text` (or `content`, a list of texts), and optionally `id`,
    /// `payload` and `vector`; other fields join the payload. CSV has a header row; other
    /// columns become the payload. In a folder every plain text file is a document, its id
    /// the path within the folder. A document without an id gets one from its content.
    ///
    /// What can't be read is reported with its line and does not stop the rest. An
    /// interrupted ingest goes on where it stopped when the same command runs again, and
    /// documents that the server has already are not encoded again. Exits with 1 when
    /// something was not stored.
    Ingest(ingest::IngestArgs),
    /// Find the documents nearest to a query, and say how the query was embedded
    Search(search::SearchArgs),
    /// Print the embeddings of texts, and how each was made
    ///
    /// With --json: one object a text, with its `values`, `usage` and `timings`.
    Embed(embed::EmbedArgs),
    /// Read documents by id
    ///
    /// Exits with 1 when one of them does not exist.
    Get(get::GetArgs),
    /// Count documents
    Count(count::CountArgs),
    /// Delete documents by id
    Delete(delete::DeleteArgs),
    /// List, create, show, seal, compact, verify, save, restore and delete collections
    #[command(subcommand)]
    Collection(collection::CollectionCommand),
    /// Pull and look at models
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Pull the model, start a server, ingest, search, and show how each answer was made
    ///
    /// The documents are the descriptions of the crates in cargo's own registry folder, or
    /// the plain text files of a folder. Takes at most three minutes on two cores; --documents
    /// and --seconds bound it. Everything but the model is thrown away, unless --data keeps it.
    Demo(demo::DemoArgs),
    /// Measure how well an encoder retrieves
    #[command(subcommand)]
    Eval(eval::EvalCommand),
    /// Train adapters, queries and gate
    #[command(subcommand)]
    Train(train::TrainCommand),
    /// Check machine, model, data and server, and say what to do
    ///
    /// Exits with 1 when something has to be done before a server can run.
    Doctor(doctor::DoctorArgs),
    /// Print or check the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print a shell's completion script
    ///
    /// For bash: `source <(twn completions bash)`
    Completions(completions::CompletionsArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[track_caller]
    fn check(line: &str) -> Command {
        let words = std::iter::once("twn").chain(line.split_whitespace());
        Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}")).command
    }

    #[test]
    fn every_command_parses() {
        for line in [
            "serve",
            "serve --listen 127.0.0.1:0 --data /d --model m --adapters /a --device cpu --pull",
            "ingest a.jsonl b.csv notes - --collection c --id-field _id --text-field body",
            "ingest - --collection c --format csv --numbers --mode never --no-create --no-resume",
            "search pump --collection c --mode auto --threshold 0.5 --budget 48 --limit 3",
            "search pump --collection c --filter a=b --filter n>=3 --ef 99 --show-thought",
            "search pump --collection c --recall-target 0.95",
            "embed one two --kind document --mode always --json",
            "get a b --collection c --vector",
            "count --collection c --filter a=b",
            "delete a b --collection c",
            "collection list",
            "collection create c --dimension 8 --m 8 --ef-construction 50 --ef-search 20",
            "collection show c",
            "collection seal c",
            "collection create c --quantization sq8",
            "collection create c --field lang=keyword --field by.at=timestamp --no-compaction",
            "collection compact c",
            "collection verify c",
            "collection fields c",
            "collection snapshot create c s",
            "collection snapshot list c",
            "collection snapshot delete c s",
            "collection restore c s --to d",
            "collection delete c --yes",
            "model pull",
            "model pull --from /f",
            "model list",
            "model show smollm2-135m-instruct",
            "model inspect /f",
            "model inspect",
            "model inspect --model /f --adapters /a --json",
            "eval beir data --mode never,adaptive,always --baseline bm25 --json",
            "eval mmeb data --task MSCOCO,K700 --mode never,adaptive,always --json",
            "eval mmeb data --candidate-mode always --frames 4 --media m --results r --budget 9",
            "eval beir data --server http://[::1]:1 --token-share 0.5 --plot f.svg",
            "demo --documents 10 --folder /f --data /d --model /m --json",
            "doctor --json --data /d",
            "config print --config /f",
            "config check /f",
            "completions bash",
        ] {
            check(line);
        }
    }

    #[test]
    fn unusable_command_lines_are_refused() {
        for line in [
            "",
            "swim",
            "serve --listen here",
            "ingest --collection c",
            "collection create c --field lang=colour",
            "collection restore c s",
            "ingest a.jsonl",
            "search q",
            "search q --collection c --mode sometimes",
            "search q --collection c --threshold 1.5",
            "search q --collection c --filter =",
            "search q --collection c --exact --ef 5",
            "search q --collection c --recall-target 0.95 --ef 5",
            "search q --collection c --recall-target 0.95 --exact",
            "search q --collection c --recall-target 0",
            "search q --collection c --recall-target NaN",
            "collection create c --quantization pq",
            "embed",
            "eval mmeb",
            "eval mmeb data --task Nothing",
            "eval mmeb data --frames 0",
            "eval mmeb data --results r --no-results",
            "completions basic",
        ] {
            let words = std::iter::once("twn").chain(line.split_whitespace());
            let error = Cli::try_parse_from(words).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
