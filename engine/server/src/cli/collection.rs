//! `twn collection`

use std::io::{self, IsTerminal};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use twn_protos::v1 as pb;

use super::{
    Outcome, ServerArg, Session,
    maintenance::{self, RestoreArgs, SnapshotCommand, declared_field},
    model::lines,
};
use crate::{
    client::{Client, patiently},
    output::{self, figures, table},
};

/// What to do with collections.
#[derive(Debug, Clone, Subcommand)]
pub enum CollectionCommand {
    /// List all collections
    List {
        /// Whom to ask.
        #[command(flatten)]
        server: ServerArg,
    },
    /// Create a collection
    Create(CreateArgs),
    /// Show one collection
    Show(NameArgs),
    /// Write everything into sealed segments with graphs, and wait for it
    Seal(NameArgs),
    /// Merge all segments into one without deleted rows, and wait for it
    Compact(NameArgs),
    /// Read every byte and name the files that are not as they were written
    Verify(NameArgs),
    /// Show what the fields of the payloads hold
    Fields(NameArgs),
    /// Save, list and remove snapshots
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Make a new collection of a snapshot
    Restore(RestoreArgs),
    /// Delete a collection with everything in it, its snapshots too
    Delete {
        /// Which one.
        #[command(flatten)]
        collection: NameArgs,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// One collection.
#[derive(Debug, Clone, Args)]
pub struct NameArgs {
    /// The collection's name
    pub name: String,
    /// Whom to ask.
    #[command(flatten)]
    pub server: ServerArg,
}

/// A collection to be.
#[derive(Debug, Clone, Args)]
pub struct CreateArgs {
    /// Its name: 1 to 64 of a-z, 0-9, - and _, starting with a letter or a digit
    pub name: String,
    /// Length of the vectors [default: the encoder's]. Any other makes a collection that takes
    /// supplied vectors only
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub dimension: u32,
    /// Neighbours of each node of the graph [default: 16]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub m: u32,
    /// Candidates kept while building the graph [default: 200]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub ef_construction: u32,
    /// Candidates kept while searching, unless a search says otherwise [default: 64]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub ef_search: u32,
    /// Copies of the vectors that searches compare first
    #[arg(long, value_enum, default_value_t = Copies::None)]
    pub quantization: Copies,
    /// Documents that are sealed into a segment together [default: 20000]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub seal_rows: u32,
    /// A payload field that holds one kind only, as field=kind: keyword, integer, float, bool or
    /// timestamp; may be repeated
    #[arg(long = "field", value_parser = declared_field)]
    pub fields: Vec<(String, pb::FieldKind)>,
    /// Never merge segments by itself
    #[arg(long)]
    pub no_compaction: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub server: ServerArg,
}

/// Smaller copies of a collection's vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Copies {
    /// None: the vectors as they are
    None,
    /// One byte a value: a quarter of the memory to read, and a quarter more on disk
    Sq8,
}

impl From<Copies> for pb::Quantization {
    fn from(copies: Copies) -> Self {
        match copies {
            Copies::None => Self::None,
            Copies::Sq8 => Self::Sq8,
        }
    }
}

impl CollectionCommand {
    /// Which server the command is for.
    pub fn server(&self) -> &ServerArg {
        match self {
            Self::List { server } => server,
            Self::Create(args) => &args.server,
            Self::Show(args)
            | Self::Seal(args)
            | Self::Compact(args)
            | Self::Verify(args)
            | Self::Fields(args)
            | Self::Delete { collection: args, .. } => &args.server,
            Self::Snapshot(command) => command.server(),
            Self::Restore(args) => &args.snapshot.server,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Fails with the server's refusal.
pub async fn run(command: CollectionCommand, session: &Session) -> anyhow::Result<Outcome> {
    let client = session.connect().await?;
    match command {
        CollectionCommand::List { .. } => list(&client, session).await?,
        CollectionCommand::Create(args) => show(create(&client, args).await?, session)?,
        CollectionCommand::Show(NameArgs { name, .. }) => {
            let request = pb::GetCollectionRequest { name };
            let client = client.collections();
            let get = async || client.clone().get_collection(request.clone()).await;
            show(patiently(get).await?.collection, session)?;
        }
        CollectionCommand::Seal(NameArgs { name, .. }) => {
            let request = pb::SealCollectionRequest { name };
            let client = client.collections();
            let seal = async || client.clone().seal_collection(request.clone()).await;
            show(patiently(seal).await?.collection, session)?;
        }
        CollectionCommand::Compact(args) => maintenance::compact(args.name, session).await?,
        CollectionCommand::Verify(args) => return maintenance::verify(args.name, session).await,
        CollectionCommand::Fields(args) => maintenance::fields(args.name, session).await?,
        CollectionCommand::Snapshot(command) => maintenance::snapshot(command, session).await?,
        CollectionCommand::Restore(args) => maintenance::restore(args, session).await?,
        CollectionCommand::Delete { collection: NameArgs { name, .. }, yes } => {
            if !yes && !confirm(&name)? {
                return Ok(Outcome::Failed);
            }
            let request = pb::DeleteCollectionRequest { name: name.clone() };
            let client = client.collections();
            patiently(async || client.clone().delete_collection(request.clone()).await).await?;
            session.output.either(&json!({"deleted": name}), || format!("`{name}` is deleted"))?;
        }
    }
    Ok(Outcome::Done)
}

async fn create(client: &Client, args: CreateArgs) -> anyhow::Result<Option<pb::Collection>> {
    let CreateArgs { m, ef_construction, ef_search, .. } = args;
    let config = pb::CollectionConfig {
        name: args.name,
        dimension: args.dimension,
        hnsw: Some(pb::HnswConfig { m, ef_construction, ef_search }),
        seal_rows: args.seal_rows,
        fields: args.fields.into_iter().map(|(path, kind)| (path, kind.into())).collect(),
        compaction: Some(pb::CompactionConfig { off: args.no_compaction, ..Default::default() }),
        quantization: pb::Quantization::from(args.quantization).into(),
    };
    let request = pb::CreateCollectionRequest { config: Some(config) };
    let client = client.collections();
    let created = patiently(async || client.clone().create_collection(request.clone()).await);
    Ok(created.await?.collection)
}

/// Prints every collection, page by page.
async fn list(client: &Client, session: &Session) -> anyhow::Result<()> {
    let mut collections = Vec::new();
    let mut request = pb::ListCollectionsRequest::default();
    let client = client.collections();
    loop {
        let page =
            patiently(async || client.clone().list_collections(request.clone()).await).await?;
        collections.extend(page.collections);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let output = session.output;
    if output.is_json() {
        return collections.iter().try_for_each(|one| output.json(&output::collection(one)));
    }
    if collections.is_empty() {
        return output.line("no collections; `twn ingest` and `twn collection create` make one");
    }
    let rows = collections.iter().map(|one| {
        let config = one.config.clone().unwrap_or_default();
        let takes = if one.encoder_fingerprint.is_empty() { "vectors" } else { "content" };
        let mib = format!("{:.1} MiB", one.disk_bytes as f64 / f64::from(1 << 20));
        let counts = [one.documents, config.dimension.into(), one.segments.into()].map(figures);
        let [documents, dimension, segments] = counts;
        vec![config.name, documents, dimension, segments, mib, takes.to_owned()]
    });
    let header = ["name", "documents", "dimension", "segments", "on disk", "takes"];
    output.line(table(&header, &[1, 2, 3, 4], rows.collect()))
}

/// Prints a collection.
pub(super) fn show(collection: Option<pb::Collection>, session: &Session) -> anyhow::Result<()> {
    let json = output::collection(&collection.unwrap_or_default());
    session.output.either(&json, || lines(&json))
}

/// Asks whether to delete; without somebody to ask, says how to do it anyway.
fn confirm(name: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("deleting `{name}` cannot be undone; add `--yes` to do it without being asked");
    }
    eprint!("Delete `{name}` with everything in it? This cannot be undone. Its name again: ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("cannot read the answer")?;
    Ok(answer.trim() == name)
}
