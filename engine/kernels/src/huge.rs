//! Memory in huge pages, for what is read from end to end at every step: the weights.
//!
//! Owns anonymous mappings that the system is asked to back with huge pages (2 MiB on
//! x86-64 and most of AArch64), and deals them out from front to back. Matrices are often
//! smaller than a huge page, so many share a mapping. Invariants: ranges never overlap,
//! start zeroed and are not dealt again; a mapping goes when its last range does.

use std::{
    ptr::NonNull,
    sync::{Arc, Mutex, PoisonError},
};

use memmap2::MmapMut;

/// Bytes of a huge page, where a mapping starts.
const HUGE_PAGE: usize = 2 << 20;

/// Bytes of a mapping that many ranges share.
const SHARED_BYTES: usize = 32 << 20;

/// Where every range starts: a cache line, and the widest vector.
const ALIGN: usize = 64;

/// The mapping that ranges are dealt from now.
static CURRENT: Mutex<Option<Dealer>> = Mutex::new(None);

/// A range of a mapping: `bytes` zeros that belong to the holder alone.
#[derive(Debug)]
pub(crate) struct HugeRange {
    start: NonNull<u8>,
    _mapping: Arc<MmapMut>,
}

/// A mapping and how much of it is dealt.
struct Dealer {
    mapping: Arc<MmapMut>,
    /// The first free byte.
    next: NonNull<u8>,
    left: usize,
}

// SAFETY: `next` is an address within the mapping, which the dealer keeps.
unsafe impl Send for Dealer {}

impl HugeRange {
    /// Takes a range of zeros that starts at a cache line; none when the system has no
    /// such memory to give.
    pub(crate) fn zeros(bytes: usize) -> Option<Self> {
        let bytes = bytes.checked_next_multiple_of(ALIGN)?;
        if bytes >= SHARED_BYTES {
            return Dealer::map(bytes)?.deal(bytes);
        }
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(range) = current.as_mut().and_then(|dealer| dealer.deal(bytes)) {
            return Some(range);
        }
        current.insert(Dealer::map(SHARED_BYTES)?).deal(bytes)
    }

    /// The range's first byte.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Dealer {
    /// Maps `bytes`, starting at a huge page.
    fn map(bytes: usize) -> Option<Self> {
        let mut mapping = MmapMut::map_anon(bytes.checked_add(HUGE_PAGE)?).ok()?;
        // A system without huge pages serves the same memory in small ones.
        #[cfg(target_os = "linux")]
        drop(mapping.advise(memmap2::Advice::HugePage));
        let first = mapping.as_mut_ptr();
        // SAFETY: the mapping is longer by a huge page than what is dealt of it.
        let next = unsafe { first.add(first.align_offset(HUGE_PAGE)) };
        Some(Self { mapping: Arc::new(mapping), next: NonNull::new(next)?, left: bytes })
    }

    /// Deals the next `bytes`, whole cache lines, if so many are left.
    fn deal(&mut self, bytes: usize) -> Option<HugeRange> {
        self.left = self.left.checked_sub(bytes)?;
        let start = self.next;
        // SAFETY: `left` counts the mapping's bytes from `next` on.
        self.next = unsafe { start.add(bytes) };
        Some(HugeRange { start, _mapping: Arc::clone(&self.mapping) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_aligned_and_apart() {
        let sizes = [1, 63, 64, 1000, 5 << 20, SHARED_BYTES - 1, SHARED_BYTES, SHARED_BYTES + 1];
        let ranges: Vec<_> =
            sizes.iter().map(|&bytes| (HugeRange::zeros(bytes).unwrap(), bytes)).collect();
        let mut places: Vec<_> =
            ranges.iter().map(|(range, bytes)| (range.start().as_ptr() as usize, *bytes)).collect();
        places.sort_unstable();
        assert!(places.iter().all(|(start, _)| start % ALIGN == 0));
        assert!(places.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
    }

    #[test]
    fn too_much_is_none() {
        assert!(HugeRange::zeros(usize::MAX).is_none());
        assert!(HugeRange::zeros(usize::MAX - HUGE_PAGE).is_none());
    }
}
