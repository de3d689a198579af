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
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, body::Body, codegen::Service};
use twn_service::ServiceError;

use crate::{
    linger::Linger,
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
    max_wait: Duration,
    draining: CancellationToken,
    linger: Option<Arc<Linger>>,
}

impl<S> Access<S> {
    /// Wraps services. At most `calls` run at once, over all connections; health checks
    /// are not counted. A call waits for the start of its answer for `max_wait` at most,
    /// also for a message that its client is slow to send. Foreign streams end when
    /// `draining` begins. `linger` hears of the calls of our own services.
    pub(crate) fn new(
        inner: S,
        calls: usize,
        max_wait: Duration,
        draining: CancellationToken,
        linger: Option<Arc<Linger>>,
    ) -> Self {
        Self { inner, places: Arc::new(Semaphore::new(calls)), max_wait, draining, linger }
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
        // Health is watched for as long as a client likes.
        let open = self.linger.as_ref().filter(|_| is_own).map(Linger::open);

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

        let longest = Instant::now() + self.max_wait;
        let give_up = context.deadline().map_or(longest, |deadline| deadline.min(longest));
        request.extensions_mut().insert(context.clone());
        let mut inner = self.inner.clone();
        std::mem::swap(&mut inner, &mut self.inner);
        Box::pin(async move {
            let response = match refusal {
                Some(error) => refused(&error, &context),
                None => answer(inner, request, &context, give_up).await,
            };
            let response = if is_own { adopted(response, &context) } else { response };
            Ok(finish(response, &context, |body| AnswerBody::new(body, log, ending, (place, open))))
        })
    }
}

/// Lets the services answer until it is time to give up. Handlers know their deadline
/// too and tell what they were at, so this timer gives them a moment's precedence.
async fn answer<S>(
    mut inner: S,
    request: Request<Body>,
    context: &CallContext,
    give_up: Instant,
) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let answered = Contained::new(async move { inner.call(request).await });
    let late = tokio::time::sleep_until((give_up + TIMER_TICK).into());
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

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::StatusExt;

    /// What the service under the layer does.
    #[derive(Debug, Clone, Copy)]
    enum Behaviour {
        Answer,
        Panic,
        Stall,
    }

    impl Service<Request<Body>> for Behaviour {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            let behaviour = *self;
            Box::pin(async move {
                match behaviour {
                    Self::Answer => Ok(Status::ok("").into_http()),
                    Self::Panic => panic!("a secret"),
                    Self::Stall => std::future::pending().await,
                }
            })
        }
    }

    async fn status(behaviour: Behaviour, calls: usize, path: &str) -> Status {
        let max_wait = Duration::from_millis(20);
        let mut access = Access::new(behaviour, calls, max_wait, CancellationToken::new(), None);
        let request = Request::post(path).body(Body::empty()).unwrap();
        let response = access.call(request).await.unwrap();
        assert_eq!(response.headers()[REQUEST_ID_HEADER].len(), 16);
        Status::from_header_map(response.headers()).unwrap()
    }

    #[tokio::test]
    async fn panic_is_internal_and_says_nothing() {
        let status = status(Behaviour::Panic, 1, "/twn.v1.SearchService/Search").await;
        assert_eq!(status.code(), Code::Internal);
        assert!(!format!("{status:?}").contains("secret"), "{status:?}");
        assert!(status.get_error_details().request_info().is_some());
    }

    #[tokio::test]
    async fn message_that_never_comes_is_not_waited_for() {
        let status = status(Behaviour::Stall, 1, "/twn.v1.SearchService/Search").await;
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn full_house_refuses_calls_but_not_health_checks() {
        let refused = status(Behaviour::Answer, 0, "/twn.v1.SearchService/Search").await;
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.get_error_details().retry_info().is_some());
        let health = status(Behaviour::Answer, 0, "/grpc.health.v1.Health/Check").await;
        assert_eq!(health.code(), Code::Ok);
    }
}
