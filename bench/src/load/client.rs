//! Connections to the server, one request, and what became of it.

use std::time::{Duration, Instant};

use anyhow::Context;
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use twn_protos::v1::{
    self, info_service_client::InfoServiceClient, search_request::Query,
    search_service_client::SearchServiceClient,
};

use super::options::Options;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A thousand hits with their text can be larger than tonic's default of 4 MiB.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Sends searches over a fixed set of connections.
pub(crate) struct Client {
    connections: Vec<Channel>,
    template: v1::SearchRequest,
    deadline: Duration,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Answered; the embedding was made from the prompt alone.
    Direct,
    /// Answered after a thought.
    Reasoned {
        /// Tokens of the thought.
        tokens: u32,
    },
    /// The server or the connection failed it.
    Failed {
        /// A gRPC code's name, or `INVALID_ANSWER`.
        code: &'static str,
    },
    /// Sent, but not answered when the run ended.
    Unfinished,
    /// Due, but never sent: too many were in flight until the run ended.
    Dropped,
}

impl Client {
    /// Opens every connection.
    pub(crate) async fn connect(options: &Options) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(options.address.clone())
            .with_context(|| format!("address {:?}", options.address))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true);
        let mut connections = Vec::with_capacity(options.connections);
        for _ in 0..options.connections {
            let connection = endpoint.connect().await.with_context(|| {
                format!("cannot connect to {}: is the server running?", options.address)
            })?;
            connections.push(connection);
        }
        let template = options.template.clone();
        Ok(Self { connections, template, deadline: options.deadline })
    }

    /// Asks the server what it is.
    pub(crate) async fn server_info(&self) -> anyhow::Result<v1::GetServerInfoResponse> {
        let mut client = InfoServiceClient::new(self.connections[0].clone());
        let mut request = Request::new(v1::GetServerInfoRequest {});
        request.set_timeout(CONNECT_TIMEOUT);
        Ok(client.get_server_info(request).await?.into_inner())
    }

    /// Searches for `query` over the connection whose turn it is.
    pub(crate) async fn search(&self, turn: usize, query: &str) -> Outcome {
        let connection = self.connections[turn % self.connections.len()].clone();
        let mut client =
            SearchServiceClient::new(connection).max_decoding_message_size(MAX_ANSWER_BYTES);
        let part = v1::Part { kind: Some(v1::part::Kind::Text(query.to_owned())) };
        let mut request = Request::new(v1::SearchRequest {
            query: Some(Query::Content(v1::Content { parts: vec![part] })),
            ..self.template.clone()
        });
        request.set_timeout(self.deadline);

        let sent = Instant::now();
        match client.search(request).await {
            Ok(response) => outcome_of(&response.into_inner()),
            Err(status) => {
                Outcome::Failed { code: code_of(&status, sent.elapsed() >= self.deadline) }
            }
        }
    }
}

fn outcome_of(response: &v1::SearchResponse) -> Outcome {
    let usage = response.usage.clone().unwrap_or_default();
    match usage.route() {
        v1::Route::Direct => Outcome::Direct,
        v1::Route::Reasoned => Outcome::Reasoned { tokens: usage.reasoning_tokens },
        // A search by content always has a route; without one the answer tells nothing.
        v1::Route::Unspecified | v1::Route::None => Outcome::Failed { code: "INVALID_ANSWER" },
    }
}

/// The code's name in the protocol. The client's own timer may fire before the server's
/// answer arrives and calls it a cancellation; it is the same deadline.
fn code_of(status: &Status, deadline_passed: bool) -> &'static str {
    match status.code() {
        Code::Cancelled if deadline_passed => "DEADLINE_EXCEEDED",
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_route_is_a_failure() {
        let with_route = |route: v1::Route| v1::SearchResponse {
            usage: Some(v1::Usage {
                route: route.into(),
                reasoning_tokens: 7,
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(outcome_of(&with_route(v1::Route::Direct)), Outcome::Direct);
        assert_eq!(outcome_of(&with_route(v1::Route::Reasoned)), Outcome::Reasoned { tokens: 7 });
        let failed = Outcome::Failed { code: "INVALID_ANSWER" };
        assert_eq!(outcome_of(&with_route(v1::Route::None)), failed);
        assert_eq!(outcome_of(&v1::SearchResponse::default()), failed);
    }

    #[test]
    fn a_timer_of_either_side_is_a_deadline() {
        let cancelled = Status::cancelled("Timeout expired");
        assert_eq!(code_of(&cancelled, true), "DEADLINE_EXCEEDED");
        assert_eq!(code_of(&cancelled, false), "CANCELLED");
        assert_eq!(code_of(&Status::deadline_exceeded(""), false), "DEADLINE_EXCEEDED");
    }
}
