//! Patience: a server that says when to come back is asked again, for a bounded time.

use std::time::{Duration, Instant};

use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use super::Refusal;

const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Makes a call, and again while the server is loading its model or is full and says when
/// a retry makes sense.
///
/// # Errors
/// Fails with the last refusal.
pub async fn patiently<T>(
    mut call: impl AsyncFnMut() -> Result<Response<T>, Status>,
) -> Result<T, Refusal> {
    let until = Instant::now() + PATIENCE;
    loop {
        let status = match call().await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => status,
        };
        match pause(&status) {
            Some(pause) if Instant::now() + pause < until => tokio::time::sleep(pause).await,
            _ => return Err(status.into()),
        }
    }
}

/// How long to wait before the same call makes sense again; `None` when it never does.
pub(crate) fn pause(status: &Status) -> Option<Duration> {
    if !matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) {
        return None;
    }
    let delay = status.get_details_retry_info()?.retry_delay?;
    Some(delay.clamp(PAUSE_MIN, PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    fn busy(code: Code, delay: Duration) -> Status {
        let details = ErrorDetails::with_retry_info(Some(delay));
        Status::with_error_details(code, "busy", details)
    }

    #[tokio::test]
    async fn a_starting_server_is_asked_again() {
        let mut calls = 0;
        let answer = patiently(async || {
            calls += 1;
            if calls < 3 {
                Err(busy(Code::Unavailable, Duration::ZERO))
            } else {
                Ok(Response::new(7))
            }
        });
        assert_eq!(answer.await.unwrap(), 7);
        assert_eq!(calls, 3);
    }

    #[tokio::test]
    async fn other_refusals_are_final() {
        for status in [
            Status::unavailable("gone for good"),
            busy(Code::InvalidArgument, Duration::ZERO),
            Status::not_found("no such collection"),
        ] {
            let mut calls = 0;
            let refused = patiently::<()>(async || {
                calls += 1;
                Err(status.clone())
            });
            assert!(refused.await.is_err());
            assert_eq!(calls, 1, "{status}");
        }
    }

    #[test]
    fn pauses_are_bounded() {
        assert_eq!(pause(&busy(Code::Unavailable, Duration::from_secs(900))), Some(PAUSE_MAX));
        assert_eq!(pause(&busy(Code::ResourceExhausted, Duration::ZERO)), Some(PAUSE_MIN));
    }
}
