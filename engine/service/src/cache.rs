//! Embeddings made lately, for queries that come again.
//!
//! An entry is found by a SHA-256 over everything that decides about an embedding: the
//! content's parts, the instruction, the kind, the effective policy and the encoder's
//! fingerprint, each behind its length. The least recently used entries go when the
//! memory limit is met. Only what an idle server would have answered is kept.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use twn_encoder::{EmbedKind, EncodeInput, EncodeTimings, Media, Part, ReasoningPolicy, Usage};

use crate::encoding::Encoded;

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheOptions {
    /// Bytes that the embeddings and thoughts of recent queries may take; 0 keeps none.
    pub bytes: usize,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self { bytes: 32 << 20 }
    }
}

/// Bytes that an entry takes beside its vector and texts, maps included: an estimate on
/// the safe side.
const ENTRY_BYTES: usize = 512;

/// What decides about an embedding.
pub(crate) type Key = [u8; 32];

/// Embeddings made lately.
#[derive(Debug)]
pub(crate) struct EmbeddingCache {
    max_bytes: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<Key, Entry>,
    /// Keys by the tick of their last use.
    by_use: BTreeMap<u64, Key>,
    tick: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    embedding: Box<[f32]>,
    thought: Option<Box<str>>,
    usage: Usage,
    bytes: usize,
    used: u64,
}

impl EmbeddingCache {
    /// Makes an empty cache; `None` when it is to keep nothing.
    pub(crate) fn new(options: CacheOptions) -> Option<Self> {
        let entries = Mutex::default();
        (options.bytes > 0).then_some(Self { max_bytes: options.bytes, entries })
    }

    /// Finds an embedding. Its usage tells that nothing ran for it now.
    pub(crate) fn get(&self, key: &Key) -> Option<Encoded> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.touch(key)?;
        let entry = entries.by_key.get(key)?;
        Some(Encoded {
            embedding: entry.embedding.to_vec(),
            thought: entry.thought.as_deref().map(str::to_owned),
            usage: entry.usage.clone().recalled(),
            timings: EncodeTimings::default(),
            explanation: None,
        })
    }

    /// Keeps an embedding, unless it alone is more than the cache may hold.
    pub(crate) fn insert(&self, key: Key, encoded: &Encoded) {
        let thought: Option<Box<str>> = encoded.thought.as_deref().map(Into::into);
        let bytes = ENTRY_BYTES
            + size_of_val(encoded.embedding.as_slice())
            + thought.as_deref().map_or(0, str::len)
            + encoded.usage.encoder_fingerprint.len();
        if bytes > self.max_bytes {
            return;
        }
        let (embedding, usage) = (encoded.embedding.as_slice().into(), encoded.usage.clone());
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.remove(&key);
        while entries.bytes + bytes > self.max_bytes {
            entries.remove_oldest();
        }
        entries.insert(key, Entry { embedding, thought, usage, bytes, used: 0 });
    }
}

impl Entries {
    /// Marks an entry as used now.
    fn touch(&mut self, key: &Key) -> Option<()> {
        let entry = self.by_key.get_mut(key)?;
        self.tick += 1;
        self.by_use.remove(&entry.used);
        self.by_use.insert(self.tick, *key);
        entry.used = self.tick;
        Some(())
    }

    fn insert(&mut self, key: Key, entry: Entry) {
        self.tick += 1;
        self.bytes += entry.bytes;
        self.by_use.insert(self.tick, key);
        self.by_key.insert(key, Entry { used: self.tick, ..entry });
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.by_key.remove(key) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }

    fn remove_oldest(&mut self) {
        let oldest = self.by_use.first_key_value().map(|(_, key)| *key);
        match oldest {
            Some(key) => self.remove(&key),
            // Unreachable while the books are right; wrong ones must not loop for ever.
            None => *self = Self::default(),
        }
    }
}

