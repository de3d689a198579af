//! `twn-bench load`: searches at a fixed rate, or as fast as answers come.
//!
//! Open loop is the default: requests are sent when the schedule says so, whatever the
//! server does, and latency counts from the scheduled moment. A server that stalls for a
//! second is thereby seen by every request that was due in that second, not only by the
//! one that hit it ("coordinated omission"). The closed loop, where each of C clients
//! waits for its answer before asking again, is there for saturation throughput, and its
//! report says what it is.
//!
//! | module | owns |
//! |---|---|
//! | `options` | the command line, checked |
//! | `queries` | the query file |
//! | `schedule` | when each request is due |
//! | `client` | connections, requests, what came back |
//! | `drive` | the two loops |
//! | `record` | histograms by route, the interval log |
//! | `report` | the figures, as JSON |
//! | `table` | the figures, for people |

mod client;
mod drive;
mod options;
pub(crate) mod queries;
mod record;
mod report;
mod schedule;
mod table;
#[cfg(test)]
mod tests;

use std::io::Write;

use anyhow::Context;

use self::{
    client::Client,
    options::Options,
    record::{Recorder, Tally},
    report::{Report, Setup},
};
use crate::environment::{Environment, Server};

pub(crate) use self::options::LoadArguments;

/// Runs the measurement and prints what it found.
pub(crate) fn main(arguments: &LoadArguments) -> anyhow::Result<()> {
    let options = Options::new(arguments)?;
    let queries = queries::read(&arguments.queries)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(measure(options, queries))?;

    let mut output = std::io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut output, &report)?;
        writeln!(output)?;
    } else {
        write!(output, "{report}")?;
    }
    Ok(())
}

/// Connects, drives the load and sums up.
async fn measure(options: Options, queries: Vec<String>) -> anyhow::Result<Report> {
    let client = Client::connect(&options).await?;
    let info = client.server_info().await.context("cannot ask the server what it is")?;
    let environment = Environment::capture(Some(Server::new(&options.address, info)));
    let setup = Setup::new(&options, queries.len());

    let recorder = Recorder::start(options.hdr_log.as_deref(), options.warmup)?;
    let driven = drive::drive(&options, client, queries, recorder.sender()).await;
    let tally: Tally = recorder.finish().await?;
    Ok(Report::new(setup, &driven, &tally, environment))
}
