//! Keys and values of one sequence, whichever execution fills them.

use super::portable;

/// Keys and values of one sequence. Cloning is cheap: memory is shared until one side
/// writes. That is how many prompts continue from one prefix.
#[derive(Debug, Clone)]
pub struct KvCache(pub(super) Memory);

/// Who fills a cache, and its memory.
#[derive(Debug, Clone)]
pub(super) enum Memory {
    /// Burn operations.
    Portable(portable::KvCache),
    /// The fused pass.
    Fused(twn_kernels::KvCache),
}

impl KvCache {
    /// Makes a cache that belongs to no backbone, for tests of what keeps caches.
    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        Self(Memory::Portable(portable::KvCache::new(1, 1)))
    }

    /// Positions that are filled.
    pub fn len(&self) -> usize {
        match &self.0 {
            Memory::Portable(cache) => cache.len(),
            Memory::Fused(cache) => cache.len(),
        }
    }

    /// Tells whether no position is filled.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks for room for `capacity` positions in all, to spare growing step by step.
    pub fn reserve(&mut self, capacity: usize) {
        match &mut self.0 {
            Memory::Portable(cache) => cache.reserve(capacity),
            // Pages need no room in advance.
            Memory::Fused(_) => {}
        }
    }

    /// Forgets all positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        match &mut self.0 {
            Memory::Portable(cache) => cache.truncate(len),
            Memory::Fused(cache) => cache.truncate(len),
        }
    }

    /// Bytes held, shared ones included.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Memory::Portable(cache) => cache.bytes(),
            Memory::Fused(cache) => cache.bytes(),
        }
    }
}
