//! Memory for kernels: aligned to cache lines, zeroed, of a fixed length.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    fmt,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

use crate::huge::HugeRange;

/// Bytes of a cache line, and of the widest vector.
const ALIGN: usize = 64;

/// Values for which all bits zero is a valid value, so that zeroed memory holds them.
///
/// # Safety
/// Implementors are plain numbers.
pub(crate) unsafe trait Number: Copy {}

// SAFETY: all are plain numbers.
unsafe impl Number for u8 {}
// SAFETY: as above.
unsafe impl Number for i8 {}
// SAFETY: as above.
unsafe impl Number for i32 {}
// SAFETY: as above.
unsafe impl Number for f32 {}
// SAFETY: as above; `f16` is a transparent `u16`.
unsafe impl Number for half::f16 {}

/// A zeroed slice aligned to cache lines.
pub(crate) struct Buffer<T: Number> {
    start: NonNull<T>,
    len: usize,
    /// Whose memory it is; the allocator's if none.
    range: Option<HugeRange>,
}

// SAFETY: the buffer owns its numbers, as a `Box<[T]>` does.
unsafe impl<T: Number + Send> Send for Buffer<T> {}
// SAFETY: as above.
unsafe impl<T: Number + Sync> Sync for Buffer<T> {}

impl<T: Number> Buffer<T> {
    /// Allocates `len` zeros.
    ///
    /// # Panics
    /// Panics when the size overflows an address.
    pub(crate) fn zeros(len: usize) -> Self {
        if len == 0 {
            return Self { start: NonNull::dangling(), len, range: None };
        }
        let layout = Self::layout(len);
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        match NonNull::new(start.cast::<T>()) {
            Some(start) => Self { start, len, range: None },
            None => handle_alloc_error(layout),
        }
    }

    /// Allocates `len` zeros for good, in huge pages where the system has them: for
    /// weights, not for what comes and goes.
    ///
    /// # Panics
    /// Panics when the size overflows an address.
    pub(crate) fn lasting(len: usize) -> Self {
        match HugeRange::zeros(Self::layout(len).size()) {
            Some(range) if len > 0 => Self { start: range.start().cast(), len, range: Some(range) },
            _ => Self::zeros(len),
        }
    }

    /// Makes the buffer at least `len` long. What it held is lost if it grows.
    pub(crate) fn ensure(&mut self, len: usize) {
        if self.len < len {
            *self = Self::zeros(len);
        }
    }

    /// The address of the first value. Makes no reference to the values, so addresses
    /// that were given out before stay good.
    pub(crate) fn address(&self) -> *mut T {
        self.start.as_ptr()
    }

    fn layout(len: usize) -> Layout {
        let bytes = len.checked_mul(size_of::<T>()).expect("buffer fits the address space");
        Layout::from_size_align(bytes, ALIGN).expect("buffer fits the address space")
    }
}

impl<T: Number> Default for Buffer<T> {
    fn default() -> Self {
        Self::zeros(0)
    }
}

impl<T: Number> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.len > 0 && self.range.is_none() {
            // SAFETY: allocated by `zeros` with the same layout.
            unsafe { dealloc(self.start.as_ptr().cast(), Self::layout(self.len)) };
        }
    }
}

impl<T: Number> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        let mut copy = Self::zeros(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl<T: Number> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` values were zeroed at allocation and are owned.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Number> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T: Number> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} values)", self.len)
    }
}

/// A pointer that threads may share. Whoever dereferences it says why that is sound.
#[derive(Debug)]
pub(crate) struct Shared<T>(*mut T);

// SAFETY: sharing the address is harmless; each dereference is justified where it stands.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

impl<T> Shared<T> {
    /// Shares a slice's address.
    pub(crate) fn of(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }

    /// Shares an address.
    pub(crate) fn new(start: *mut T) -> Self {
        Self(start)
    }

    /// The address `offset` values on.
    ///
    /// # Safety
    /// The address must lie within the allocation.
    pub(crate) unsafe fn at(self, offset: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
    }
}
