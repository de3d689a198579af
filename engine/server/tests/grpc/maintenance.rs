//! Compaction, verification, snapshots and typed fields over the wire.

use tonic::Code;
use twn_protos::v1::{self as pb, maintenance_service_client::MaintenanceServiceClient};

use crate::support::{TestServer, message};

fn dated(id: &str, seed: usize, time: &str) -> pb::DocumentInput {
    let payload = message::payload(&[("at", message::string(time))]);
    pb::DocumentInput { payload, ..message::with_vector(id, "words", seed) }
}

fn docs() -> String {
    "docs".to_owned()
}

async fn seal(server: &TestServer) {
    let request = pb::SealCollectionRequest { name: docs() };
    server.collections().seal_collection(request).await.unwrap();
}

async fn count(server: &TestServer, collection: &str, filter: Option<pb::Filter>) -> u64 {
    let request = pb::CountRequest { collection: collection.to_owned(), filter };
    server.search().count(request).await.unwrap().into_inner().count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_compacted_verified_saved_and_restored() {
    let server = TestServer::start().await;
    let mut client = MaintenanceServiceClient::new(server.channel.clone());
    let fields = [("at".to_owned(), pb::FieldKind::Timestamp.into())].into();
    let compaction = Some(pb::CompactionConfig { off: true, ..Default::default() });
    let config = pb::CollectionConfig { fields, compaction, ..message::collection("docs") };
    let request = pb::CreateCollectionRequest { config: Some(config) };
    let created = server.collections().create_collection(request).await.unwrap().into_inner();
    let config = created.collection.unwrap().config.unwrap();
    assert_eq!(config.fields["at"], i32::from(pb::FieldKind::Timestamp));
    let compaction = config.compaction.unwrap();
    assert_eq!((compaction.off, compaction.dead_percent, compaction.max_segments), (true, 20, 8));

    for part in 0..3 {
        let documents =
            (0..20).map(|i| dated(&format!("d{}", part * 10 + i), i, "2024-05-01T12:00:00Z"));
        server.ingest().upsert(message::upsert("docs", documents)).await.unwrap();
        seal(&server).await;
    }
    let late = [dated("late", 1, "2024-05-01T15:00:00+02:00")];
    server.ingest().upsert(message::upsert("docs", late)).await.unwrap();

    let bound = prost_types::Timestamp { seconds: 1_714_564_800, nanos: 0 };
    let after_noon = pb::TimeRange { field: "at".into(), gt: Some(bound), ..Default::default() };
    let after_noon = message::filter(pb::filter::Kind::TimeRange(after_noon));
    assert_eq!(count(&server, "docs", after_noon.clone()).await, 1);
    let wrong = message::upsert("docs", [dated("bad", 1, "noon")]);
    let refused = server.ingest().upsert(wrong).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("timestamp"), "{}", refused.message());
    let fields = client.list_fields(pb::ListFieldsRequest { collection: docs() }).await.unwrap();
    let fields = fields.into_inner().fields;
    assert_eq!(fields.len(), 1);
    assert!(fields[0].declared && fields[0].kind() == pb::FieldKind::Timestamp);

    let saved = pb::CreateSnapshotRequest { collection: docs(), name: "before".into() };
    let saved = client.create_snapshot(saved).await.unwrap().into_inner().snapshot.unwrap();
    assert_eq!(saved.documents, 41);

    let compacted = client.compact_collection(pb::CompactCollectionRequest { name: docs() });
    let compacted = compacted.await.unwrap().into_inner();
    assert_eq!((compacted.merged_segments, compacted.removed_rows), (3, 20));
    assert_eq!(compacted.collection.unwrap().segments, 1);
    let request =
        pb::DeleteRequest { collection: docs(), ids: (0..40).map(|i| format!("d{i}")).collect() };
    server.ingest().delete(request).await.unwrap();
    assert_eq!(count(&server, "docs", None).await, 1);

    let restore = |name: &str, target: &str| pb::RestoreSnapshotRequest {
        collection: docs(),
        name: name.to_owned(),
        target: target.to_owned(),
    };
    let restored = client.restore_snapshot(restore("before", "again")).await.unwrap();
    assert_eq!(restored.into_inner().collection.unwrap().documents, 41);
    assert_eq!(count(&server, "again", after_noon).await, 1);
    let taken = client.restore_snapshot(restore("before", "again")).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
    for (name, target) in [("absent", "new"), ("../x", "new"), ("before", "../new")] {
        let refused = client.restore_snapshot(restore(name, target)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name} {target}");
    }

    let verified = client.verify_collection(pb::VerifyCollectionRequest { name: docs() }).await;
    let verified = verified.unwrap().into_inner();
    assert_eq!((verified.damaged_files, verified.damage), (0, vec![]));
    assert!(verified.files > 5 && verified.bytes > 1000);
    let listed = client.list_snapshots(pb::ListSnapshotsRequest { collection: docs() }).await;
    assert_eq!(listed.unwrap().into_inner().snapshots, [saved]);
    let delete = pb::DeleteSnapshotRequest { collection: docs(), name: "before".into() };
    client.delete_snapshot(delete.clone()).await.unwrap();
    let gone = client.delete_snapshot(delete).await.unwrap_err();
    assert_eq!(gone.code(), Code::InvalidArgument);
    let absent = client.verify_collection(pb::VerifyCollectionRequest { name: "no".into() }).await;
    assert_eq!(absent.unwrap_err().code(), Code::NotFound);
}
