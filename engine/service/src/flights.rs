//! Queries that are being embedded now, so that the same one is not embedded twice at once.
//!
//! The first request for a key leads; those that come while it runs follow: they wait for it
//! and take what it left in the cache. A follower holds no place in the queue.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::cache::Key;

/// Queries that are being embedded now.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    /// The receiver that followers clone; its channel closes when the leader is done.
    by_key: Mutex<HashMap<Key, watch::Receiver<Landing>>>,
}

/// How a flight ended, as a follower sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landing {
    /// The leader failed, gave up or went away, or its answer is in the cache.
    Open,
    /// The leader has an answer that load or its deadline have shaped, and that is nobody
    /// else's.
    Private,
}

/// A request's part in a flight.
pub(crate) enum Part<'a> {
    /// Embeds, and ends the flight when dropped.
    Lead(Lead<'a>),
    /// Waits.
    Follow(Follow),
}

/// Ends its flight when dropped, however the request ends.
pub(crate) struct Lead<'a> {
    flights: &'a Flights,
    key: Key,
    landing: watch::Sender<Landing>,
}

/// Waits for a flight to end.
pub(crate) struct Follow(watch::Receiver<Landing>);

impl Flights {
    /// Joins the flight of `key`, or begins it.
    pub(crate) fn join(&self, key: Key) -> Part<'_> {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = by_key.get(&key) {
            return Part::Follow(Follow(flight.clone()));
        }
        let (landing, followed) = watch::channel(Landing::Open);
        by_key.insert(key, followed);
        Part::Lead(Lead { flights: self, key, landing })
    }
}

impl Lead<'_> {
    /// Tells followers that there is nothing for them to take.
    pub(crate) fn keep_private(&self) {
        self.landing.send_replace(Landing::Private);
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut by_key = self.flights.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        by_key.remove(&self.key);
    }
}

impl Follow {
    /// Waits until the leader is done, and says how that was.
    pub(crate) async fn landed(mut self) -> Landing {
        loop {
            let landing = *self.0.borrow_and_update();
            if landing == Landing::Private || self.0.changed().await.is_err() {
                return *self.0.borrow();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(flights: &Flights, key: u8) -> Follow {
        match flights.join([key; 32]) {
            Part::Follow(follow) => follow,
            Part::Lead(_) => panic!("nobody leads"),
        }
    }

    fn lead(flights: &Flights, key: u8) -> Lead<'_> {
        match flights.join([key; 32]) {
            Part::Lead(lead) => lead,
            Part::Follow(_) => panic!("somebody leads"),
        }
    }

    #[tokio::test]
    async fn followers_wait_for_the_first_of_their_key() {
        let flights = Flights::default();
        let (first, _other) = (lead(&flights, 1), lead(&flights, 2));
        let followers = [follow(&flights, 1), follow(&flights, 1)];
        let mut waiting = tokio::spawn(async move {
            let [one, other] = followers;
            (one.landed().await, other.landed().await)
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        assert_eq!((&mut waiting).await.unwrap(), (Landing::Open, Landing::Open));
        drop(lead(&flights, 1));
        assert_eq!(flights.by_key.lock().unwrap().len(), 1, "the other key's");
    }

    #[tokio::test]
    async fn a_private_answer_is_told_even_after_the_leader_has_gone() {
        let flights = Flights::default();
        let first = lead(&flights, 1);
        let (early, late) = (follow(&flights, 1), follow(&flights, 1));
        first.keep_private();
        assert_eq!(early.landed().await, Landing::Private);
        drop(first);
        assert_eq!(late.landed().await, Landing::Private);
        assert!(flights.by_key.lock().unwrap().is_empty());
    }
}
