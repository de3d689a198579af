//! `twn ingest`

use std::{
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Context;
use clap::Args;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use twn_encoder::model::default_home;
use twn_protos::v1 as pb;

use super::{Outcome, PolicyArgs, ServerArg, Session, serve::SIGNALLED};
use crate::{
    client::{Client, Refusal, patiently},
    feed::{
        Bounds, Fields, Format, Job, Journal, PAGE_DPI, Record, Report, Source, journal_path, send,
    },
    output::{Output, Progress, figures},
};

/// Records that are read ahead of what is sent.
const READ_AHEAD: usize = 64;

/// What to ingest, and how.
#[derive(Debug, Clone, Args)]
pub struct IngestArgs {
    /// Files (.jsonl, .csv, .txt, .md, .png, .pdf, …), folders of plain text or of media, or - for
    /// standard input
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The collection to write to
    #[arg(long, short, value_name = "NAME")]
    pub collection: String,
    /// Fail when the collection does not exist, instead of creating it
    #[arg(long)]
    pub no_create: bool,
    /// How the sources are written, where their names do not tell
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// The field or column that holds the id
    #[arg(long, visible_alias = "id-column", default_value = "id", value_name = "NAME")]
    pub id_field: String,
    /// The field or column that holds the text
    #[arg(long, visible_alias = "text-column", default_value = "text", value_name = "NAME")]
    pub text_field: String,
    /// Store CSV values that are numbers as numbers, so that range filters see them
    #[arg(long)]
    pub numbers: bool,
    /// Resolution that PDF pages are rendered at, in dots per inch
    #[arg(long, default_value_t = PAGE_DPI, value_name = "DPI")]
    pub dpi: f32,
    /// Task instruction for the documents, instead of the encoder's own
    #[arg(long, default_value = "", hide_default_value = true)]
    pub instruction: String,
    /// Send everything, even what an interrupted run has finished
    #[arg(long)]
    pub no_resume: bool,
    /// When to think.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Where to.
    #[command(flatten)]
    pub server: ServerArg,
}

/// Runs the command.
///
/// # Errors
/// Fails when a source can't be read, or the server refuses the stream or stays away.
pub async fn run(args: IngestArgs, session: &Session) -> anyhow::Result<Outcome> {
    let sources = args.paths.iter().map(|path| Source::find(path, args.format));
    let sources: Vec<Source> = sources.collect::<anyhow::Result<_>>()?;
    let client = session.connect().await?;
    let limits = client.info().await?.limits.unwrap_or_default();
    let collection = find_collection(&client, &args).await?;
    let journal = open_journal(&args, &sources, &collection)?;
    if let Some(journal) = journal.as_ref().filter(|journal| !journal.is_empty()) {
        let known = figures(journal.len() as u64);
        session.output.note(format_args!("going on: {known} documents are acknowledged already"));
    }

    let job = Job {
        collection: args.collection.clone(),
        reasoning: args.policy.message(false),
        instruction: args.instruction.clone(),
    };
    let fields = Fields {
        id: args.id_field,
        text: args.text_field,
        numbers: args.numbers,
        page_dpi: args.dpi,
    };
    let total = sources.iter().map(Source::bytes).sum();
    let stop = stop_on_interrupt();
    let Reading { records, position, done } = read(sources, fields, Bounds::of(&limits));

    let progress = Bar::new(session.output, total, position);
    let watch = |report: &Report| progress.show(report);
    let report = send(&client, &job, records, journal, stop, watch).await;
    drop(progress);
    let report = report?;
    // An interrupted ingest leaves its reader behind, which may be waiting for input.
    if !report.is_interrupted {
        done.await.context("reading panicked")??;
    }
    tell(session.output, &report)?;
    Ok(if report.is_complete() { Outcome::Done } else { Outcome::Failed })
}

/// Finds the collection, or creates it.
async fn find_collection(client: &Client, args: &IngestArgs) -> Result<pb::Collection, Refusal> {
    let collections = client.collections();
    let get = async || {
        let request = pb::GetCollectionRequest { name: args.collection.clone() };
        collections.clone().get_collection(request).await
    };
    match patiently(get).await {
        Ok(found) => return Ok(found.collection.unwrap_or_default()),
        Err(refusal) if refusal.code() == Code::NotFound && !args.no_create => {}
        Err(refusal) => return Err(refusal),
    }
    let create = async || {
        let name = args.collection.clone();
        let config = Some(pb::CollectionConfig { name, ..pb::CollectionConfig::default() });
        collections.clone().create_collection(pb::CreateCollectionRequest { config }).await
    };
    match patiently(create).await {
        Ok(created) => Ok(created.collection.unwrap_or_default()),
        // Somebody else was faster.
        Err(refusal) if refusal.code() == Code::AlreadyExists => {
            Ok(patiently(get).await?.collection.unwrap_or_default())
        }
        Err(refusal) => Err(refusal),
    }
}

/// Opens the journal, unless the ingest can't be resumed or is not to be.
fn open_journal(
    args: &IngestArgs,
    sources: &[Source],
    collection: &pb::Collection,
) -> anyhow::Result<Option<Journal>> {
    let identities: Option<Vec<PathBuf>> = sources.iter().map(Source::identity).collect();
    let Some(identities) = identities.filter(|_| !args.no_resume) else { return Ok(None) };
    let mut way = format!("{:?} {:?}", args.policy.message(false), args.instruction);
    if args.dpi != PAGE_DPI {
        way += &format!(" {} dpi", args.dpi);
    }
    let path = journal_path(&default_home()?, &args.collection, &identities, &way);
    let journal = Journal::open(&path, collection);
    Ok(Some(journal.context("cannot open the journal; `--no-resume` goes without")?))
}

/// Cancelled by Ctrl-C: what is under way is finished, the rest is left. A second time
/// ends the process.
fn stop_on_interrupt() -> CancellationToken {
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stopping.cancel();
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(SIGNALLED);
        }
    });
    stop
}

