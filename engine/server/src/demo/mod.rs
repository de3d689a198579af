//! The demonstration: a server, documents, six searches that the gate decides about and
//! one that has to think.
//!
//! Owns the choice of documents and queries and how the result is shown; everything else
//! goes over gRPC as any client's work does. Invariant: nothing is written outside
//! `TWN_HOME`, the folder of temporary files and the data folder that was asked for.

mod crates;
mod paragraph;
mod queries;
mod show;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use twn_protos::v1 as pb;

use crate::{
    cli::{
        Session,
        ingest::{read_folder, send_all},
        serve::reachable,
    },
    client::{Client, Refusal, patiently, text},
    feed::{Bounds, Job, Record, Report},
    output::{Output, Progress},
    serve::{self, RunningServer},
};

use queries::{Ask, of_crates, of_documents};

const COLLECTION: &str = "demo";
const HITS: u32 = 3;

/// What the demonstration does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Plain text to ingest, instead of cargo's crates.
    pub folder: Option<PathBuf>,
    /// Documents at most.
    pub documents: usize,
    /// Seconds after which no more documents are ingested.
    pub seconds: u64,
    /// Where the data stays; without it, in a temporary folder that goes away.
    pub data: Option<PathBuf>,
    /// The model.
    pub model: PathBuf,
}

/// What came of it.
pub(crate) struct Shown {
    pub(crate) encoder: pb::Encoder,
    pub(crate) source: String,
    pub(crate) ingested: Report,
    pub(crate) documents: u64,
    pub(crate) answers: Vec<Answer>,
}

/// One search.
pub(crate) struct Answer {
    pub(crate) ask: Ask,
    pub(crate) response: pb::SearchResponse,
}

/// Runs the demonstration and prints what came of it.
///
/// # Errors
/// Fails with what to do when there is nothing to ingest, and when the server fails.
pub async fn run(plan: &Plan, session: &Session) -> anyhow::Result<()> {
    let temporary = tempfile::Builder::new().prefix("twn-demo-").tempdir();
    let temporary = temporary.context("cannot make a temporary folder")?;
    let mut options = session.config().serve_options(&plan.model);
    options.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    options.engine.data = plan.data.clone().unwrap_or_else(|| temporary.path().to_owned());

    let mut server = serve::start(options).await?;
    let shown = tokio::select! {
        shown = show(plan, &mut server, session.output) => shown,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    let stopped = server.shut_down().await;
    let shown = shown?;
    stopped?;
    show::print(&shown, plan.data.as_deref(), session.output)
}

async fn show(plan: &Plan, server: &mut RunningServer, output: Output) -> anyhow::Result<Shown> {
    let loading = Progress::endless(output);
    loading.say(format!("loading {}", plan.model.display()));
    server.ready().await?;
    loading.clear();

    let client = Client::connect(&reachable(server.address())).await?;
    let info = client.info().await?;
    let bounds = Bounds::of(&info.limits.unwrap_or_default());
    let (records, asks, source) = choose(plan, bounds)?;

    create(&client).await?;
    let ingested = ingest(&client, records, plan.seconds, output).await?;
    if let Some(failure) = ingested.errors.first() {
        output.note(format_args!("{}: {}", failure.place, failure.message));
    }
    let count = pb::CountRequest { collection: COLLECTION.to_owned(), filter: None };
    let documents = client.search().count(count).await.map_err(Refusal::from)?.into_inner().count;
    if documents == 0 {
        bail!("none of the documents could be ingested");
    }

    let searching = Progress::items(output, asks.len() as u64);
    let mut answers = Vec::new();
    for ask in asks {
        searching.say("searching");
        let response = search(&client, &ask).await?;
        answers.push(Answer { ask, response });
        searching.reach(answers.len() as u64);
    }
    let encoder = info.encoder.unwrap_or_default();
    Ok(Shown { encoder, source, ingested, documents, answers })
}

/// Chooses what to ingest and what to ask.
fn choose(plan: &Plan, bounds: Bounds) -> anyhow::Result<(Vec<Record>, Vec<Ask>, String)> {
    if let Some(folder) = &plan.folder {
        let records = read_folder(folder, bounds, plan.documents)?;
        let texts: Vec<String> = records.iter().filter_map(text_of).collect();
        let asks = of_documents(&texts);
        return Ok((records, asks, format!("plain text files of {}", folder.display())));
    }
    let registry =
        crates::registry().context("neither CARGO_HOME nor HOME is set; use --folder")?;
    let records = crates::records(&registry, plan.documents, bounds);
    if records.is_empty() {
        bail!(
            "{} holds no crates; `twn demo --folder PATH` takes plain text files of your own",
            registry.display()
        );
    }
    Ok((records, of_crates(), format!("crates of {}", registry.display())))
}

fn text_of(record: &Record) -> Option<String> {
    let parts = &record.document.as_ref().ok()?.content.as_ref()?.parts;
    parts.iter().find_map(|part| match &part.kind {
        Some(pb::part::Kind::Text(text)) => Some(text.clone()),
        _ => None,
    })
}

/// Creates the collection; in a data folder that was kept there is one already.
async fn create(client: &Client) -> Result<(), Refusal> {
    let name = COLLECTION.to_owned();
    let config = Some(pb::CollectionConfig { name, ..pb::CollectionConfig::default() });
    let request = pb::CreateCollectionRequest { config };
    match client.collections().create_collection(request).await {
        Err(status) if status.code() != Code::AlreadyExists => Err(status.into()),
        _ => Ok(()),
    }
}

async fn ingest(
    client: &Client,
    records: Vec<Record>,
    seconds: u64,
    output: Output,
) -> anyhow::Result<Report> {
    let job = Job {
        collection: COLLECTION.to_owned(),
        reasoning: policy(pb::ReasoningMode::Never, None),
        ..Job::default()
    };
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let late = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(seconds)) => late.cancel(),
            () = late.cancelled() => {}
        }
    });
    send_all(client, &job, records, stop, output).await
}

async fn search(client: &Client, ask: &Ask) -> Result<pb::SearchResponse, Refusal> {
    let request = pb::SearchRequest {
        collection: COLLECTION.to_owned(),
        query: Some(pb::search_request::Query::Content(text(ask.query.as_str()))),
        limit: HITS,
        reasoning: Some(policy(ask.mode, ask.token_budget)),
        ..pb::SearchRequest::default()
    };
    let client = client.search();
    patiently(async || client.clone().search(request.clone()).await).await
}

fn policy(mode: pb::ReasoningMode, token_budget: Option<u32>) -> pb::ReasoningPolicy {
    pb::ReasoningPolicy { mode: mode.into(), token_budget, ..pb::ReasoningPolicy::default() }
}

/// Where the data stays, for the words at the end.
pub(crate) fn kept(data: Option<&Path>) -> String {
    data.map_or_else(String::new, |data| format!(" --data {}", data.display()))
}
