//! Waiting for a thing, by looking at it.

use std::{
    env, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How long to wait between two looks.
const STEP: Duration = Duration::from_millis(5);

/// Names a factor for all deadlines, for machines slower than the one the numbers were chosen on.
const SLOWDOWN: &str = "MONITOR_TEST_SLOWDOWN";

/// A point in time after which something counts as failed.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// The time left; zero when it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// A deadline this many seconds from now, times [`slowdown`].
pub fn deadline(seconds: f64) -> Deadline {
    Deadline(Instant::now() + Duration::from_secs_f64(seconds * slowdown()))
}

/// How much slower than usual this machine is (`MONITOR_TEST_SLOWDOWN`, 1 when unset), for deadlines and for
/// the size of bulk scenarios.
pub fn slowdown() -> f64 {
    let factor = env::var(SLOWDOWN).ok().and_then(|text| text.parse().ok());
    factor.filter(|factor: &f64| factor.is_finite() && *factor > 0.0).unwrap_or(1.0)
}

/// Looks again and again until there is something to return.
///
/// # Errors
/// When a look fails, or nothing was seen by the deadline; `what` says in the message what was awaited.
pub fn eventually<T>(
    what: &str,
    deadline: Deadline,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    loop {
        let left = deadline.left();
        if let Some(seen) = look().with_context(|| format!("waiting for {what}"))? {
            return Ok(seen);
        }
        if left.is_zero() {
            bail!("{what}: not seen in time");
        }
        thread::sleep(STEP.min(left));
    }
}
