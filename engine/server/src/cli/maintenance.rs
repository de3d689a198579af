//! `twn collection compact`, `verify`, `fields`, `restore` and `snapshot`

use clap::Subcommand;
use serde_json::{Value, json};
use twn_protos::v1 as pb;

use super::{Outcome, ServerArg, Session, collection::show};
use crate::{
    client::patiently,
    output::{figures, table},
};

/// What to do with the snapshots of a collection.
#[derive(Debug, Clone, Subcommand)]
pub enum SnapshotCommand {
    /// Save the collection as it is now; writing goes on
    Create(SnapshotArgs),
    /// List the snapshots of a collection
    List(super::collection::NameArgs),
    /// Remove a snapshot
    Delete(SnapshotArgs),
}

/// One snapshot.
#[derive(Debug, Clone, clap::Args)]
pub struct SnapshotArgs {
    /// The collection's name
    pub name: String,
    /// The snapshot's name: 1 to 64 of a-z, 0-9, - and _, starting with a letter or a digit
    pub snapshot: String,
    /// Whom to ask.
    #[command(flatten)]
    pub server: ServerArg,
}

/// A snapshot and what to make of it.
#[derive(Debug, Clone, clap::Args)]
pub struct RestoreArgs {
    /// The snapshot.
    #[command(flatten)]
    pub snapshot: SnapshotArgs,
    /// Name of the collection to make; there must be none of this name yet
    #[arg(long)]
    pub to: String,
}

impl SnapshotCommand {
    /// Which server the command is for.
    pub fn server(&self) -> &ServerArg {
        match self {
            Self::Create(args) | Self::Delete(args) => &args.server,
            Self::List(args) => &args.server,
        }
    }
}

/// Merges a collection's segments.
pub(super) async fn compact(name: String, session: &Session) -> anyhow::Result<()> {
    let request = pb::CompactCollectionRequest { name };
    let client = session.connect().await?.maintenance();
    let call = async || client.clone().compact_collection(request.clone()).await;
    let done = patiently(call).await?;
    if !session.output.is_json() {
        let [segments, rows] = [done.merged_segments.into(), done.removed_rows].map(figures);
        session.output.note(format!("merged {segments} segments, removed {rows} rows"));
    }
    show(done.collection, session)
}

/// Reads a collection through; fails where a file is damaged.
pub(super) async fn verify(name: String, session: &Session) -> anyhow::Result<Outcome> {
    let request = pb::VerifyCollectionRequest { name };
    let client = session.connect().await?.maintenance();
    let call = async || client.clone().verify_collection(request.clone()).await;
    let found = patiently(call).await?;
    let is_sound = found.damaged_files == 0;
    let damage: Vec<Value> = found
        .damage
        .iter()
        .map(|damage| json!({"path": damage.path, "problem": damage.problem}))
        .collect();
    let value = json!({
        "files": found.files, "bytes": found.bytes,
        "damaged_files": found.damaged_files, "damage": damage,
    });
    session.output.either(&value, || {
        let [files, bytes, damaged] = [found.files, found.bytes, found.damaged_files].map(figures);
        if is_sound {
            return format!("{files} files, {bytes} bytes: all as they were written");
        }
        let lines = found.damage.iter().map(|d| format!("{}: {}", d.path, d.problem));
        let lines: Vec<String> = lines.collect();
        format!("{}\n{damaged} of {files} files are damaged", lines.join("\n"))
    })?;
    Ok(if is_sound { Outcome::Done } else { Outcome::Failed })
}

/// Prints what the fields of a collection's payloads hold.
pub(super) async fn fields(collection: String, session: &Session) -> anyhow::Result<()> {
    let request = pb::ListFieldsRequest { collection };
    let client = session.connect().await?.maintenance();
    let call = async || client.clone().list_fields(request.clone()).await;
    let fields = patiently(call).await?.fields;
    let output = session.output;
    if output.is_json() {
        return fields.iter().try_for_each(|field| {
            let kind = kind_name(field.kind());
            output.json(&json!({"path": field.path, "kind": kind, "declared": field.declared}))
        });
    }
    let rows = fields.iter().map(|field| {
        let origin = if field.declared { "declared" } else { "seen" };
        vec![field.path.clone(), kind_name(field.kind()).to_owned(), origin.to_owned()]
    });
    output.line(table(&["field", "kind", "from"], &[], rows.collect()))
}

