//! Bounds what waits for the model, in items and in prompt tokens, for each lane.
//!
//! A search that finds its lane full is refused at once; ingest waits, since its
//! stream is bounded by credits. The lanes do not share: bulk work can't crowd out
//! searches.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{error::ServiceError, limits::Limits};

const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Places in the two lanes' queues.
#[derive(Debug)]
pub(crate) struct Admission {
    search: Quota,
    ingest: Quota,
}

#[derive(Debug)]
struct Quota {
    items: Arc<Semaphore>,
    tokens: Arc<Semaphore>,
    max_tokens: usize,
}

/// A place in a queue, given back on drop.
#[derive(Debug)]
pub(crate) struct Ticket {
    _item: OwnedSemaphorePermit,
    _tokens: OwnedSemaphorePermit,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { search: Quota::new(limits), ingest: Quota::new(limits) }
    }

    /// Takes a place in the search lane, or fails with `Overloaded`.
    pub(crate) fn try_admit_search(&self, tokens: usize) -> Result<Ticket, ServiceError> {
        let quota = &self.search;
        let full = |what| ServiceError::Overloaded { what, retry_after: RETRY_AFTER };
        let item = Arc::clone(&quota.items)
            .try_acquire_owned()
            .map_err(|_| full("the encoder's queue"))?;
        let tokens = Arc::clone(&quota.tokens)
            .try_acquire_many_owned(quota.clamp(tokens))
            .map_err(|_| full("the encoder's token queue"))?;
        Ok(Ticket { _item: item, _tokens: tokens })
    }

    /// Waits for a place in the ingest lane.
    pub(crate) async fn admit_ingest(&self, tokens: usize) -> Result<Ticket, ServiceError> {
        let quota = &self.ingest;
        let closed = |_| ServiceError::Unavailable { state: "shutting down" };
        let item = Arc::clone(&quota.items).acquire_owned().await.map_err(closed)?;
        let tokens = Arc::clone(&quota.tokens)
            .acquire_many_owned(quota.clamp(tokens))
            .await
            .map_err(closed)?;
        Ok(Ticket { _item: item, _tokens: tokens })
    }
}

impl Quota {
    fn new(limits: &Limits) -> Self {
        let max_tokens = limits.max_queue_tokens.min(Semaphore::MAX_PERMITS);
        Self {
            items: Arc::new(Semaphore::new(limits.max_queue_items.min(Semaphore::MAX_PERMITS))),
            tokens: Arc::new(Semaphore::new(max_tokens)),
            max_tokens,
        }
    }

    /// A prompt larger than the whole quota takes all of it, so that it can pass at all.
    fn clamp(&self, tokens: usize) -> u32 {
        u32::try_from(tokens.min(self.max_tokens)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(items: usize, tokens: usize) -> Admission {
        Admission::new(&Limits {
            max_queue_items: items,
            max_queue_tokens: tokens,
            ..Limits::default()
        })
    }

    #[test]
    fn full_lane_refuses_searches_until_a_ticket_is_dropped() {
        let admission = admission(1, 100);
        let ticket = admission.try_admit_search(10).unwrap();
        let refused = admission.try_admit_search(10).unwrap_err();
        assert!(matches!(refused, ServiceError::Overloaded { .. }), "{refused}");
        drop(ticket);
        admission.try_admit_search(10).unwrap();
    }

    #[test]
    fn tokens_are_bounded_too() {
        let admission = admission(8, 100);
        let _first = admission.try_admit_search(60).unwrap();
        assert!(admission.try_admit_search(60).is_err());
        admission.try_admit_search(40).unwrap();
    }

    #[test]
    fn oversized_prompt_passes_an_empty_queue() {
        admission(8, 100).try_admit_search(5_000).unwrap();
    }

    #[tokio::test]
    async fn full_search_lane_leaves_ingest_alone() {
        let admission = admission(1, 100);
        let _search = admission.try_admit_search(100).unwrap();
        admission.admit_ingest(100).await.unwrap();
    }
}
