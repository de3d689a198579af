//! What is known of a call before its handler runs, and what the handler tells the
//! access log afterwards.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::HeaderMap;
use twn_service::{Call, CallGuard, Route, Usage};

/// The header that carries a request's id in both directions.
pub(crate) const REQUEST_ID_HEADER: &str = "x-request-id";
const MAX_REQUEST_ID_BYTES: usize = 128;

/// What is known of a call before its handler runs. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct CallContext {
    pub(crate) request_id: Arc<str>,
    pub(crate) notes: Arc<Notes>,
    /// When the caller's patience ends, if it said so.
    deadline: Option<Instant>,
}

/// What a handler tells the access log.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    route: OnceLock<Route>,
    reasoning_tokens: AtomicU64,
    items: AtomicU64,
}

impl CallContext {
    pub(crate) fn new(headers: &HeaderMap, timeout: Option<Duration>) -> Self {
        Self {
            request_id: request_id(headers),
            notes: Arc::default(),
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        }
    }

    /// Takes the context that the access layer has put into the request.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Self {
        let known = request.extensions().get::<Self>().cloned();
        known.unwrap_or_else(|| Self::new(&HeaderMap::new(), None))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Opens a call that ends with the caller's patience, and after `max` at the latest.
    pub(crate) fn open(&self, max: Duration) -> (Call, CallGuard) {
        let left = self.deadline.map(|deadline| deadline.duration_since(Instant::now()));
        Call::within(left.map_or(max, |left| left.min(max)))
    }
}

impl Notes {
    /// Notes one embedding.
    pub(crate) fn embedded(&self, usage: &Usage) {
        // Calls with many embeddings have no one route; `route` leaves theirs out.
        let _ = self.route.set(usage.route);
        self.reasoning_tokens.fetch_add(usage.reasoning_tokens.into(), Ordering::Relaxed);
        self.items.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes thought tokens that ran for an explanation alone.
    pub(crate) fn explained(&self, reasoning_tokens: u32) {
        self.reasoning_tokens.fetch_add(reasoning_tokens.into(), Ordering::Relaxed);
    }

    /// The route of a call that made one embedding.
    pub(crate) fn route(&self) -> Option<&'static str> {
        if self.items() != 1 {
            return None;
        }
        self.route.get().map(|route| match route {
            Route::None => "none",
            Route::Direct => "direct",
            Route::Reasoned => "reasoned",
        })
    }

    /// Embeddings made or reused.
    pub(crate) fn items(&self) -> u64 {
        self.items.load(Ordering::Relaxed)
    }

    /// Thought tokens of all of them.
    pub(crate) fn reasoning_tokens(&self) -> u64 {
        self.reasoning_tokens.load(Ordering::Relaxed)
    }
}

/// Takes the caller's id if it can be echoed and logged, and makes one up otherwise.
fn request_id(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get(REQUEST_ID_HEADER).and_then(|header| header.to_str().ok());
    match given {
        Some(id) if (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) => id.into(),
        _ => made_up_id().into(),
    }
}

fn made_up_id() -> String {
    static STATE: OnceLock<RandomState> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}", STATE.get_or_init(RandomState::new).hash_one(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use twn_service::RouteReason;

    fn id_of(given: &str) -> Arc<str> {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID_HEADER, given.parse().unwrap());
        CallContext::new(&headers, None).request_id
    }

    #[test]
    fn usable_ids_are_echoed_and_others_replaced() {
        assert_eq!(&*id_of("abc-1"), "abc-1");
        assert_eq!(id_of("").len(), 16);
        assert_eq!(id_of(&"x".repeat(129)).len(), 16);
        assert_ne!(made_up_id(), made_up_id());
    }

    #[test]
    fn call_ends_with_the_earlier_of_patience_and_limit() {
        let short = CallContext::new(&HeaderMap::new(), Some(Duration::from_millis(5)));
        let (call, _guard) = short.open(Duration::from_secs(600));
        assert!(call.deadline() <= Instant::now() + Duration::from_millis(5));
        let endless = CallContext::new(&HeaderMap::new(), Some(Duration::from_secs(1 << 40)));
        let (call, _guard) = endless.open(Duration::from_secs(1));
        assert!(call.deadline() <= Instant::now() + Duration::from_secs(1));
    }

    #[test]
    fn route_is_noted_for_single_embeddings_only() {
        let notes = Notes::default();
        assert_eq!(notes.route(), None);
        let mut usage = Usage::not_encoded(RouteReason::PolicyAlways, "");
        usage.route = Route::Reasoned;
        usage.reasoning_tokens = 4;
        notes.embedded(&usage);
        assert_eq!(notes.route(), Some("reasoned"));
        notes.embedded(&usage);
        assert_eq!((notes.route(), notes.reasoning_tokens()), (None, 8));
    }
}
