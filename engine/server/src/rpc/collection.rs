//! `CollectionService`: collections come and go.

use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait};
use twn_protos::v1::{
    CreateCollectionRequest, CreateCollectionResponse, DeleteCollectionRequest,
    DeleteCollectionResponse, GetCollectionRequest, GetCollectionResponse, ListCollectionsRequest,
    ListCollectionsResponse, SealCollectionRequest, SealCollectionResponse,
    collection_service_server::CollectionService,
};
use twn_service::{Engine, ServiceError};

use crate::{
    convert::{
        collection,
        page::{self, Listing},
    },
    rpc::host::Host,
};

/// Answers `CollectionService`.
pub(crate) struct CollectionRpc(pub(crate) Arc<Host>);

#[async_trait]
impl CollectionService for CollectionRpc {
    async fn create_collection(
        &self,
        request: Request<CreateCollectionRequest>,
    ) -> Result<Response<CreateCollectionResponse>, Status> {
        let work = |engine: Arc<Engine>, request: CreateCollectionRequest, _, _| async move {
            let wanted = collection::create(request.config)?;
            let created = engine.create_collection(wanted).await?;
            Ok(CreateCollectionResponse { collection: Some(collection::view(created)) })
        };
        self.0.answer(request, work).await
    }

    async fn get_collection(
        &self,
        request: Request<GetCollectionRequest>,
    ) -> Result<Response<GetCollectionResponse>, Status> {
        let work = |engine: Arc<Engine>, request: GetCollectionRequest, _, _| async move {
            let found = engine.collection(&request.name)?;
            Ok(GetCollectionResponse { collection: Some(collection::view(found)) })
        };
        self.0.answer(request, work).await
    }

    async fn list_collections(
        &self,
        request: Request<ListCollectionsRequest>,
    ) -> Result<Response<ListCollectionsResponse>, Status> {
        let work = |engine: Arc<Engine>, request: ListCollectionsRequest, _, _| async move {
            list(&engine, &request)
        };
        self.0.answer(request, work).await
    }

    async fn delete_collection(
        &self,
        request: Request<DeleteCollectionRequest>,
    ) -> Result<Response<DeleteCollectionResponse>, Status> {
        let work = |engine: Arc<Engine>, request: DeleteCollectionRequest, _, _| async move {
            engine.delete_collection(request.name).await?;
            Ok(DeleteCollectionResponse {})
        };
        self.0.answer(request, work).await
    }

    async fn seal_collection(
        &self,
        request: Request<SealCollectionRequest>,
    ) -> Result<Response<SealCollectionResponse>, Status> {
        let work = |engine: Arc<Engine>, request: SealCollectionRequest, _, _| async move {
            let sealed = engine.seal_collection(request.name).await?;
            Ok(SealCollectionResponse { collection: Some(collection::view(sealed)) })
        };
        self.0.answer(request, work).await
    }
}

fn list(
    engine: &Engine,
    request: &ListCollectionsRequest,
) -> Result<ListCollectionsResponse, ServiceError> {
    let limit = page::size(request.page_size, engine.limits().max_page_size)?;
    let listing = Listing::new("ListCollections", &[]);
    let after = listing.read(&request.page_token)?.unwrap_or_default();

    let mut found = engine.list_collections(&after, limit + 1);
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next_page_token = match found.last() {
        Some(last) if has_more => listing.token_after(&last.name),
        _ => String::new(),
    };
    let collections = found.into_iter().map(collection::view).collect();
    Ok(ListCollectionsResponse { collections, next_page_token })
}
