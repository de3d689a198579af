//! `IngestService`: documents are written and deleted.

use std::{sync::Arc, time::Instant};

use tonic::{Request, Response, Status, Streaming, async_trait};
use twn_protos::v1::{
    DeleteRequest, DeleteResponse, IngestRequest, IngestResponse, UpsertRequest, UpsertResponse,
    ingest_service_server::IngestService,
};
use twn_service::{Call, Engine, ServiceError, Timings};

use crate::{
    convert::{count32, document, usage, write},
    rpc::{
        context::{CallContext, Notes},
        duplex::{Answers, Duplex},
        host::Host,
        ingest_stream,
    },
};

/// Answers `IngestService`.
pub(crate) struct IngestRpc(pub(crate) Arc<Host>);

#[async_trait]
impl IngestService for IngestRpc {
    type IngestStream = Answers<IngestResponse>;

    async fn ingest(
        &self,
        request: Request<Streaming<IngestRequest>>,
    ) -> Result<Response<Self::IngestStream>, Status> {
        let context = CallContext::of(&request);
        let inbound = request.into_inner();
        let answers = Duplex::open(&self.0, context, |duplex| ingest_stream::run(duplex, inbound));
        Ok(Response::new(answers))
    }

    async fn upsert(
        &self,
        request: Request<UpsertRequest>,
    ) -> Result<Response<UpsertResponse>, Status> {
        let work = |engine, request, call: Call, context: CallContext| async move {
            upsert(&engine, request, &call, &context.notes).await
        };
        self.0.answer(request, work).await
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        let work = |engine: Arc<Engine>, request: DeleteRequest, call: Call, _| async move {
            let arrived = Instant::now();
            let deleted = engine.delete(&request.collection, request.ids, &call).await?;
            let total = arrived.elapsed();
            let timings = Timings { total, write: total, ..Timings::default() };
            let timings = Some(usage::timings(&timings));
            Ok(DeleteResponse { deleted: count32(deleted), timings })
        };
        self.0.answer(request, work).await
    }
}

async fn upsert(
    engine: &Arc<Engine>,
    request: UpsertRequest,
    call: &Call,
    notes: &Notes,
) -> Result<UpsertResponse, ServiceError> {
    let arrived = Instant::now();
    let UpsertRequest { collection, documents, reasoning, durability, instruction } = request;
    let options = write::unary_options(collection, reasoning, durability, instruction)?;
    let mut inputs = Vec::with_capacity(documents.len());
    for (i, message) in documents.into_iter().enumerate() {
        inputs.push(document::input(message, &format!("documents[{i}]"))?);
    }

    let written = engine.upsert(inputs, options, call).await?;
    let mut timings = Timings::default();
    for document in &written {
        notes.embedded(&document.usage);
        usage::add_stages(&mut timings, &document.timings);
    }
    timings.total = arrived.elapsed();
    // All of them were written in one step, which each of them reports.
    timings.write = written.iter().map(|document| document.timings.write).max().unwrap_or_default();
    let results = written.into_iter().map(write::result).collect();
    Ok(UpsertResponse { results, timings: Some(usage::timings(&timings)) })
}
