//! The agent's own memory.

/// Gives back to the system what was freed. To load kernel programs takes some 50 MB for a moment (the types of the whole
/// kernel are read), which the C library would keep for the next time.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointers, and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
