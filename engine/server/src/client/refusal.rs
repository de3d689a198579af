//! What a server refuses, in plain words and with what to do.

use std::{error::Error, fmt};

use tonic::{Code, Status};

/// A call that failed, by the server or on the way to it.
#[derive(Debug, Clone)]
pub struct Refusal {
    status: Status,
}

impl Refusal {
    /// The gRPC code.
    pub fn code(&self) -> Code {
        self.status.code()
    }

    /// What the user can do about it.
    fn advice(&self) -> Option<&'static str> {
        // tonic reports a broken connection as a status that has a source.
        let is_transport = self.status.source().is_some();
        match self.code() {
            Code::Unavailable | Code::Unknown if is_transport => {
                Some("the server went away: see its log, start it again with `twn serve`")
            }
            Code::NotFound => Some("`twn collection list` shows what there is"),
            Code::Unimplemented => Some("is it another version's server? `twn doctor` tells"),
            Code::ResourceExhausted => Some("try again later, or with less at once"),
            _ => None,
        }
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self { status }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.status.message(), code_name(self.code()))?;
        match self.advice() {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.status.source()
    }
}

/// The code's name in gRPC's own spelling.
pub fn code_name(code: Code) -> &'static str {
    match code {
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
    fn refusals_say_what_to_do() {
        let refusal = Refusal::from(Status::not_found("collection `a` does not exist"));
        assert_eq!(
            refusal.to_string(),
            "collection `a` does not exist (NOT_FOUND); `twn collection list` shows what there is"
        );
        let refusal = Refusal::from(Status::invalid_argument("limit: 0"));
        assert_eq!(refusal.to_string(), "limit: 0 (INVALID_ARGUMENT)");
    }
}
