//! How long to wait before what failed is tried again.

use std::{
    thread,
    time::{Duration, Instant},
};

const FIRST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_secs(30);
/// While the agent is ending there isn't time for more.
const ENDING: Duration = Duration::from_millis(500);
/// How often is looked whether waiting still makes sense.
const LOOK: Duration = Duration::from_millis(50);

/// Waits twice as long after each failure.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// It went well: the next failure is the first again.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }

    /// Waits; shorter while the agent is `ending`, and not at all once there is a reason to `stop`.
    pub fn wait(&mut self, ending: impl Fn() -> bool, stop: impl Fn() -> bool) {
        let began = Instant::now();
        while !stop() {
            let whole = if ending() { self.next.min(ENDING) } else { self.next };
            let Some(left) = whole.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) else { break };
            thread::sleep(left.min(LOOK));
        }
        self.next = (self.next * 2).min(MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_twice_as_long_and_a_reason_to_stop_ends_it() {
        let mut backoff = Backoff::default();
        let began = Instant::now();
        backoff.wait(|| false, || false);
        backoff.wait(|| false, || false);
        assert!(began.elapsed() >= FIRST * 3);
        assert_eq!(backoff.next, FIRST * 4);
        (0..20).for_each(|_| backoff.wait(|| false, || true));
        assert_eq!(backoff.next, MOST);
        let began = Instant::now();
        backoff.wait(|| true, || false);
        assert!(began.elapsed() < MOST / 2, "the agent is ending");
        backoff.reset();
        assert_eq!(backoff.next, FIRST);
    }
}
