//! What looking after a collection is answered with.

use twn_protos::v1 as pb;
use twn_service::{FieldInfo, FieldKind, SavedSnapshot, ServiceError, Verified};

use super::{collection::timestamp, known};

/// The most damaged files that one answer lists.
const MAX_DAMAGE: usize = 1_000;

/// Reads the kind that `field` of a request declares.
pub(crate) fn field_kind(number: i32, field: &str) -> Result<FieldKind, ServiceError> {
    match known(number, field)? {
        pb::FieldKind::Unspecified => Err(ServiceError::invalid(field, "is required")),
        pb::FieldKind::Keyword => Ok(FieldKind::Keyword),
        pb::FieldKind::Integer => Ok(FieldKind::Integer),
        pb::FieldKind::Float => Ok(FieldKind::Float),
        pb::FieldKind::Bool => Ok(FieldKind::Bool),
        pb::FieldKind::Timestamp => Ok(FieldKind::Timestamp),
    }
}

/// Writes a field's kind.
pub(crate) fn kind(kind: FieldKind) -> pb::FieldKind {
    match kind {
        FieldKind::Keyword => pb::FieldKind::Keyword,
        FieldKind::Integer => pb::FieldKind::Integer,
        FieldKind::Float => pb::FieldKind::Float,
        FieldKind::Bool => pb::FieldKind::Bool,
        FieldKind::Timestamp => pb::FieldKind::Timestamp,
    }
}

/// Writes a field as it was found.
pub(crate) fn field(info: FieldInfo) -> pb::Field {
    let kind = info.kind.map_or(pb::FieldKind::Unspecified, kind).into();
    pb::Field { path: info.path, kind, declared: info.is_declared }
}

/// Writes a snapshot.
pub(crate) fn snapshot(saved: SavedSnapshot) -> pb::Snapshot {
    pb::Snapshot {
        name: saved.name,
        create_time: Some(timestamp(saved.created_unix_ms)),
        last_sequence: saved.last_sequence,
        documents: saved.documents,
        bytes: saved.bytes,
    }
}

/// Writes what verifying found.
pub(crate) fn verified(verified: Verified) -> pb::VerifyCollectionResponse {
    let damaged_files = verified.damage.len() as u64;
    let damage = verified.damage.into_iter().take(MAX_DAMAGE).map(|damage| pb::Damage {
        path: damage.path.display().to_string(),
        problem: damage.problem,
    });
    pb::VerifyCollectionResponse {
        files: verified.files,
        bytes: verified.bytes,
        damage: damage.collect(),
        damaged_files,
    }
}
