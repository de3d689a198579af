//! Keys and values of sequences, in pages that sequences share.

mod page;

use std::sync::Arc;

pub use page::KvPool;
pub(crate) use page::{PAGE, PageShape};

use page::Page;

use crate::ActivationBits;

/// Keys and values of one sequence.
///
/// Cloning shares the pages; whoever writes to a shared page first copies it. That is how
/// many prompts continue from one prefix.
#[derive(Debug, Clone)]
pub struct KvCache {
    pool: Arc<KvPool>,
    pages: Vec<Arc<Page>>,
    len: usize,
    activations: ActivationBits,
}

impl KvCache {
    /// Makes an empty cache whose pages come from `pool`. Every pass that fills it rounds
    /// activations to `activations`, so that its contents do not depend on which passes did.
    pub fn new(pool: &Arc<KvPool>, activations: ActivationBits) -> Self {
        Self { pool: Arc::clone(pool), pages: Vec::new(), len: 0, activations }
    }

    /// How finely passes over it round the inputs of products with quantised weights.
    pub fn activations(&self) -> ActivationBits {
        self.activations
    }

    /// Positions that are filled.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Tells whether no position is filled.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.pages.truncate(self.len.div_ceil(PAGE));
    }

    /// Bytes of the pages, shared ones included.
    pub fn bytes(&self) -> usize {
        self.pages.len() * self.pool.page_bytes()
    }

    /// Tells whether the pages come from `pool`.
    pub(crate) fn is_of(&self, pool: &Arc<KvPool>) -> bool {
        Arc::ptr_eq(&self.pool, pool)
    }

    /// Makes the pages for `added` more positions writable: new ones, and a copy of the
    /// last if it is shared. Returns the pages' addresses.
    pub(crate) fn extend(&mut self, added: usize) -> Vec<*mut u8> {
        let end = self.len + added;
        while self.pages.len() < end.div_ceil(PAGE) {
            self.pages.push(Arc::new(Page::new(&self.pool)));
        }
        let mut addresses = Vec::with_capacity(self.pages.len());
        for (index, page) in self.pages.iter_mut().enumerate() {
            if (index + 1) * PAGE > self.len && Arc::get_mut(page).is_none() {
                *page = Arc::new(page.duplicate(&self.pool));
            }
            addresses.push(page.address());
        }
        addresses
    }

    /// Counts `added` positions as filled.
    pub(crate) fn advance(&mut self, added: usize) {
        self.len += added;
    }
}
