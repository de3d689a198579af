//! A panic in one call stays in that call.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

/// What a future that panicked leaves behind. The panic hook has logged the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Runs a future and turns its panic into an error.
pub(crate) struct Contained<F> {
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Contained<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future: Some(Box::pin(future)) }
    }
}

impl<F: Future> Future for Contained<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(mut future) = self.future.take() else { return Poll::Ready(Err(Panicked)) };
        // A future that panicked is dropped here and never polled again, so nobody sees
        // what it left half done but through locks, and those are poisoned or consistent.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => {
                self.future = Some(future);
                Poll::Pending
            }
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_becomes_an_error_and_other_outcomes_pass() {
        assert_eq!(Contained::new(async { 3 }).await, Ok(3));
        let panics = Contained::new(async {
            tokio::task::yield_now().await;
            if true {
                panic!("on purpose");
            }
        });
        assert_eq!(panics.await, Err(Panicked));
    }
}
