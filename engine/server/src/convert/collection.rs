//! Collections: what they are asked to be and what they hold.

use twn_protos::v1 as pb;
use twn_service::{
    CollectionView, CompactionConfig, CreateCollection, Quantization, Schema, ServiceError,
};

use super::{count32, known, maintenance, nonzero, required};

/// Reads what a new collection should be.
pub(crate) fn create(
    message: Option<pb::CollectionConfig>,
) -> Result<CreateCollection, ServiceError> {
    let message = required(message, "config")?;
    let hnsw = message.hnsw.unwrap_or_default();
    let fields = message.fields.into_iter().map(|(path, kind)| {
        let kind = maintenance::field_kind(kind, &format!("config.fields.{path}"))?;
        Ok::<_, ServiceError>((path, kind))
    });
    let fields: Result<_, _> = fields.collect();
    Ok(CreateCollection {
        name: message.name,
        dimension: nonzero(message.dimension),
        m: nonzero(hnsw.m),
        ef_construction: nonzero(hnsw.ef_construction),
        ef_search: nonzero(hnsw.ef_search),
        quantization: match known(message.quantization, "config.quantization")? {
            pb::Quantization::Unspecified | pb::Quantization::None => Quantization::None,
            pb::Quantization::Sq8 => Quantization::Sq8,
        },
        seal_rows: nonzero(message.seal_rows),
        compaction: message.compaction.map(compaction),
        schema: Schema { fields: fields? },
    })
}

/// Writes a collection.
pub(crate) fn view(view: CollectionView) -> pb::Collection {
    let CollectionView { name, config, stats } = view;
    let hnsw = pb::HnswConfig {
        m: count32(config.hnsw.m),
        ef_construction: count32(config.hnsw.ef_construction),
        ef_search: count32(config.hnsw.ef_search),
    };
    let compaction = pb::CompactionConfig {
        off: !config.compaction.is_automatic,
        dead_percent: count32(config.compaction.dead_percent),
        max_segments: count32(config.compaction.max_segments),
    };
    let quantization = match config.quantization {
        Quantization::None => pb::Quantization::None,
        Quantization::Sq8 => pb::Quantization::Sq8,
    };
    let fields = config.schema.fields.into_iter();
    let fields = fields.map(|(path, kind)| (path, maintenance::kind(kind).into())).collect();
    pb::Collection {
        config: Some(pb::CollectionConfig {
            name,
            dimension: count32(config.dimension),
            hnsw: Some(hnsw),
            seal_rows: count32(config.seal_rows),
            fields,
            compaction: Some(compaction),
            quantization: quantization.into(),
        }),
        documents: stats.documents,
        tail_documents: stats.tail_documents,
        tombstones: stats.tombstones,
        segments: count32(stats.segments),
        disk_bytes: stats.disk_bytes,
        encoder_fingerprint: config.encoder_fingerprint,
        create_time: Some(timestamp(config.created_unix_ms)),
        last_sequence: stats.last_sequence,
    }
}

/// Reads when segments are merged; zeros take defaults.
fn compaction(message: pb::CompactionConfig) -> CompactionConfig {
    let defaults = CompactionConfig::default();
    CompactionConfig {
        is_automatic: !message.off,
        dead_percent: nonzero(message.dead_percent).unwrap_or(defaults.dead_percent),
        max_segments: nonzero(message.max_segments).unwrap_or(defaults.max_segments),
    }
}

/// Writes a point in time.
pub(crate) fn timestamp(unix_ms: u64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(unix_ms / 1_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(unix_ms % 1_000).unwrap_or(0) * 1_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_take_defaults_and_config_is_required() {
        let message = pb::CollectionConfig { name: "a".into(), ..Default::default() };
        let want = CreateCollection { name: "a".into(), ..CreateCollection::default() };
        assert_eq!(create(Some(message)).unwrap(), want);
        assert_eq!(create(None).unwrap_err().to_string(), "config: is required");
    }

    #[test]
    fn times_keep_their_milliseconds() {
        let time = timestamp(1_700_000_000_123);
        assert_eq!((time.seconds, time.nanos), (1_700_000_000, 123_000_000));
    }
}
