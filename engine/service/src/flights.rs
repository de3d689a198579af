//! Queries that are being embedded now, so that the same one is not embedded twice at once.
//!
//! The first request for a key leads; those that come while it runs follow: they wait for it
//! and take what it left in the cache. A follower holds no place in the queue. Nobody follows
//! a leader that has clearly more time, since a request that runs itself is answered before its
//! deadline with what its thought has come to.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::cache::Key;

/// By so much more time a leader may have: what requests that come together differ by.
const MORE_TIME: Duration = Duration::from_millis(100);

/// Queries that are being embedded now.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    by_key: Mutex<HashMap<Key, Flight>>,
}

#[derive(Debug)]
struct Flight {
    /// The leader's.
    deadline: Instant,
    /// What followers clone; its channel closes when the leader has ended.
    landing: watch::Receiver<Landing>,
}

/// How a flight ended, as a follower sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landing {
    /// The leader went away or ran out of time: somebody else has to lead.
    Gone,
    /// The leader has its answer or an error. What is not in the cache is nobody else's.
    Done,
}

/// A request's part in a flight.
pub(crate) enum Part<'a> {
    /// Embeds, and ends the flight when dropped.
    Lead(Lead<'a>),
    /// Waits.
    Follow(Follow),
    /// Embeds beside a flight that may take longer than this request has.
    Alone,
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
    /// Joins the flight of `key`, or begins it, for a request that has until `deadline`.
    pub(crate) fn join(&self, key: Key, deadline: Instant) -> Part<'_> {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        match by_key.get(&key) {
            Some(flight) if deadline + MORE_TIME < flight.deadline => Part::Alone,
            Some(flight) => Part::Follow(Follow(flight.landing.clone())),
            None => {
                let (landing, followed) = watch::channel(Landing::Gone);
                by_key.insert(key, Flight { deadline, landing: followed });
                Part::Lead(Lead { flights: self, key, landing })
            }
        }
    }
}

impl Lead<'_> {
    /// Ends the flight with an answer, in the cache or not, or with an error.
    pub(crate) fn done(self) {
        self.landing.send_replace(Landing::Done);
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut by_key = self.flights.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        by_key.remove(&self.key);
    }
}

impl Follow {
    /// Waits until the leader has ended, and says how that was.
    pub(crate) async fn landed(mut self) -> Landing {
        while self.0.changed().await.is_ok() {}
        *self.0.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(flights: &Flights, key: u8, seconds: u64) -> Part<'_> {
        let start = Instant::now();
        flights.join([key; 32], start + Duration::from_secs(seconds))
    }

    fn lead(flights: &Flights, key: u8) -> Lead<'_> {
        match join(flights, key, 100) {
            Part::Lead(lead) => lead,
            _ => panic!("somebody leads"),
        }
    }

    fn follow(flights: &Flights, key: u8) -> Follow {
        match join(flights, key, 200) {
            Part::Follow(follow) => follow,
            _ => panic!("nobody leads"),
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
        first.done();
        assert_eq!((&mut waiting).await.unwrap(), (Landing::Done, Landing::Done));
        assert_eq!(flights.by_key.lock().unwrap().len(), 1, "the other key's");
    }

    #[tokio::test]
    async fn a_leader_that_goes_away_leaves_the_lead() {
        let flights = Flights::default();
        let first = lead(&flights, 1);
        let follower = follow(&flights, 1);
        drop(first);
        assert_eq!(follower.landed().await, Landing::Gone);
        lead(&flights, 1).done();
        assert!(flights.by_key.lock().unwrap().is_empty());
    }

    #[test]
    fn nobody_follows_a_leader_that_has_more_time() {
        let flights = Flights::default();
        let _first = lead(&flights, 1);
        assert!(matches!(join(&flights, 1, 50), Part::Alone));
        assert!(matches!(join(&flights, 1, 200), Part::Follow(_)));
    }
}
