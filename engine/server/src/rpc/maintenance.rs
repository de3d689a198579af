//! `MaintenanceService`: collections are merged, saved, restored and read through.

use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait};
use twn_protos::v1::{
    CompactCollectionRequest, CompactCollectionResponse, CreateSnapshotRequest,
    CreateSnapshotResponse, DeleteSnapshotRequest, DeleteSnapshotResponse, ListFieldsRequest,
    ListFieldsResponse, ListSnapshotsRequest, ListSnapshotsResponse, RestoreSnapshotRequest,
    RestoreSnapshotResponse, VerifyCollectionRequest, VerifyCollectionResponse,
    maintenance_service_server::MaintenanceService,
};
use twn_service::Engine;

use crate::{
    convert::{collection, count32, maintenance},
    rpc::host::Host,
};

/// Answers `MaintenanceService`.
pub(crate) struct MaintenanceRpc(pub(crate) Arc<Host>);

#[async_trait]
impl MaintenanceService for MaintenanceRpc {
    async fn compact_collection(
        &self,
        request: Request<CompactCollectionRequest>,
    ) -> Result<Response<CompactCollectionResponse>, Status> {
        let work = |engine: Arc<Engine>, request: CompactCollectionRequest, _, _| async move {
            let (view, compacted) = engine.compact_collection(request.name).await?;
            Ok(CompactCollectionResponse {
                collection: Some(collection::view(view)),
                merged_segments: count32(compacted.merged_segments),
                removed_rows: compacted.removed_rows,
            })
        };
        self.0.answer(request, work).await
    }

    async fn verify_collection(
        &self,
        request: Request<VerifyCollectionRequest>,
    ) -> Result<Response<VerifyCollectionResponse>, Status> {
        let work = |engine: Arc<Engine>, request: VerifyCollectionRequest, _, _| async move {
            Ok(maintenance::verified(engine.verify_collection(request.name).await?))
        };
        self.0.answer(request, work).await
    }

    async fn list_fields(
        &self,
        request: Request<ListFieldsRequest>,
    ) -> Result<Response<ListFieldsResponse>, Status> {
        let work = |engine: Arc<Engine>, request: ListFieldsRequest, _, _| async move {
            let fields = engine.fields(request.collection).await?;
            let fields = fields.into_iter().map(maintenance::field).collect();
            Ok(ListFieldsResponse { fields })
        };
        self.0.answer(request, work).await
    }

    async fn create_snapshot(
        &self,
        request: Request<CreateSnapshotRequest>,
    ) -> Result<Response<CreateSnapshotResponse>, Status> {
        let work = |engine: Arc<Engine>, request: CreateSnapshotRequest, _, _| async move {
            let saved = engine.save_snapshot(request.collection, request.name).await?;
            Ok(CreateSnapshotResponse { snapshot: Some(maintenance::snapshot(saved)) })
        };
        self.0.answer(request, work).await
    }

    async fn list_snapshots(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Result<Response<ListSnapshotsResponse>, Status> {
        let work = |engine: Arc<Engine>, request: ListSnapshotsRequest, _, _| async move {
            let saved = engine.saved_snapshots(request.collection).await?;
            let snapshots = saved.into_iter().map(maintenance::snapshot).collect();
            Ok(ListSnapshotsResponse { snapshots })
        };
        self.0.answer(request, work).await
    }

    async fn delete_snapshot(
        &self,
        request: Request<DeleteSnapshotRequest>,
    ) -> Result<Response<DeleteSnapshotResponse>, Status> {
        let work = |engine: Arc<Engine>, request: DeleteSnapshotRequest, _, _| async move {
            engine.delete_snapshot(request.collection, request.name).await?;
            Ok(DeleteSnapshotResponse {})
        };
        self.0.answer(request, work).await
    }

    async fn restore_snapshot(
        &self,
        request: Request<RestoreSnapshotRequest>,
    ) -> Result<Response<RestoreSnapshotResponse>, Status> {
        let work = |engine: Arc<Engine>, request: RestoreSnapshotRequest, _, _| async move {
            let RestoreSnapshotRequest { collection, name, target } = request;
            let restored = engine.restore_snapshot(collection, name, target).await?;
            Ok(RestoreSnapshotResponse { collection: Some(collection::view(restored)) })
        };
        self.0.answer(request, work).await
    }
}
