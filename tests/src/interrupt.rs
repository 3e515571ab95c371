//! Ctrl-C ends the demo or a benchmark between two steps, so that everything it made is removed.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};

static SEEN: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: libc::c_int) {
    SEEN.store(true, Ordering::SeqCst);
}

/// From now on the signals that end a program are only noted.
pub fn install() {
    let handler = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, handler) };
    }
}

/// Whether one has come.
pub fn seen() -> bool {
    SEEN.load(Ordering::SeqCst)
}

/// Goes on only if none has come.
///
/// # Errors
/// When one has.
pub fn check() -> Result<()> {
    ensure!(!seen(), "interrupted");
    Ok(())
}
