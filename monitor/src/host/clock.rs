//! The clock that events are told by.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since boot, suspended time included, as the kernel programs count them.
#[must_use]
pub fn since_boot_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
