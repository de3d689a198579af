//! Streams of independent requests: many at once, answered as they finish.

use std::{future::Future, sync::Arc};

use tokio::task::JoinSet;
use tonic::Streaming;
use twn_service::{Call, Engine, ServiceError};

use crate::rpc::{
    duplex::{Duplex, End},
    panics::{Contained, Panicked},
};

/// Requests of one stream that are worked on at once; then the server stops reading.
const WIDTH: usize = 32;

/// How the requests of one kind of stream are answered.
pub(crate) trait Exchange: Send + Sync + 'static {
    /// What the client sends.
    type Request: Send + 'static;
    /// What it gets for each.
    type Response: Send + 'static;
    /// What a request that succeeded leads to.
    type Answer: Send + 'static;

    /// The client's number for a request.
    fn tag(request: &Self::Request) -> u64;

    /// Works on one request.
    fn work(
        &self,
        engine: Arc<Engine>,
        request: Self::Request,
        call: Call,
    ) -> impl Future<Output = Result<Self::Answer, ServiceError>> + Send;

    /// Wraps what came of it. `message` is what the client is told of an error.
    fn wrap(tag: u64, outcome: Result<Self::Answer, (ServiceError, String)>) -> Self::Response;
}

type Outcome<X> = (u64, Result<<X as Exchange>::Answer, ServiceError>);

/// Answers requests until the client sends no more. A request that fails does not end
/// the stream; a server that stops finishes what it has read.
pub(crate) async fn run<X: Exchange>(
    duplex: Duplex<X::Response>,
    mut inbound: Streaming<X::Request>,
    exchange: X,
) -> Result<(), End> {
    let engine = Arc::clone(duplex.host.engine()?);
    let draining = duplex.host.draining.clone();
    let exchange = Arc::new(exchange);
    let mut tasks: JoinSet<Outcome<X>> = JoinSet::new();
    let mut ending: Option<Result<(), End>> = None;

    loop {
        let is_reading = ending.is_none() && tasks.len() < WIDTH;
        tokio::select! {
            Some(done) = tasks.join_next() => {
                let (tag, outcome) = done.map_err(|error| {
                    End::Refused(ServiceError::Internal { problem: error.to_string() })
                })?;
                let outcome = outcome.map_err(|error| {
                    let message = duplex.item_message(&error);
                    (error, message)
                });
                duplex.send(X::wrap(tag, outcome)).await?;
            }
            message = inbound.message(), if is_reading => match message {
                Ok(Some(request)) => {
                    let (engine, exchange) = (Arc::clone(&engine), Arc::clone(&exchange));
                    let (call, guard) = duplex.item_call();
                    tasks.spawn(async move {
                        let _guard = guard;
                        let tag = X::tag(&request);
                        let work = Contained::new(exchange.work(engine, request, call));
                        let panicked = |Panicked| {
                            Err(ServiceError::Internal { problem: "request panicked".into() })
                        };
                        (tag, work.await.unwrap_or_else(panicked))
                    });
                }
                Ok(None) => ending = Some(Ok(())),
                Err(status) => ending = Some(Err(End::Broken(status))),
            },
            () = draining.cancelled(), if ending.is_none() => ending = Some(Err(End::stopping())),
            else => return ending.unwrap_or(Ok(())),
        }
    }
}
