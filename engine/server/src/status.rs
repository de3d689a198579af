//! The one place where a failure becomes a gRPC status.
//!
//! Every status of ours carries `ErrorInfo` with a stable reason, and `RequestInfo`
//! with the request's id; the caller's faults carry the field, and what is worth
//! retrying carries the time to wait. Our own faults are logged here in full and told
//! to the client in general words only.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use twn_service::ServiceError;

/// The `domain` of every `ErrorInfo`.
pub(crate) const DOMAIN: &str = "twn";
/// State of a server that cannot answer yet.
pub(crate) const LOADING: &str = "loading the model";
/// State of a server that answers no more.
pub(crate) const STOPPING: &str = "shutting down";

/// Statuses travel in HTTP/2 trailers, of which clients accept a few kilobytes.
const MAX_MESSAGE_BYTES: usize = 1_024;
const RETRY_WHEN_LOADED: Duration = Duration::from_secs(1);
const RETRY_ELSEWHERE: Duration = Duration::from_secs(2);

/// Makes the status of a failed request.
pub(crate) fn status(error: &ServiceError, request_id: &str) -> Status {
    log_our_fault(error, request_id);
    let message = message(error);

    let mut details = ErrorDetails::new();
    details.set_error_info(reason(error), DOMAIN, HashMap::new());
    details.set_request_info(request_id, "");
    if let ServiceError::InvalidArgument { field, problem } = error {
        details.add_bad_request_violation(shortened(field), shortened(problem));
    }
    if let Some(delay) = retry_after(error) {
        details.set_retry_info(Some(delay));
    }
    Status::with_error_details(code(error), message, details)
}

/// Makes the status of a stream on which an item came without a credit.
pub(crate) fn overspent(request_id: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info("CREDITS_OVERSPENT", DOMAIN, HashMap::new());
    details.set_request_info(request_id, "");
    let message = "item was sent without a credit: wait for a window before sending more";
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// Takes over a status that the transport made of a message it could not read: in its
/// own words, but with a code of our documentation, a reason and the request's id.
/// A status of ours is left as it is.
pub(crate) fn adopted(status: Status, request_id: &str) -> Status {
    if status.code() == Code::Ok || !status.details().is_empty() {
        return status;
    }
    let (code, reason) = match status.code() {
        // By gRPC's convention what does not decode is INTERNAL, but it is not our fault.
        Code::Internal => (Code::InvalidArgument, "MALFORMED_MESSAGE"),
        Code::OutOfRange => (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
        Code::Unimplemented => (Code::Unimplemented, "UNKNOWN_METHOD_OR_ENCODING"),
        other => (other, "TRANSPORT"),
    };
    let message = match status.message() {
        "" => "there is no such method",
        message => message,
    };
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, HashMap::new());
    details.set_request_info(request_id, "");
    let metadata = status.metadata().clone();
    Status::with_error_details_and_metadata(code, shortened(message), details, metadata)
}

/// Logs what the client is not told.
pub(crate) fn log_our_fault(error: &ServiceError, request_id: &str) {
    if let ServiceError::Internal { .. }
    | ServiceError::DataLoss { .. }
    | ServiceError::DiskFull { .. } = error
    {
        tracing::error!(request_id, %error, "request failed");
    }
}

/// The gRPC code of a failure.
pub(crate) fn code(error: &ServiceError) -> Code {
    match error {
        ServiceError::InvalidArgument { .. } => Code::InvalidArgument,
        ServiceError::Unsupported { .. } => Code::Unimplemented,
        ServiceError::CollectionNotFound { .. } => Code::NotFound,
        ServiceError::CollectionExists { .. } => Code::AlreadyExists,
        ServiceError::FailedPrecondition { .. } => Code::FailedPrecondition,
        ServiceError::DataLoss { .. } => Code::DataLoss,
        ServiceError::DiskFull { .. } | ServiceError::Overloaded { .. } => Code::ResourceExhausted,
        ServiceError::Unavailable { .. } => Code::Unavailable,
        ServiceError::DeadlineExceeded { .. } => Code::DeadlineExceeded,
        ServiceError::Cancelled => Code::Cancelled,
        ServiceError::Internal { .. } => Code::Internal,
    }
}

/// A stable word for the cause of a failure.
pub(crate) fn reason(error: &ServiceError) -> &'static str {
    match error {
        ServiceError::InvalidArgument { .. } => "INVALID_FIELD",
        ServiceError::Unsupported { .. } => "UNSUPPORTED",
        ServiceError::CollectionNotFound { .. } => "COLLECTION_NOT_FOUND",
        ServiceError::CollectionExists { .. } => "COLLECTION_EXISTS",
        ServiceError::FailedPrecondition { .. } => "COLLECTION_STATE",
        ServiceError::DataLoss { .. } => "COLLECTION_DAMAGED",
        ServiceError::DiskFull { .. } => "DISK_FULL",
        ServiceError::Overloaded { .. } => "OVERLOADED",
        ServiceError::Unavailable { state } if *state == LOADING => "MODEL_LOADING",
        ServiceError::Unavailable { .. } => "SHUTTING_DOWN",
        ServiceError::DeadlineExceeded { .. } => "DEADLINE_EXCEEDED",
        ServiceError::Cancelled => "CANCELLED",
        ServiceError::Internal { .. } => "INTERNAL",
    }
}

