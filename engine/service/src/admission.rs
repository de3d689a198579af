//! Bounds what waits for the model, in items and in prompt tokens, for each lane.
//!
//! A search that finds its lane full is refused at once; ingest waits, since its
//! stream is bounded by credits. The lanes do not share: bulk work can't crowd out
//! searches.

use std::{sync::Arc, time::Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{drain::Drain, error::ServiceError, limits::Limits};

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
    drain: Arc<Drain>,
}

/// A place in a queue, given back on drop.
#[derive(Debug)]
pub(crate) struct Ticket {
    _item: OwnedSemaphorePermit,
    _tokens: OwnedSemaphorePermit,
    tokens: usize,
    drain: Arc<Drain>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.drain.left(self.tokens, Instant::now());
    }
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { search: Quota::new(limits), ingest: Quota::new(limits) }
    }

    /// Takes a place in the search lane, or fails with `Overloaded`, and with the time in
    /// which half of what is there will have left.
    pub(crate) fn try_admit_search(&self, tokens: usize) -> Result<Ticket, ServiceError> {
        let quota = &self.search;
        let full = |what| {
            let retry_after = quota.drain.half_life(Instant::now());
            ServiceError::Overloaded { what, retry_after }
        };
        let item = Arc::clone(&quota.items)
            .try_acquire_owned()
            .map_err(|_| full("the encoder's queue"))?;
        let permits = Arc::clone(&quota.tokens)
            .try_acquire_many_owned(quota.clamp(tokens))
            .map_err(|_| full("the encoder's token queue"))?;
        Ok(quota.ticket(item, permits, tokens))
    }

    /// Waits for a place in the ingest lane.
    pub(crate) async fn admit_ingest(&self, tokens: usize) -> Result<Ticket, ServiceError> {
        let quota = &self.ingest;
        let closed = |_| ServiceError::Unavailable { state: "shutting down" };
        let item = Arc::clone(&quota.items).acquire_owned().await.map_err(closed)?;
        let permits = Arc::clone(&quota.tokens)
            .acquire_many_owned(quota.clamp(tokens))
            .await
            .map_err(closed)?;
        Ok(quota.ticket(item, permits, tokens))
    }
}

impl Quota {
    fn new(limits: &Limits) -> Self {
        let max_tokens = limits.max_queue_tokens.min(Semaphore::MAX_PERMITS);
        Self {
            items: Arc::new(Semaphore::new(limits.max_queue_items.min(Semaphore::MAX_PERMITS))),
            tokens: Arc::new(Semaphore::new(max_tokens)),
            max_tokens,
            drain: Arc::default(),
        }
    }

    fn ticket(
        &self,
        item: OwnedSemaphorePermit,
        permits: OwnedSemaphorePermit,
        tokens: usize,
    ) -> Ticket {
        self.drain.entered(tokens, Instant::now());
        Ticket { _item: item, _tokens: permits, tokens, drain: Arc::clone(&self.drain) }
    }

    /// A prompt larger than the whole quota takes all of it, so that it can pass at all.
    fn clamp(&self, tokens: usize) -> u32 {
        u32::try_from(tokens.min(self.max_tokens)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
impl Admission {
    /// Free places and tokens of the search lane, then of the ingest lane.
    pub(crate) fn free(&self) -> [usize; 4] {
        let [search, ingest] = [&self.search, &self.ingest];
        let free = |semaphore: &Semaphore| semaphore.available_permits();
        [free(&search.items), free(&search.tokens), free(&ingest.items), free(&ingest.tokens)]
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
