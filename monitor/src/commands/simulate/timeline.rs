//! When it happened: counts by intervals that grow with the capture, so that there are never many.

use crate::agent::simulate::Amount;

/// Intervals that are kept.
const KEPT: usize = 400;
/// Intervals that are shown.
pub const SHOWN: usize = 20;
/// How long an interval that is kept may be, milliseconds; each a multiple of the one before.
const WIDTHS_MS: [u64; 19] = {
    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;
    [
        1,
        5,
        10,
        50,
        100,
        500,
        1000,
        5000,
        10_000,
        30_000,
        MINUTE,
        5 * MINUTE,
        10 * MINUTE,
        30 * MINUTE,
        HOUR,
        6 * HOUR,
        12 * HOUR,
        24 * HOUR,
        168 * HOUR,
    ]
};
/// How many intervals that are kept make one that is shown.
const STEPS: [usize; 5] = [1, 2, 5, 10, 20];

/// What happened in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Interval {
    /// Packets that arrived.
    pub arrived: Amount,
    /// Those of them that were dropped.
    pub dropped: Amount,
    /// Those that would have been dropped, if the rules that observe were enforced.
    pub would_drop: Amount,
}

impl Interval {
    fn add(&mut self, other: &Self) {
        self.arrived.add(other.arrived);
        self.dropped.add(other.dropped);
        self.would_drop.add(other.would_drop);
    }
}

/// Counts over time.
#[derive(Debug, Default)]
pub struct Timeline {
    width: usize,
    intervals: Vec<Interval>,
}

impl Timeline {
    /// Adds what happened so many nanoseconds after the first packet.
    pub fn add(&mut self, elapsed_ns: u64, what: &Interval) {
        let mut index = self.index(elapsed_ns);
        while index >= KEPT && self.width + 1 < WIDTHS_MS.len() {
            self.widen();
            index = self.index(elapsed_ns);
        }
        // Beyond the last one is later than any clock here.
        let index = index.min(KEPT - 1);
        if index >= self.intervals.len() {
            self.intervals.resize(index + 1, Interval::default());
        }
        self.intervals[index].add(what);
    }

    fn index(&self, elapsed_ns: u64) -> usize {
        (elapsed_ns / 1_000_000 / WIDTHS_MS[self.width]) as usize
    }

    fn widen(&mut self) {
        let factor = (WIDTHS_MS[self.width + 1] / WIDTHS_MS[self.width]) as usize;
        self.intervals = join(&self.intervals, factor);
        self.width += 1;
    }

    /// At most [`SHOWN`] intervals, and how many milliseconds each is long.
    #[must_use]
    pub fn shown(&self) -> (u64, Vec<Interval>) {
        let fits = |step: &&usize| self.intervals.len().div_ceil(**step) <= SHOWN;
        let step = STEPS.iter().find(fits).copied().unwrap_or(KEPT / SHOWN);
        (WIDTHS_MS[self.width] * step as u64, join(&self.intervals, step))
    }
}

fn join(intervals: &[Interval], factor: usize) -> Vec<Interval> {
    let sum = |part: &[Interval]| {
        let mut sum = Interval::default();
        part.iter().for_each(|interval| sum.add(interval));
        sum
    };
    intervals.chunks(factor).map(sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: Interval = Interval {
        arrived: Amount { packets: 1, bytes: 100 },
        dropped: Amount { packets: 0, bytes: 0 },
        would_drop: Amount { packets: 0, bytes: 0 },
    };
    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn widths_are_multiples_of_each_other() {
        assert!(WIDTHS_MS.windows(2).all(|pair| pair[1] % pair[0] == 0));
    }

    #[test]
    fn a_minute_is_shown_by_seconds() {
        let mut timeline = Timeline::default();
        (0..60).for_each(|second| timeline.add(second * SECOND, &ONE));
        let (width, shown) = timeline.shown();
        assert_eq!((width, shown.len()), (5000, 12));
        assert!(shown.iter().all(|interval| interval.arrived.packets == 5));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_there_are_never_many(spans in prop::collection::vec(0u64..86_400 * SECOND, 1..200)) {
            let mut timeline = Timeline::default();
            let mut now = 0;
            for span in &spans {
                now += span;
                timeline.add(now, &ONE);
            }
            let (width, shown) = timeline.shown();
            prop_assert!(shown.len() <= SHOWN);
            prop_assert_eq!(shown.iter().map(|interval| interval.arrived.packets).sum::<u64>(), spans.len() as u64);
            prop_assert_eq!(shown.len() as u64, now / 1_000_000 / width + 1);
        }
    }
}