/// Makes a collection of a snapshot.
pub(super) async fn restore(args: RestoreArgs, session: &Session) -> anyhow::Result<()> {
    let SnapshotArgs { name, snapshot, .. } = args.snapshot;
    let request = pb::RestoreSnapshotRequest { collection: name, name: snapshot, target: args.to };
    let client = session.connect().await?.maintenance();
    let call = async || client.clone().restore_snapshot(request.clone()).await;
    show(patiently(call).await?.collection, session)
}

/// Creates, lists or removes snapshots.
pub(super) async fn snapshot(command: SnapshotCommand, session: &Session) -> anyhow::Result<()> {
    let client = session.connect().await?.maintenance();
    let output = session.output;
    match command {
        SnapshotCommand::Create(SnapshotArgs { name, snapshot, .. }) => {
            let request = pb::CreateSnapshotRequest { collection: name, name: snapshot };
            let call = async || client.clone().create_snapshot(request.clone()).await;
            let saved = patiently(call).await?.snapshot.unwrap_or_default();
            output.either(&snapshot_json(&saved), || {
                format!("`{}` holds {} documents", saved.name, figures(saved.documents))
            })
        }
        SnapshotCommand::List(args) => {
            let request = pb::ListSnapshotsRequest { collection: args.name };
            let call = async || client.clone().list_snapshots(request.clone()).await;
            let snapshots = patiently(call).await?.snapshots;
            if output.is_json() {
                return snapshots.iter().try_for_each(|saved| output.json(&snapshot_json(saved)));
            }
            let rows = snapshots.iter().map(|saved| {
                let time = saved.create_time.as_ref().map(ToString::to_string).unwrap_or_default();
                let [documents, bytes] = [saved.documents, saved.bytes].map(figures);
                vec![saved.name.clone(), time, documents, bytes]
            });
            output.line(table(
                &["snapshot", "created", "documents", "bytes"],
                &[2, 3],
                rows.collect(),
            ))
        }
        SnapshotCommand::Delete(SnapshotArgs { name, snapshot, .. }) => {
            let request = pb::DeleteSnapshotRequest { collection: name, name: snapshot.clone() };
            patiently(async || client.clone().delete_snapshot(request.clone()).await).await?;
            output.either(&json!({"deleted": snapshot}), || format!("`{snapshot}` is deleted"))
        }
    }
}

fn snapshot_json(saved: &pb::Snapshot) -> Value {
    json!({
        "name": saved.name,
        "create_time": saved.create_time.as_ref().map(ToString::to_string),
        "last_sequence": saved.last_sequence,
        "documents": saved.documents,
        "bytes": saved.bytes,
    })
}

/// How a kind is written; a field without one holds kinds that do not mix.
pub(super) fn kind_name(kind: pb::FieldKind) -> &'static str {
    match kind {
        pb::FieldKind::Unspecified => "mixed",
        pb::FieldKind::Keyword => "keyword",
        pb::FieldKind::Integer => "integer",
        pb::FieldKind::Float => "float",
        pb::FieldKind::Bool => "bool",
        pb::FieldKind::Timestamp => "timestamp",
    }
}

/// Reads `path=kind`.
pub(super) fn declared_field(text: &str) -> Result<(String, pb::FieldKind), String> {
    use pb::FieldKind::{Bool, Float, Integer, Keyword, Timestamp};
    let (path, name) = text.rsplit_once('=').ok_or("write field=kind")?;
    let kinds = [Keyword, Integer, Float, Bool, Timestamp];
    let kind = kinds.into_iter().find(|kind| kind_name(*kind) == name);
    let kind = kind.ok_or_else(|| {
        format!("`{name}` is no kind: keyword, integer, float, bool or timestamp")
    })?;
    Ok((path.to_owned(), kind))
}
