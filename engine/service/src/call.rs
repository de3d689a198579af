//! One call's deadline and cancellation, carried from the network to every decoded token.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::ServiceError;

/// One call's deadline and cancellation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Call {
    deadline: Instant,
    cancel: CancellationToken,
}

/// Cancels its call when dropped, so that work stops when the caller goes away.
#[derive(Debug)]
pub struct CallGuard(#[expect(dead_code, reason = "its drop is the point")] DropGuard);

impl Call {
    /// Opens a call that may take `time` from now.
    pub fn within(time: Duration) -> (Self, CallGuard) {
        let cancel = CancellationToken::new();
        let guard = CallGuard(cancel.clone().drop_guard());
        (Self { deadline: Instant::now() + time, cancel }, guard)
    }

    /// Tells when the caller's patience ends.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Fails when the call has been cancelled or its deadline has passed.
    ///
    /// # Errors
    /// `Cancelled` or `DeadlineExceeded`, naming `stage`.
    pub fn check(&self, stage: &'static str) -> Result<(), ServiceError> {
        if self.cancel.is_cancelled() {
            return Err(ServiceError::Cancelled);
        }
        if Instant::now() >= self.deadline {
            return Err(ServiceError::DeadlineExceeded { stage });
        }
        Ok(())
    }

    /// Waits for `work`, but not beyond the deadline or cancellation.
    ///
    /// # Errors
    /// What `work` fails with, `Cancelled` or `DeadlineExceeded`, naming `stage`.
    pub async fn bound<T>(
        &self,
        stage: &'static str,
        work: impl Future<Output = Result<T, ServiceError>>,
    ) -> Result<T, ServiceError> {
        self.check(stage)?;
        // Work that is done at once needs no timer, so it goes first.
        tokio::select! {
            biased;
            result = work => result,
            () = self.cancel.cancelled() => Err(ServiceError::Cancelled),
            () = tokio::time::sleep_until(self.deadline.into()) => {
                Err(ServiceError::DeadlineExceeded { stage })
            }
        }
    }
}
