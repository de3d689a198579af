//! A page: keys and values of 32 positions in all layers.

use std::{
    cell::UnsafeCell,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::buffer::Buffer;

/// Positions of a page.
pub(crate) const PAGE: usize = 32;

/// Sizes that decide where things lie in a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageShape {
    pub(crate) layers: usize,
    pub(crate) kv_heads: usize,
    /// A head's width, rounded up to whole vectors.
    pub(crate) head_width: usize,
    /// Bytes of an element.
    pub(crate) element: usize,
}

impl PageShape {
    /// Bytes of a page.
    pub(crate) fn bytes(&self) -> usize {
        self.layers * self.kv_heads * 2 * PAGE * self.head_width * self.element
    }

    /// The element at which a head's keys start: `[head_width, PAGE]`, transposed so that
    /// one query's scores for neighbouring positions are one vector. The values follow,
    /// `[PAGE, head_width]`.
    pub(crate) fn head_start(&self, layer: usize, head: usize) -> usize {
        (layer * self.kv_heads + head) * 2 * PAGE * self.head_width
    }
}

/// Pages that are not in use, kept so that a prompt need not fault memory in.
#[derive(Debug)]
pub struct KvPool {
    page_bytes: usize,
    free_max: usize,
    free: Mutex<Vec<Buffer<u8>>>,
}

/// Keys and values of 32 positions in all layers.
///
/// The kernels write through [`Page::address`] while the pass holds the cache that owns
/// the page exclusively; shared pages are only read.
#[derive(Debug)]
pub(crate) struct Page {
    memory: UnsafeCell<Buffer<u8>>,
    pool: Weak<KvPool>,
}

// SAFETY: writes happen only through a cache that holds the only reference (see
// `KvCache::extend`), within one forward pass.
unsafe impl Sync for Page {}

impl KvPool {
    /// Makes a pool of pages of one shape that keeps up to `free_bytes` unused.
    pub(crate) fn new(shape: PageShape, free_bytes: usize) -> Arc<Self> {
        let page_bytes = shape.bytes();
        let free_max = free_bytes / page_bytes.max(1);
        Arc::new(Self { page_bytes, free_max, free: Mutex::new(Vec::new()) })
    }

    /// Bytes of a page.
    pub fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// Pages that wait to be used again.
    pub fn free_pages(&self) -> usize {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn take(&self) -> Buffer<u8> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| Buffer::zeros(self.page_bytes))
    }

    fn give(&self, memory: Buffer<u8>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.free_max {
            free.push(memory);
        }
    }
}

impl Page {
    /// Takes a page. What it holds is undefined but initialised.
    pub(super) fn new(pool: &Arc<KvPool>) -> Self {
        Self { memory: UnsafeCell::new(pool.take()), pool: Arc::downgrade(pool) }
    }

    /// Copies a page.
    pub(super) fn duplicate(&self, pool: &Arc<KvPool>) -> Self {
        let mut memory = pool.take();
        // SAFETY: a shared page is not written to.
        memory.copy_from_slice(unsafe { &*self.memory.get() });
        Self { memory: UnsafeCell::new(memory), pool: Arc::downgrade(pool) }
    }

    /// Where the page's memory lies.
    pub(super) fn address(&self) -> *mut u8 {
        // SAFETY: the buffer itself does not move or change, and its bytes are not referred
        // to: another span of the pass may hold the address of this same page.
        unsafe { (*self.memory.get()).address() }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.give(std::mem::take(self.memory.get_mut()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::KvCache, *};
    use crate::ActivationBits;

    fn pool() -> Arc<KvPool> {
        let shape = PageShape { layers: 1, kv_heads: 1, head_width: 16, element: 4 };
        KvPool::new(shape, 4 * shape.bytes())
    }

    fn write(cache: &mut KvCache, added: usize, value: u8) {
        let pages = cache.extend(added);
        let (first, end) = (cache.len(), cache.len() + added);
        for position in first..end {
            // SAFETY: `extend` has made the page writable.
            unsafe { *pages[position / PAGE].add(position % PAGE) = value };
        }
        cache.advance(added);
    }

    fn read(cache: &mut KvCache, position: usize) -> u8 {
        let pages = cache.extend(0);
        // SAFETY: the position is filled.
        unsafe { *pages[position / PAGE].add(position % PAGE) }
    }

    #[test]
    fn clones_do_not_see_each_other() {
        let pool = pool();
        let mut prefix = KvCache::new(&pool, ActivationBits::Sixteen);
        write(&mut prefix, PAGE + 3, 1);
        let (mut left, mut right) = (prefix.clone(), prefix.clone());
        write(&mut left, 2, 2);
        write(&mut right, PAGE, 3);
        write(&mut prefix, 1, 4);
        assert_eq!(read(&mut left, PAGE + 3), 2);
        assert_eq!(read(&mut right, PAGE + 3), 3);
        assert_eq!(read(&mut prefix, PAGE + 3), 4);
        assert_eq!((left.len(), right.len(), prefix.len()), (PAGE + 5, 2 * PAGE + 3, PAGE + 4));
        for cache in [&mut left, &mut right, &mut prefix] {
            assert_eq!((read(cache, 0), read(cache, PAGE + 2)), (1, 1));
        }
    }

    #[test]
    fn truncating_gives_pages_back() {
        let pool = pool();
        let mut cache = KvCache::new(&pool, ActivationBits::Sixteen);
        write(&mut cache, 3 * PAGE, 1);
        cache.truncate(PAGE + 1);
        assert_eq!(pool.free_pages(), 1);
        write(&mut cache, 1, 2);
        assert_eq!((read(&mut cache, PAGE), read(&mut cache, PAGE + 1)), (1, 2));
        drop(cache);
        assert_eq!(pool.free_pages(), 3);
    }

    #[test]
    fn a_pool_keeps_no_more_than_it_may() {
        let pool = pool();
        let mut cache = KvCache::new(&pool, ActivationBits::Sixteen);
        write(&mut cache, 9 * PAGE, 1);
        assert_eq!(cache.bytes(), 9 * pool.page_bytes());
        drop(cache);
        assert_eq!(pool.free_pages(), 4);
    }
}
