//! Keys and values of one sequence, whichever execution fills them.

use super::portable;

/// Keys and values of one sequence. Cloning is cheap: memory is shared until one side
/// writes. That is how many prompts continue from one prefix.
#[derive(Debug, Clone)]
pub struct KvCache {
    pub(super) memory: Memory,
    /// The next row's position less the number of rows: images take fewer positions than
    /// rows.
    shift: i64,
}

/// Who fills a cache, and its memory.
#[derive(Debug, Clone)]
pub(super) enum Memory {
    /// Burn operations.
    Portable(portable::KvCache),
    /// The fused pass.
    Fused(twn_kernels::KvCache),
}

impl KvCache {
    pub(super) fn new(memory: Memory) -> Self {
        Self { memory, shift: 0 }
    }

    /// The position of the next row of text.
    pub fn next_position(&self) -> u32 {
        (self.len() as i64 + self.shift) as u32
    }

    /// Takes note of the next row's position once the rows before it are there.
    pub(super) fn set_next_position(&mut self, position: u32) {
        self.shift = i64::from(position) - self.len() as i64;
    }

    /// Tells whether rows of text have the positions that their number says.
    pub(super) fn is_plain(&self) -> bool {
        self.shift == 0
    }

    /// Makes a cache that belongs to no backbone, for tests of what keeps caches.
    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        Self::new(Memory::Portable(portable::KvCache::new(1, 1)))
    }

    /// Rows that are filled.
    pub fn len(&self) -> usize {
        match &self.memory {
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
        match &mut self.memory {
            Memory::Portable(cache) => cache.reserve(capacity),
            // Pages need no room in advance.
            Memory::Fused(_) => {}
        }
    }

    /// Forgets all rows from `len` on, which must be rows of text.
    pub fn truncate(&mut self, len: usize) {
        match &mut self.memory {
            Memory::Portable(cache) => cache.truncate(len),
            Memory::Fused(cache) => cache.truncate(len),
        }
    }

    /// Bytes held, shared ones included.
    pub fn bytes(&self) -> usize {
        match &self.memory {
            Memory::Portable(cache) => cache.bytes(),
            Memory::Fused(cache) => cache.bytes(),
        }
    }
}
