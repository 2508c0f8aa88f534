//! Keeps an idle daemon small: what a sync needed goes back to the system.
//!
//! glibc gives every thread an arena of its own and keeps what was freed in it. dagsync runs in every pod of a cluster
//! and is idle nearly always, so a single arena that is trimmed after work costs little and saves megabytes a pod.
#![allow(unsafe_code, reason = "two calls into the C library, which has no safe wrapper for them")]

/// To be called before other threads are started.
pub(crate) fn use_one_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: plain integers; called while there is one thread. A refusal changes nothing.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives freed memory back.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: may be called at any time from any thread.
    let _ = unsafe { libc::malloc_trim(0) };
}
