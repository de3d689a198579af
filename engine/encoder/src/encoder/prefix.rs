//! Keys and values of prompt prefixes that many prompts share.

use std::collections::VecDeque;

use super::model::Role;
use crate::backbone::KvCache;

/// The instruction's turn in front of the content is the same for nearly all prompts.
const ENTRIES_MAX: usize = 8;
/// Longer prefixes are not kept: they would take much memory and are seldom shared.
const TOKENS_MAX: usize = 256;

/// The least recently used prefix goes first.
#[derive(Debug, Default)]
pub(super) struct PrefixCache {
    /// The most recently used comes last.
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    role: Role,
    tokens: Vec<u32>,
    cache: KvCache,
}

impl PrefixCache {
    /// Tells whether a prefix is worth keeping.
    pub(super) fn accepts(tokens: &[u32]) -> bool {
        (1..=TOKENS_MAX).contains(&tokens.len())
    }

    /// Finds a prefix; the cache shares its memory until it is written to.
    pub(super) fn get(&mut self, role: Role, tokens: &[u32]) -> Option<KvCache> {
        let at =
            self.entries.iter().position(|entry| entry.role == role && entry.tokens == tokens)?;
        let entry = self.entries.remove(at)?;
        let cache = entry.cache.clone();
        self.entries.push_back(entry);
        Some(cache)
    }

    /// Keeps a prefix.
    pub(super) fn insert(&mut self, role: Role, tokens: Vec<u32>, cache: KvCache) {
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { role, tokens, cache });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> KvCache {
        KvCache::empty()
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut prefixes = PrefixCache::default();
        for token in 0..ENTRIES_MAX as u32 {
            prefixes.insert(Role::Reasoning, vec![token], cache());
        }
        assert!(prefixes.get(Role::Reasoning, &[0]).is_some());
        prefixes.insert(Role::Reasoning, vec![99], cache());
        assert!(prefixes.get(Role::Reasoning, &[0]).is_some());
        assert!(prefixes.get(Role::Reasoning, &[1]).is_none());
        assert_eq!(prefixes.entries.len(), ENTRIES_MAX);
    }

    #[test]
    fn adapters_do_not_share_prefixes() {
        let mut prefixes = PrefixCache::default();
        prefixes.insert(Role::Reasoning, vec![1, 2], cache());
        assert!(prefixes.get(Role::Embedding, &[1, 2]).is_none());
        assert!(prefixes.get(Role::Reasoning, &[1]).is_none());
    }

    #[test]
    fn empty_and_long_prefixes_are_not_kept() {
        assert!(!PrefixCache::accepts(&[]));
        assert!(PrefixCache::accepts(&[0; TOKENS_MAX]));
        assert!(!PrefixCache::accepts(&[0; TOKENS_MAX + 1]));
    }
}