/// Sources that are being read on a thread of their own.
struct Reading {
    records: mpsc::Receiver<Record>,
    position: Arc<AtomicU64>,
    done: JoinHandle<io::Result<()>>,
}

fn read(sources: Vec<Source>, fields: Fields, bounds: Bounds) -> Reading {
    let (sender, records) = mpsc::channel(READ_AHEAD);
    let position: Arc<AtomicU64> = Arc::default();
    let counted = Arc::clone(&position);
    let done = tokio::task::spawn_blocking(move || {
        let mut emit = |record| match sender.blocking_send(record) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        for source in sources {
            if source.read(&fields, bounds, &counted, &mut emit)?.is_break() {
                break;
            }
        }
        Ok(())
    });
    Reading { records, position, done }
}

/// The progress of an ingest: in bytes where their number is known.
struct Bar {
    progress: Progress,
    position: Arc<AtomicU64>,
}

impl Bar {
    fn new(output: Output, total: Option<u64>, position: Arc<AtomicU64>) -> Self {
        let progress =
            total.map_or_else(|| Progress::endless(output), |total| Progress::bytes(output, total));
        Self { progress, position }
    }

    fn show(&self, report: &Report) {
        self.progress.reach(self.position.load(Ordering::Relaxed));
        let through = figures(report.through());
        self.progress.say(match report.failed {
            0 => format!("{through} documents"),
            failed => format!("{through} documents, {} failed", figures(failed)),
        });
    }
}

/// Prints the summary.
fn tell(output: Output, report: &Report) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(&report.json());
    }
    for failure in &report.errors {
        let code = failure.code.map(|code| format!(" ({code})")).unwrap_or_default();
        output.note(format_args!("{}: {}{code}", failure.place, failure.message));
    }
    let untold = report.failed - report.errors.len() as u64;
    if untold > 0 {
        output.note(format_args!("… and {} more", figures(untold)));
    }
    let tokens = report.prompt_tokens + report.reasoning_tokens;
    output.line(format_args!(
        "{} inserted, {} updated, {} unchanged, {} skipped, {} failed; {} thought about; {} tokens \
         in {:.1} s",
        figures(report.inserted),
        figures(report.updated),
        figures(report.unchanged),
        figures(report.skipped),
        figures(report.failed),
        figures(report.reasoned),
        figures(tokens),
        report.seconds(),
    ))?;
    if report.is_interrupted {
        output.line("stopped before the end; the same command goes on from here")?;
    }
    Ok(())
}

/// Ingests records that are not in files, showing progress by their number.
///
/// # Errors
/// Fails when the server refuses the stream or stays away.
pub(crate) async fn send_all(
    client: &Client,
    job: &Job,
    documents: Vec<Record>,
    stop: CancellationToken,
    output: Output,
) -> anyhow::Result<Report> {
    let progress = Progress::items(output, documents.len() as u64);
    progress.say("encoding and storing");
    let (sender, records) = mpsc::channel(READ_AHEAD);
    tokio::spawn(async move {
        for record in documents {
            if sender.send(record).await.is_err() {
                return;
            }
        }
    });
    send(client, job, records, None, stop, |report| progress.reach(report.through())).await
}

/// Reads every record of a folder of plain text.
///
/// # Errors
/// Fails when the folder can't be read or has no plain text.
pub(crate) fn read_folder(
    folder: &Path,
    bounds: Bounds,
    max: usize,
) -> anyhow::Result<Vec<Record>> {
    let source = Source::find(folder, None)?;
    let mut records = Vec::new();
    let mut keep = |record| {
        records.push(record);
        if records.len() < max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let _ = source.read(&Fields::default(), bounds, &Arc::default(), &mut keep)?;
    Ok(records)
}