/// Digests everything that decides about an embedding.
pub(crate) fn key(input: &EncodeInput, policy: &ReasoningPolicy, fingerprint: &str) -> Key {
    let mut digest = Sha256::new();
    let mut field = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    field(fingerprint.as_bytes());
    field(match input.kind {
        EmbedKind::Query => b"query",
        EmbedKind::Document => b"document",
    });
    // No instruction takes the encoder's own, which an empty one may not be.
    match &input.instruction {
        None => field(b"default instruction"),
        Some(instruction) => {
            field(b"instruction");
            field(instruction.as_bytes());
        }
    }
    field(format!("{:?}", policy.effective()).as_bytes());
    field(&(input.content.parts.len() as u64).to_le_bytes());
    for part in &input.content.parts {
        match part {
            Part::Text(text) => {
                field(b"text");
                field(text.as_bytes());
            }
            Part::Media(media) => {
                let Media { kind, frames_per_second, page, .. } = media;
                field(format!("{kind:?} {frames_per_second} {page}").as_bytes());
                field(&(media.files.len() as u64).to_le_bytes());
                media.files.iter().for_each(|file| field(file));
            }
        }
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use twn_encoder::{Content, ReasoningMode, Route, RouteReason};

    fn encoded(value: f32) -> Encoded {
        let usage = Usage {
            route: Route::Reasoned,
            prompt_tokens: 7,
            reasoning_tokens: 5,
            query_tokens: 16,
            ..Usage::not_encoded(RouteReason::PolicyAlways, "f")
        };
        Encoded {
            embedding: vec![value; 8],
            thought: Some("hm".into()),
            usage,
            timings: EncodeTimings::default(),
            explanation: None,
        }
    }

    const BYTES: usize = ENTRY_BYTES + 8 * 4 + 2 + 1;

    fn cache(entries: usize) -> EmbeddingCache {
        EmbeddingCache::new(CacheOptions { bytes: entries * BYTES }).expect("keeps something")
    }

    fn value(cache: &EmbeddingCache, key: u8) -> Option<f32> {
        cache.get(&[key; 32]).map(|found| found.embedding[0])
    }

    #[test]
    fn what_is_found_ran_nothing_now() {
        let cache = cache(1);
        cache.insert([1; 32], &encoded(0.5));
        let found = cache.get(&[1; 32]).expect("is kept");
        assert_eq!(
            (found.embedding.as_slice(), found.thought.as_deref()),
            (&[0.5; 8][..], Some("hm"))
        );
        assert_eq!((found.usage.prompt_tokens, found.usage.reasoning_tokens), (0, 0));
        let original = found.usage.original.expect("tells what it cost");
        assert_eq!((original.prompt_tokens, original.query_tokens), (7, 16));
        assert_eq!(found.usage.route, Route::Reasoned);
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = cache(3);
        for key in 1..=3 {
            cache.insert([key; 32], &encoded(f32::from(key)));
        }
        assert_eq!(value(&cache, 1), Some(1.0));
        cache.insert([4; 32], &encoded(4.0));
        assert_eq!((value(&cache, 1), value(&cache, 2)), (Some(1.0), None));
        cache.insert([1; 32], &encoded(9.0));
        assert_eq!((value(&cache, 1), value(&cache, 3)), (Some(9.0), Some(3.0)));
    }

    #[test]
    fn the_memory_limit_holds() {
        assert!(EmbeddingCache::new(CacheOptions { bytes: 0 }).is_none());
        let small = EmbeddingCache::new(CacheOptions { bytes: BYTES - 1 }).expect("exists");
        small.insert([1; 32], &encoded(1.0));
        assert_eq!(value(&small, 1), None, "larger than the cache");
        let cache = cache(2);
        for key in 0..=255 {
            cache.insert([key; 32], &encoded(1.0));
            let entries = cache.entries.lock().unwrap();
            assert!(entries.bytes <= cache.max_bytes);
            assert_eq!(entries.bytes, entries.by_key.len() * BYTES);
            assert_eq!(entries.by_use.len(), entries.by_key.len());
        }
    }

    #[test]
    fn many_threads_find_what_belongs_to_their_keys() {
        let cache = cache(16);
        std::thread::scope(|scope| {
            for thread in 0..8_u8 {
                let cache = &cache;
                scope.spawn(move || {
                    for round in 0..2_000_u32 {
                        let key = (round as u8).wrapping_mul(thread + 1) % 40;
                        if let Some(found) = value(cache, key) {
                            assert_eq!(found, f32::from(key));
                        } else {
                            cache.insert([key; 32], &encoded(f32::from(key)));
                        }
                    }
                });
            }
        });
        let entries = cache.entries.lock().unwrap();
        assert!(entries.bytes <= cache.max_bytes && !entries.by_key.is_empty());
        assert_eq!(entries.by_use.len(), entries.by_key.len());
        assert_eq!(entries.bytes, entries.by_key.values().map(|entry| entry.bytes).sum::<usize>());
    }

    fn key_of(change: impl FnOnce(&mut EncodeInput, &mut ReasoningPolicy)) -> Key {
        let mut input =
            EncodeInput { content: Content::text("ab"), instruction: None, kind: EmbedKind::Query };
        let mut policy = ReasoningPolicy {
            mode: ReasoningMode::Always,
            threshold: 0.5,
            token_budget: 8,
            temperature: 0.0,
            seed: 0,
            convergence: None,
        };
        change(&mut input, &mut policy);
        key(&input, &policy, "f")
    }

    #[test]
    fn whatever_decides_about_an_embedding_is_in_its_key() {
        let text = |text: &str| Part::Text(text.to_owned());
        let keys = [
            key_of(|_, _| {}),
            key_of(|input, _| input.content.parts = vec![text("a"), text("b")]),
            key_of(|input, _| input.content.parts = vec![text("b"), text("a")]),
            key_of(|input, _| input.kind = EmbedKind::Document),
            key_of(|input, _| input.instruction = Some(String::new())),
            key_of(|input, _| input.instruction = Some("ab".into())),
            key_of(|_, policy| policy.token_budget = 9),
            key_of(|_, policy| policy.mode = ReasoningMode::Never),
            key_of(|_, policy| (policy.temperature, policy.seed) = (0.5, 1)),
            key_of(|_, policy| (policy.temperature, policy.seed) = (0.5, 2)),
        ];
        let different: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
        assert_eq!(keys[0], key_of(|_, policy| policy.seed = 7), "greedy thoughts have no seed");
        assert_eq!(keys[0], key_of(|_, policy| policy.threshold = 0.1), "ALWAYS has no threshold");
    }
}
