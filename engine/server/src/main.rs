//! The `twn` command: parses, runs one command, and turns its end into an exit code.

#![forbid(unsafe_code)]

use std::{future::Future, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Parser;
use tokio::runtime::Builder;
use twn_server::{
    cli::{
        Cli, Command, Outcome, Session, collection, completions, config, count, delete, demo,
        doctor, embed, eval, get, ingest, model, search, serve, train,
    },
    output::{Output, OutputClosed},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long threads that wait for input may hold up the end.
const LEAVE: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        // Whoever reads us has had enough, as `head` has.
        Err(error) if error.is::<OutputClosed>() => ExitCode::SUCCESS,
        Err(error) => {
            explain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<Outcome> {
    let Cli { globals, command } = cli;
    let open = |flags| Session::open(&globals, flags, false);
    match command {
        Command::Serve(args) => {
            let session = Session::open(&globals, args.flags(), true)?;
            let linger = serve::linger(session.config());
            let mut runtime = runtime();
            if let Some(linger) = linger.clone() {
                runtime.on_thread_park(move || linger.before_sleep());
            }
            wait_in(&mut runtime, serve::run(args, &session, linger))
        }
        Command::Ingest(args) => wait(ingest::run(args.clone(), &open(args.server.flags())?)),
        Command::Search(args) => wait(search::run(args.clone(), &open(args.server.flags())?)),
        Command::Embed(args) => wait(embed::run(args.clone(), &open(args.server.flags())?)),
        Command::Get(args) => wait(get::run(args.clone(), &open(args.server.flags())?)),
        Command::Count(args) => wait(count::run(args.clone(), &open(args.server.flags())?)),
        Command::Delete(args) => wait(delete::run(args.clone(), &open(args.server.flags())?)),
        Command::Collection(command) => {
            let session = open(command.server().flags())?;
            wait(collection::run(command, &session))
        }
        Command::Model(command) => {
            let flags = command.flags();
            wait(model::run(command, &open(flags)?))
        }
        Command::Demo(args) => wait(demo::run(args.clone(), &open(args.flags())?)),
        Command::Eval(command) => wait(eval::run(command.clone(), &open(command.flags())?)),
        Command::Train(command) => wait(train::run(command.clone(), &open(command.flags())?)),
        Command::Doctor(args) => wait(doctor::run(&open(args.flags())?)),
        Command::Config(command) => config::run(command, &globals),
        Command::Completions(args) => completions::run(&args, Output::new(globals.json)),
    }
}

/// Runs a command to its end on threads of its own.
fn wait(command: impl Future<Output = anyhow::Result<Outcome>>) -> anyhow::Result<Outcome> {
    wait_in(&mut runtime(), command)
}

/// Describes the threads that a command runs on.
fn runtime() -> Builder {
    let mut runtime = Builder::new_multi_thread();
    runtime.enable_all();
    runtime
}

/// Runs a command to its end on such threads.
fn wait_in(
    runtime: &mut Builder,
    command: impl Future<Output = anyhow::Result<Outcome>>,
) -> anyhow::Result<Outcome> {
    let runtime = runtime.build().context("cannot start the threads that a command needs")?;
    let outcome = runtime.block_on(command);
    runtime.shutdown_timeout(LEAVE);
    outcome
}

/// Prints an error and its causes. Causes that the line above repeats are left out.
fn explain(error: &anyhow::Error) {
    let mut above = error.to_string();
    eprintln!("error: {above}");
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !above.contains(&cause) {
            eprintln!("  because: {cause}");
        }
        above = cause;
    }
}
