//! One line of log for each call, written when its answer is complete or its caller
//! has gone away.

use std::{sync::Arc, time::Instant};

use http::HeaderMap;
use tonic::Code;

use crate::rpc::context::{CallContext, Notes};

const OWN_PACKAGE: &str = "twn.v1.";
const MAX_UNKNOWN_BYTES: usize = 128;

/// Writes its line on drop.
#[derive(Debug)]
pub(crate) struct AccessLog {
    rpc: String,
    request_id: Arc<str>,
    notes: Arc<Notes>,
    opened: Instant,
    /// Not known until the answer's headers or trailers have passed by.
    code: Option<Code>,
}

impl AccessLog {
    /// Starts the clock of a call to `path`.
    pub(crate) fn open(path: &str, context: &CallContext) -> Self {
        let name = path.strip_prefix('/').unwrap_or(path);
        Self {
            rpc: name.chars().take(MAX_UNKNOWN_BYTES).collect(),
            request_id: Arc::clone(&context.request_id),
            notes: Arc::clone(&context.notes),
            opened: Instant::now(),
            code: None,
        }
    }

    /// Takes the status from headers or trailers that have one.
    pub(crate) fn see(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            self.code = Some(Code::from_bytes(status.as_bytes()));
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        let code = self.code.unwrap_or(Code::Cancelled);
        let ms = self.opened.elapsed().as_secs_f64() * 1_000.0;
        let Self { rpc, request_id, notes, .. } = self;
        match rpc.strip_prefix(OWN_PACKAGE) {
            Some(rpc) => tracing::info!(
                target: "twn::access",
                rpc,
                ?code,
                ms,
                %request_id,
                route = notes.route(),
                items = notes.items(),
                reasoning_tokens = notes.reasoning_tokens(),
            ),
            // Health checks and reflection would fill the log.
            None => tracing::debug!(target: "twn::access", rpc, ?code, ms, %request_id),
        }
    }
}
