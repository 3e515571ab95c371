//! The time of a capture, as the kernel program's clock.

/// What the clock shows at the first packet, nanoseconds: not 0, which stands for "never".
pub const START_NS: u64 = 86_400 * SECOND;
/// How far a timestamp may lie behind an earlier one and still be of the same clock: packets of several queues are written
/// out of order.
const BEHIND_NS: i128 = SECOND as i128;
/// The longest silence that is believed.
const SILENCE_NS: i128 = 30 * 86_400 * SECOND as i128;
/// The latest time that the program's arithmetic holds for: two years.
const LATEST_NS: u64 = 730 * 86_400 * SECOND;
const SECOND: u64 = 1_000_000_000;

/// A clock that never goes back, driven by timestamps that may.
#[derive(Debug, Default)]
pub struct Clock {
    /// What it shows; 0 before the first packet.
    now_ns: u64,
    /// What to add to a timestamp.
    offset_ns: i128,
    /// The first timestamp.
    pub first_ns: Option<i64>,
    /// Packets whose time was earlier than that of one before them.
    pub reordered: u64,
    /// How often the timestamps leapt: back by more than a second, or ahead by more than 30 days.
    pub leaps: u64,
    /// Packets without a time.
    pub timeless: u64,
}

impl Clock {
    /// The time at a packet, nanoseconds.
    pub fn at(&mut self, time_ns: Option<i64>) -> u64 {
        if self.now_ns == 0 {
            self.now_ns = START_NS;
        }
        let Some(time_ns) = time_ns else {
            self.timeless += 1;
            return self.now_ns;
        };
        if self.first_ns.is_none() {
            self.first_ns = Some(time_ns);
            self.offset_ns = i128::from(self.now_ns) - i128::from(time_ns);
        }
        let ahead = i128::from(time_ns) + self.offset_ns - i128::from(self.now_ns);
        if !(-BEHIND_NS..=SILENCE_NS).contains(&ahead) {
            // Another clock: no time passes from one to the other.
            self.leaps += 1;
            self.offset_ns -= ahead;
        } else if ahead < 0 {
            self.reordered += 1;
        } else {
            self.now_ns = self.now_ns.saturating_add(ahead as u64).min(LATEST_NS);
        }
        self.now_ns
    }

    /// How much time there was from the first packet on, nanoseconds.
    #[must_use]
    pub fn elapsed_ns(&self) -> u64 {
        self.now_ns.saturating_sub(START_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_000_000 * SECOND as i64;

    fn times(at: &[i64]) -> (Vec<u64>, Clock) {
        let mut clock = Clock::default();
        let shown = at.iter().map(|at| clock.at(Some(NOW + at)) - START_NS).collect();
        (shown, clock)
    }

    #[test]
    fn time_goes_as_in_the_capture_whatever_year_it_is() {
        let (shown, clock) = times(&[0, 5, 5, 7_000_000_000]);
        assert_eq!(shown, [0, 5, 5, 7_000_000_000]);
        assert_eq!((clock.reordered, clock.leaps, clock.first_ns), (0, 0, Some(NOW)));
    }

    #[test]
    fn packets_out_of_order_stop_the_clock() {
        let (shown, clock) = times(&[0, 900, 400, 1000]);
        assert_eq!(shown, [0, 900, 900, 1000]);
        assert_eq!((clock.reordered, clock.leaps), (1, 0));
    }

    #[test]
    fn a_clock_that_was_set_goes_on_from_where_it_was() {
        const YEAR: i64 = 365 * 86_400 * SECOND as i64;
        let (shown, clock) = times(&[0, 10, YEAR, YEAR + 5, 20, 25]);
        assert_eq!(shown, [0, 10, 10, 15, 15, 20]);
        assert_eq!((clock.reordered, clock.leaps), (0, 2));
    }

    #[test]
    fn it_stays_within_what_the_program_can_count() {
        const WEEK: i64 = 7 * 86_400 * SECOND as i64;
        let weeks: Vec<i64> = (0..200).map(|week| week * WEEK).collect();
        let (shown, _) = times(&weeks);
        assert_eq!(shown.last(), Some(&(LATEST_NS - START_NS)));
        let mut clock = Clock::default();
        for at in [i64::MAX, i64::MIN, 0] {
            assert_eq!(clock.at(Some(at)), START_NS);
        }
    }

    #[test]
    fn a_packet_without_a_time_comes_with_the_one_before() {
        let mut clock = Clock::default();
        assert_eq!(
            [clock.at(None), clock.at(Some(NOW)), clock.at(Some(NOW + 3)), clock.at(None)],
            [START_NS, START_NS, START_NS + 3, START_NS + 3]
        );
        assert_eq!((clock.timeless, clock.elapsed_ns()), (2, 3));
    }
}
