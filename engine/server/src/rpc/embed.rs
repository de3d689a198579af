//! `EmbedService`: content becomes vectors, and nothing is stored.

use std::{sync::Arc, time::Instant};

use tokio::task::JoinSet;
use tonic::{Request, Response, Status, Streaming, async_trait};
use twn_protos::v1::{
    EmbedError, EmbedRequest, EmbedResponse, EmbedStreamRequest, EmbedStreamResponse, Embedding,
    embed_service_server::EmbedService, embed_stream_response,
};
use twn_service::{Call, EmbedKind, Engine, PolicyRequest, ServiceError, Timings};

use crate::{
    convert::{content::content, explanation, nonempty, policy, required, usage},
    rpc::{
        context::{CallContext, Notes},
        duplex::{Answers, Duplex},
        host::Host,
        multiplex::{self, Exchange},
    },
    status,
};

/// Answers `EmbedService`.
pub(crate) struct EmbedRpc(pub(crate) Arc<Host>);

#[async_trait]
impl EmbedService for EmbedRpc {
    async fn embed(
        &self,
        request: Request<EmbedRequest>,
    ) -> Result<Response<EmbedResponse>, Status> {
        let work = |engine, request, call: Call, context: CallContext| async move {
            embed(engine, request, call, context.notes).await
        };
        self.0.answer(request, work).await
    }

    type EmbedStreamStream = Answers<EmbedStreamResponse>;

    async fn embed_stream(
        &self,
        request: Request<Streaming<EmbedStreamRequest>>,
    ) -> Result<Response<Self::EmbedStreamStream>, Status> {
        let context = CallContext::of(&request);
        let exchange = Embeddings { notes: Arc::clone(&context.notes) };
        let inbound = request.into_inner();
        let answers =
            Duplex::open(&self.0, context, |duplex| multiplex::run(duplex, inbound, exchange));
        Ok(Response::new(answers))
    }
}

/// How the inputs of one request are embedded.
struct Task {
    instruction: Option<String>,
    policy: PolicyRequest,
    kind: EmbedKind,
    explain: bool,
}

/// Embeds all inputs at once, so that they share the model's batches.
async fn embed(
    engine: Arc<Engine>,
    request: EmbedRequest,
    call: Call,
    notes: Arc<Notes>,
) -> Result<EmbedResponse, ServiceError> {
    let arrived = Instant::now();
    let (inputs, max) = (request.inputs.len(), engine.limits().max_embed_inputs);
    if !(1..=max).contains(&inputs) {
        return Err(ServiceError::invalid("inputs", format!("{inputs} is outside 1 to {max}")));
    }
    let task = Arc::new(Task {
        instruction: nonempty(request.instruction),
        policy: policy::policy(request.reasoning)?,
        kind: policy::embed_kind(request.kind)?,
        explain: request.explain,
    });
    let mut contents = Vec::with_capacity(inputs);
    for (i, input) in request.inputs.into_iter().enumerate() {
        contents.push(content(input, &format!("inputs[{i}]"))?);
    }

    let mut tasks = JoinSet::new();
    for (i, content) in contents.into_iter().enumerate() {
        let (engine, task, call) = (Arc::clone(&engine), Arc::clone(&task), call.clone());
        let notes = Arc::clone(&notes);
        tasks.spawn(async move {
            let field = format!("inputs[{i}]");
            (i, embed_one(&engine, content, &task, field, &call, &notes).await)
        });
    }
    let mut embedded = tasks.join_all().await;
    embedded.sort_by_key(|(i, _)| *i);
    let embeddings = embedded.into_iter().map(|(_, embedding)| embedding);
    let embeddings = embeddings.collect::<Result<_, _>>()?;
    let timings = Timings { total: arrived.elapsed(), ..Timings::default() };
    Ok(EmbedResponse { embeddings, timings: Some(usage::timings(&timings)) })
}

async fn embed_one(
    engine: &Engine,
    content: twn_service::Content,
    task: &Task,
    field: String,
    call: &Call,
    notes: &Notes,
) -> Result<Embedding, ServiceError> {
    let request = twn_service::EmbedRequest {
        content,
        instruction: task.instruction.clone(),
        kind: task.kind,
        policy: task.policy,
        explain: task.explain,
        field,
    };
    let (encoded, timings) = engine.embed(request, call).await?;
    notes.embedded(&encoded.usage);
    if let Some(explanation) = &encoded.explanation {
        notes.explained(explanation.cost.reasoning_tokens);
    }
    Ok(Embedding {
        values: encoded.embedding,
        usage: Some(usage::usage(encoded.usage, encoded.thought)),
        timings: Some(usage::timings(&timings)),
        explanation: encoded.explanation.map(|both| explanation::embedding(*both)),
    })
}

/// The inputs of one stream.
struct Embeddings {
    notes: Arc<Notes>,
}

impl Exchange for Embeddings {
    type Request = EmbedStreamRequest;
    type Response = EmbedStreamResponse;
    type Answer = Embedding;

    fn tag(request: &EmbedStreamRequest) -> u64 {
        request.tag
    }

    async fn work(
        &self,
        engine: Arc<Engine>,
        request: EmbedStreamRequest,
        call: Call,
    ) -> Result<Embedding, ServiceError> {
        let task = Task {
            instruction: nonempty(request.instruction),
            policy: policy::policy(request.reasoning)?,
            kind: policy::embed_kind(request.kind)?,
            explain: request.explain,
        };
        let input = content(required(request.input, "input")?, "input")?;
        embed_one(&engine, input, &task, "input".to_owned(), &call, &self.notes).await
    }

    fn wrap(tag: u64, outcome: Result<Embedding, (ServiceError, String)>) -> EmbedStreamResponse {
        let result = match outcome {
            Ok(embedding) => embed_stream_response::Result::Embedding(embedding),
            Err((error, message)) => {
                let code = status::code(&error).into();
                let reason = status::reason(&error).to_owned();
                embed_stream_response::Result::Error(EmbedError { code, message, reason })
            }
        };
        EmbedStreamResponse { tag, result: Some(result) }
    }
}
