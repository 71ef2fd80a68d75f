//! Memory that is free and that nobody has given back.
#![allow(unsafe_code, reason = "the allocator's own function is foreign code; see `give_back` for what makes it sound")]

/// Gives the system back what is free of this thread's memory, and of threads that have ended. Threads that compiled a
/// plugin leave a hundred megabytes and more, and nobody else would come past them.
pub(crate) fn give_back() {
    // SAFETY: it takes no pointer, may be called by any thread at any time, and touches no memory that is in use.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
