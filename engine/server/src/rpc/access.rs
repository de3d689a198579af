//! The outermost layer of every call: request id, deadline, overload, panics, and one
//! line of log.
//!
//! Works on HTTP, below the services, so that it also sees calls that never reach a
//! handler: unknown methods, messages that do not decode, bodies that never arrive.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, Response};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, body::Body, codegen::Service};
use twn_service::ServiceError;

use crate::{
    rpc::{
        access_log::AccessLog,
        answer_body::AnswerBody,
        context::{CallContext, REQUEST_ID_HEADER},
        deadline::{self, TIMER_TICK},
        panics::{Contained, Panicked},
    },
    status,
};

const HEALTH_PREFIX: &str = "/grpc.health.v1.Health/";
const OWN_PREFIX: &str = "/twn.v1.";
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The layer around the services `S`.
#[derive(Debug, Clone)]
pub(crate) struct Access<S> {
    inner: S,
    places: Arc<Semaphore>,
    draining: CancellationToken,
}

impl<S> Access<S> {
    /// Wraps services. At most `calls` run at once, over all connections; health checks
    /// are not counted. Foreign streams end when `draining` begins.
    pub(crate) fn new(inner: S, calls: usize, draining: CancellationToken) -> Self {
        Self { inner, places: Arc::new(Semaphore::new(calls)), draining }
    }
}

impl<S> Service<Request<Body>> for Access<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let is_health = path.starts_with(HEALTH_PREFIX);
        let is_own = path.starts_with(OWN_PREFIX);
        let ending = (!is_own).then(|| self.draining.clone());
        let timeout = deadline::timeout(request.headers());

        let patience = timeout.as_ref().ok().copied().flatten().map(deadline::ours);
        let context = CallContext::new(request.headers(), patience);
        let log = AccessLog::open(path, &context);

        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        let refusal = match timeout {
            Err(problem) => Some(ServiceError::invalid("grpc-timeout", problem)),
            Ok(_) if patience.is_some_and(|patience| patience < TIMER_TICK) => {
                Some(ServiceError::DeadlineExceeded { stage: "arriving" })
            }
            Ok(_) if place.is_none() && !is_health => {
                let what = "the table of calls";
                Some(ServiceError::Overloaded { what, retry_after: RETRY_AFTER })
            }
            Ok(_) => None,
        };

        request.extensions_mut().insert(context.clone());
        let mut inner = self.inner.clone();
        std::mem::swap(&mut inner, &mut self.inner);
        Box::pin(async move {
            let response = match refusal {
                Some(error) => refused(&error, &context),
                None => answer(inner, request, &context).await,
            };
            let response = if is_own { adopted(response, &context) } else { response };
            Ok(finish(response, &context, |body| AnswerBody::new(body, log, ending, place)))
        })
    }
}

/// Lets the services answer, until the deadline. Handlers know the deadline too and
/// tell what they were at, so this timer gives them a moment's precedence.
async fn answer<S>(mut inner: S, request: Request<Body>, context: &CallContext) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let answered = Contained::new(async move { inner.call(request).await });
    let late = async {
        match context.deadline() {
            Some(deadline) => tokio::time::sleep_until((deadline + TIMER_TICK).into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        answered = answered => match answered {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(Panicked) => {
                let problem = "handler panicked".to_owned();
                refused(&ServiceError::Internal { problem }, context)
            }
        },
        () = late => refused(&ServiceError::DeadlineExceeded { stage: "answering" }, context),
    }
}

fn refused(error: &ServiceError, context: &CallContext) -> Response<Body> {
    status::status(error, &context.request_id).into_http()
}

/// Gives the transport's refusals our codes and details; see [`status::adopted`].
fn adopted(response: Response<Body>, context: &CallContext) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok => {
            status::adopted(status, &context.request_id).into_http()
        }
        _ => response,
    }
}

/// Echoes the request's id and hands the body over to the log.
fn finish(
    response: Response<Body>,
    context: &CallContext,
    wrap: impl FnOnce(Body) -> AnswerBody,
) -> Response<AnswerBody> {
    let (mut parts, body) = response.into_parts();
    if let Ok(id) = HeaderValue::from_str(&context.request_id) {
        parts.headers.insert(REQUEST_ID_HEADER, id);
    }
    let mut body = wrap(body);
    body.see(&parts.headers);
    Response::from_parts(parts, body)
}
