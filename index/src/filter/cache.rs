//! The answers to the filters asked last.
//!
//! A segment never changes, so what matched once matches for good. A handful of
//! filters come again and again (a tenant, a language, a date), and working one
//! out takes longer than the search that it is for.

use super::{Filter, admitted::Matching};
use arc_swap::ArcSwap;
use std::sync::Arc;

/// Answers kept for one segment.
const MOST_ENTRIES: usize = 16;

/// Bytes that the answers kept for one segment may take up, for each of its
/// rows; one answer takes an eighth of a byte or more.
const BYTES_PER_ROW: usize = 4;

type Entry = (Filter, Arc<Matching>);

/// Answers by filter, newest first.
#[derive(Debug, Default)]
pub(crate) struct MatchCache(ArcSwap<Vec<Entry>>);

impl MatchCache {
    /// Returns the answer to a filter if it is there.
    pub(crate) fn get(&self, filter: &Filter) -> Option<Arc<Matching>> {
        let entries = self.0.load();
        entries.iter().find(|(asked, _)| asked == filter).map(|(_, answer)| Arc::clone(answer))
    }

    /// Keeps an answer, and lets go of the oldest as far as it takes.
    pub(crate) fn put(&self, filter: &Filter, answer: &Arc<Matching>, segment_rows: u32) {
        let bytes_most = BYTES_PER_ROW * segment_rows as usize;
        self.0.rcu(|entries| {
            let newest = (filter.clone(), Arc::clone(answer));
            let others = entries.iter().filter(|(asked, _)| asked != filter).cloned();
            let mut bytes = 0;
            let kept = [newest].into_iter().chain(others).take(MOST_ENTRIES);
            kept.take_while(|(_, answer)| {
                bytes += answer.bytes();
                bytes <= bytes_most
            })
            .collect::<Vec<Entry>>()
        });
    }
}