/// What the client is told.
pub(crate) fn message(error: &ServiceError) -> String {
    match error {
        ServiceError::Internal { .. } => {
            "internal error: the server's log has it under this request's id".to_owned()
        }
        ServiceError::DataLoss { name, .. } => {
            shortened(&format!("collection `{name}` is damaged: the server's log has the cause"))
        }
        ServiceError::DiskFull { name, .. } => {
            shortened(&format!("collection `{name}` cannot grow, the server's disk is full"))
        }
        _ => shortened(&error.to_string()),
    }
}

fn retry_after(error: &ServiceError) -> Option<Duration> {
    match error {
        ServiceError::Overloaded { retry_after, .. } => Some(*retry_after),
        ServiceError::Unavailable { state } if *state == LOADING => Some(RETRY_WHEN_LOADED),
        ServiceError::Unavailable { .. } => Some(RETRY_ELSEWHERE),
        _ => None,
    }
}

/// Cuts text that quotes the client's own input at a length that a trailer can carry.
fn shortened(text: &str) -> String {
    if text.len() <= MAX_MESSAGE_BYTES {
        return text.to_owned();
    }
    let cut = (0..=MAX_MESSAGE_BYTES).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}…", &text[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: ServiceError, code: Code, reason: &str, retry: Option<Duration>) -> Status {
        let status = status(&error, "id-1");
        assert_eq!(status.code(), code);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "twn"));
        assert_eq!(details.request_info().unwrap().request_id, "id-1");
        assert_eq!(details.retry_info().and_then(|info| info.retry_delay), retry);
        status
    }

    #[test]
    fn each_failure_has_its_code_reason_and_retry() {
        let name = || "docs".to_owned();
        let problem = || "is odd".to_owned();
        let half = Duration::from_millis(500);
        let s = Duration::from_secs;
        check(ServiceError::invalid("a", "b"), Code::InvalidArgument, "INVALID_FIELD", None);
        check(
            ServiceError::Unsupported { problem: problem() },
            Code::Unimplemented,
            "UNSUPPORTED",
            None,
        );
        check(
            ServiceError::CollectionNotFound { name: name() },
            Code::NotFound,
            "COLLECTION_NOT_FOUND",
            None,
        );
        check(
            ServiceError::CollectionExists { name: name() },
            Code::AlreadyExists,
            "COLLECTION_EXISTS",
            None,
        );
        check(
            ServiceError::FailedPrecondition { name: name(), problem: problem() },
            Code::FailedPrecondition,
            "COLLECTION_STATE",
            None,
        );
        check(
            ServiceError::Overloaded { what: "queue", retry_after: half },
            Code::ResourceExhausted,
            "OVERLOADED",
            Some(half),
        );
        let loading = ServiceError::Unavailable { state: LOADING };
        check(loading, Code::Unavailable, "MODEL_LOADING", Some(s(1)));
        let stopping = ServiceError::Unavailable { state: STOPPING };
        check(stopping, Code::Unavailable, "SHUTTING_DOWN", Some(s(2)));
        let late = ServiceError::DeadlineExceeded { stage: "encoding" };
        check(late, Code::DeadlineExceeded, "DEADLINE_EXCEEDED", None);
        check(ServiceError::Cancelled, Code::Cancelled, "CANCELLED", None);
    }

    #[test]
    fn our_faults_keep_their_details_to_the_log() {
        let secret = || "/var/lib/secret".to_owned();
        let internal = ServiceError::Internal { problem: secret() };
        let internal = check(internal, Code::Internal, "INTERNAL", None);
        let loss = ServiceError::DataLoss { name: "docs".into(), problem: secret() };
        let loss = check(loss, Code::DataLoss, "COLLECTION_DAMAGED", None);
        assert!(loss.message().contains("`docs`"));
        for status in [internal, loss] {
            assert!(!format!("{status:?}").contains("secret"), "{status:?}");
        }
    }

    #[test]
    fn callers_faults_name_the_field() {
        let status = status(&ServiceError::invalid("limit", "0 is outside 1 to 9"), "id");
        assert_eq!(status.message(), "limit: 0 is outside 1 to 9");
        let details = status.get_error_details();
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, "limit");
        assert_eq!(violation.description, "0 is outside 1 to 9");
    }

    #[test]
    fn statuses_of_the_transport_are_adopted() {
        for (status, code, reason) in [
            (Status::internal("bad bytes"), Code::InvalidArgument, "MALFORMED_MESSAGE"),
            (Status::out_of_range("too long"), Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
            (Status::unimplemented(""), Code::Unimplemented, "UNKNOWN_METHOD_OR_ENCODING"),
        ] {
            let status = adopted(status, "id-1");
            assert_eq!(status.code(), code);
            assert!(!status.message().is_empty());
            let details = status.get_error_details();
            assert_eq!(details.error_info().unwrap().reason, reason);
            assert_eq!(details.request_info().unwrap().request_id, "id-1");
        }
        let own = adopted(status(&ServiceError::Internal { problem: String::new() }, "a"), "b");
        assert_eq!(own.code(), Code::Internal);
        assert_eq!(own.get_error_details().request_info().unwrap().request_id, "a");
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let error = ServiceError::CollectionNotFound { name: "ä".repeat(5_000_000) };
        let status = status(&error, "id");
        assert!(status.message().len() <= MAX_MESSAGE_BYTES + 3);
        assert!(status.message().ends_with("ä…"));
    }
}
