//! Times of the kernel and times of people.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds in a second.
const SECOND: i128 = 1_000_000_000;
/// The clocks are read one after the other: a time that is a whole second but for this was one.
const BETWEEN: i128 = 10_000_000;
/// An end that never comes.
pub const NEVER: u64 = u64::MAX;

/// One moment on both clocks: the kernel programs compare with the monotonic one, which starts anew at each boot.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Nanoseconds of the monotonic clock.
    pub monotonic_ns: u64,
    /// Nanoseconds since the epoch.
    wall_ns: i128,
}

impl Now {
    /// This moment.
    #[must_use]
    pub fn read() -> Self {
        let time = clock_gettime(ClockId::Monotonic);
        let monotonic_ns = i128::from(time.tv_sec) * SECOND + i128::from(time.tv_nsec);
        Self {
            monotonic_ns: u64::try_from(monotonic_ns).unwrap_or(0),
            wall_ns: jiff::Timestamp::now().as_nanosecond(),
        }
    }

    /// Seconds since the epoch.
    #[must_use]
    pub fn seconds(&self) -> i64 {
        seconds(self.wall_ns)
    }

    /// When it is `monotonic_ns`: seconds since the epoch, rounded up but for some milliseconds. `None`: never.
    #[must_use]
    pub fn wall(&self, monotonic_ns: u64) -> Option<i64> {
        let ahead = i128::from(monotonic_ns) - i128::from(self.monotonic_ns);
        (monotonic_ns != NEVER).then(|| seconds(self.wall_ns + ahead + SECOND - 1 - BETWEEN))
    }

    /// The other way round. What was before the boot is the boot.
    #[must_use]
    pub fn monotonic(&self, wall_s: Option<i64>) -> u64 {
        let Some(wall_s) = wall_s else { return NEVER };
        let ahead = i128::from(wall_s) * SECOND - self.wall_ns;
        let at = (i128::from(self.monotonic_ns) + ahead).max(0);
        u64::try_from(at).unwrap_or(NEVER).min(NEVER - 1)
    }

    /// After a number of seconds.
    #[must_use]
    pub fn after(&self, seconds: Option<u64>) -> u64 {
        let Some(seconds) = seconds else { return NEVER };
        self.monotonic_ns.saturating_add(seconds.saturating_mul(1_000_000_000)).min(NEVER - 1)
    }
}

fn seconds(wall_ns: i128) -> i64 {
    i64::try_from(wall_ns.div_euclid(SECOND)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_a_boot() {
        let before = Now { monotonic_ns: 5_000_000_000_000, wall_ns: 1_700_000_000 * SECOND + 250_000_000 };
        let until = before.after(Some(3600));
        let wall = before.wall(until);
        assert_eq!(wall, Some(1_700_003_601), "rounded up");
        let after = Now { monotonic_ns: 7_000_000_000, wall_ns: 1_700_000_601 * SECOND };
        assert_eq!(after.monotonic(wall), 3_007_000_000_000);
        assert_eq!(after.monotonic(Some(1)), 0, "before the boot");
        let later = Now { wall_ns: after.wall_ns + 5_000_000, ..after };
        assert_eq!(later.wall(after.monotonic(wall)), wall, "no second more each time");
        assert_eq!((after.monotonic(None), after.wall(NEVER)), (NEVER, None));
    }
}
