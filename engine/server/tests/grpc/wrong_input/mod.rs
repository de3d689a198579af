//! Everything a client can get wrong in one call, with its code, message and details.

mod search;
mod transport;
mod write;

use tonic::{Code, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::support::TestServer;

/// A wrong call and what has to come of it.
struct Case<'a> {
    name: &'a str,
    status: Status,
    code: Code,
    message: &'a str,
    /// The field in `BadRequest`; empty when the fault is not in one.
    field: &'a str,
    reason: &'a str,
}

impl Case<'_> {
    #[track_caller]
    fn check(self) {
        let Self { name, status, code, message, field, reason } = self;
        assert_eq!((status.code(), status.message()), (code, message), "{name}");
        let details: ErrorDetails = status.get_error_details();
        let info = details.error_info().unwrap_or_else(|| panic!("{name}: no ErrorInfo"));
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "twn"), "{name}");
        assert!(!details.request_info().unwrap().request_id.is_empty(), "{name}");
        let violations = details.bad_request().map(|bad| &bad.field_violations[..]);
        let fields: Vec<_> = violations.unwrap_or_default().iter().map(|v| &v.field[..]).collect();
        let want = if field.is_empty() { vec![] } else { vec![field] };
        assert_eq!(fields, want, "{name}");
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> Status {
    answer.unwrap_err()
}

/// A field that cannot be used: `field: problem`.
#[track_caller]
fn invalid<T: std::fmt::Debug>(answer: Result<Response<T>, Status>, message: &str) {
    let field = message.split(": ").next().unwrap();
    let (code, reason) = (Code::InvalidArgument, "INVALID_FIELD");
    Case { name: message, status: refused(answer), code, message, field, reason }.check();
}

async fn server() -> TestServer {
    let server = TestServer::start().await;
    server.collection("docs").await;
    server
}
