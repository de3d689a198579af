//! `SearchService`: documents are found and read.

use std::sync::Arc;

use prost::Message;
use tonic::{Request, Response, Status, Streaming, async_trait};
use twn_protos::v1::{
    CountRequest, CountResponse, GetRequest, GetResponse, ListRequest, ListResponse, SearchError,
    SearchRequest, SearchResponse, SearchStreamRequest, SearchStreamResponse,
    search_service_server::SearchService, search_stream_response,
};
use twn_service::{Call, Engine, ServiceError};

use crate::{
    convert::{
        document, explanation, filter,
        mask::Mask,
        page::{self, Listing},
        required, search, usage,
    },
    rpc::{
        context::{CallContext, Notes},
        duplex::{Answers, Duplex},
        host::Host,
        multiplex::{self, Exchange},
    },
    status,
};

/// Documents of a page that are read from the index at once, which bounds what a page
/// of large documents holds in memory.
const PAGE_CHUNK: usize = 128;

/// Answers `SearchService`.
pub(crate) struct SearchRpc(pub(crate) Arc<Host>);

#[async_trait]
impl SearchService for SearchRpc {
    async fn search(
        &self,
        request: Request<SearchRequest>,
    ) -> Result<Response<SearchResponse>, Status> {
        let work = |engine: Arc<Engine>, request, call: Call, context: CallContext| async move {
            answer(&engine, request, &call, &context.notes).await
        };
        self.0.answer(request, work).await
    }

    type SearchStreamStream = Answers<SearchStreamResponse>;

    async fn search_stream(
        &self,
        request: Request<Streaming<SearchStreamRequest>>,
    ) -> Result<Response<Self::SearchStreamStream>, Status> {
        let context = CallContext::of(&request);
        let exchange = Searches { host: Arc::clone(&self.0), notes: Arc::clone(&context.notes) };
        let inbound = request.into_inner();
        let answers =
            Duplex::open(&self.0, context, |duplex| multiplex::run(duplex, inbound, exchange));
        Ok(Response::new(answers))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let work = |engine: Arc<Engine>, request: GetRequest, call: Call, _| async move {
            let mask = Mask::read(request.mask)?;
            let found = engine.get(&request.collection, request.ids, &call).await?;
            let documents = found.documents.into_iter().map(|d| document::stored(d, &mask));
            Ok(GetResponse { documents: documents.collect(), missing_ids: found.missing })
        };
        self.0.answer(request, work).await
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let max_bytes = self.0.max_answer_bytes();
        let work = move |engine: Arc<Engine>, request, call: Call, _| async move {
            list(&engine, request, &call, max_bytes).await
        };
        self.0.answer(request, work).await
    }

    async fn count(
        &self,
        request: Request<CountRequest>,
    ) -> Result<Response<CountResponse>, Status> {
        let work = |engine: Arc<Engine>, request: CountRequest, call: Call, _| async move {
            let filter = filter::optional(request.filter)?;
            let count = engine.count(&request.collection, filter, &call).await?;
            Ok(CountResponse { count })
        };
        self.0.answer(request, work).await
    }
}

async fn answer(
    engine: &Engine,
    request: SearchRequest,
    call: &Call,
    notes: &Notes,
) -> Result<SearchResponse, ServiceError> {
    let (request, mask) = search::request(request)?;
    let found = engine.search(request, call).await?;
    notes.embedded(&found.usage);
    if let Some(explanation) = &found.explanation {
        notes.explained(explanation.cost.reasoning_tokens);
    }
    Ok(SearchResponse {
        hits: found.hits.into_iter().map(|hit| document::hit(hit, &mask)).collect(),
        usage: Some(usage::usage(found.usage, found.thought)),
        timings: Some(usage::timings(&found.timings)),
        plan: Some(search::plan(&found.plan)),
        explanation: found.explanation.map(explanation::search),
    })
}

/// Reads one page: as many documents as were asked for and fit into one message.
async fn list(
    engine: &Engine,
    request: ListRequest,
    call: &Call,
    max_bytes: usize,
) -> Result<ListResponse, ServiceError> {
    let limit = page::size(request.page_size, engine.limits().max_page_size)?;
    let filter_bytes = request.filter.as_ref().map(Message::encode_to_vec).unwrap_or_default();
    let listing = Listing::new("List", &[request.collection.as_bytes(), &filter_bytes]);
    let mut after = listing.read(&request.page_token)?;
    let filter = filter::optional(request.filter)?;
    let mask = Mask::read(request.mask)?;

    let chunk_limit = PAGE_CHUNK.min(engine.limits().max_page_size);
    let mut page = ListResponse::default();
    let mut bytes = 0;
    loop {
        // One more than the page has room for tells whether another page follows.
        let wanted = (limit + 1 - page.documents.len()).min(chunk_limit);
        let chunk =
            engine.list(&request.collection, after.clone(), wanted, filter.clone(), call).await?;
        let is_exhausted = chunk.len() < wanted;
        for stored in chunk {
            let message = document::stored(stored, &mask);
            bytes += message.encoded_len();
            let is_full = page.documents.len() == limit || bytes > max_bytes;
            if is_full && let Some(last) = page.documents.last() {
                page.next_page_token = listing.token_after(&last.id);
                return Ok(page);
            }
            after = Some(message.id.clone());
            page.documents.push(message);
        }
        if is_exhausted {
            return Ok(page);
        }
    }
}

/// The searches of one stream.
struct Searches {
    host: Arc<Host>,
    notes: Arc<Notes>,
}

impl Exchange for Searches {
    type Request = SearchStreamRequest;
    type Response = SearchStreamResponse;
    type Answer = SearchResponse;

    fn tag(request: &SearchStreamRequest) -> u64 {
        request.tag
    }

    async fn work(
        &self,
        engine: Arc<Engine>,
        request: SearchStreamRequest,
        call: Call,
    ) -> Result<SearchResponse, ServiceError> {
        let request = required(request.request, "request")?;
        let response = answer(&engine, request, &call, &self.notes).await?;
        self.host.check_size(&response)?;
        Ok(response)
    }

    fn wrap(
        tag: u64,
        outcome: Result<SearchResponse, (ServiceError, String)>,
    ) -> SearchStreamResponse {
        let result = match outcome {
            Ok(response) => search_stream_response::Result::Response(response),
            Err((error, message)) => {
                let code = status::code(&error).into();
                let reason = status::reason(&error).to_owned();
                search_stream_response::Result::Error(SearchError { code, message, reason })
            }
        };
        SearchStreamResponse { tag, result: Some(result) }
    }
}
