//! What the allocator does with memory that is freed.

use libmimalloc_sys::{mi_option_large_os_pages, mi_option_set, mi_option_t};

/// Milliseconds before freed memory goes back to the system; -1 is never. The bindings leave this
/// option out; its number is that of `mi_option_e` in mimalloc 3.
const PURGE_DELAY: mi_option_t = 15;

/// Has the allocator keep what is freed, in huge pages where the system has them: for work that
/// frees gigabytes only to ask for them again, as every step of a training does. Has no effect on
/// a program with another allocator than mimalloc.
pub fn keep_freed_memory() {
    // SAFETY: options are plain numbers, which may be set at any time from any thread.
    unsafe {
        mi_option_set(PURGE_DELAY, -1);
        mi_option_set(mi_option_large_os_pages, 1);
    }
}

#[cfg(test)]
mod tests {
    /// That the number is the option meant shows by its default: those of the options before and
    /// after are 1 and 0.
    #[test]
    fn options_are_set() {
        let options = [super::PURGE_DELAY, libmimalloc_sys::mi_option_large_os_pages];
        if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
            // SAFETY: reading an option has no conditions.
            assert_eq!(unsafe { libmimalloc_sys::mi_option_get(super::PURGE_DELAY) }, 1000);
        }
        super::keep_freed_memory();
        // SAFETY: reading an option has no conditions.
        let values = options.map(|option| unsafe { libmimalloc_sys::mi_option_get(option) });
        assert_eq!(values, [-1, 1]);
    }
}
