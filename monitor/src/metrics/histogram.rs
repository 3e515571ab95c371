//! How many values were at most so large.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use monitor_common::count::{LIFETIMES, LIFETIMES_MS};

use super::snapshot::Lifetimes;

/// Most classes that a histogram has.
const MOST: usize = 14;

/// Upper bounds of the classes of [`Latency`], seconds. Records gather for 10 ms before the agent takes them.
const LATENCIES: [f64; MOST - 1] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Upper bounds of the classes of [`Lifetimes`], seconds.
const LIFETIME_BOUNDS: [f64; LIFETIMES - 1] = {
    let mut bounds = [0.0; LIFETIMES - 1];
    let mut index = 0;
    while index < bounds.len() {
        bounds[index] = LIFETIMES_MS[index] as f64 / 1000.0;
        index += 1;
    }
    bounds
};

/// Values by class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Histogram {
    /// Upper bounds of all classes but the last, which has none.
    bounds: &'static [f64],
    /// How many values there are in each class.
    counts: [u64; MOST],
    /// All values together.
    pub sum: f64,
}

impl Histogram {
    /// Adds another one of the same classes.
    pub fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(to, from)| *to += from);
        self.sum += other.sum;
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many there are in each class, by its upper bound.
    pub fn classes(&self) -> Vec<(f64, u64)> {
        self.bounds.iter().copied().chain([f64::INFINITY]).zip(self.counts).collect()
    }
}

impl From<&Lifetimes> for Histogram {
    fn from(lifetimes: &Lifetimes) -> Self {
        let mut counts = [0; MOST];
        counts[..LIFETIMES].copy_from_slice(&lifetimes.counts);
        Self { bounds: &LIFETIME_BOUNDS, counts, sum: lifetimes.sum }
    }
}

/// How long something took, counted without a lock.
#[derive(Debug, Default)]
pub(super) struct Latency {
    counts: [AtomicU64; MOST],
    sum_ns: AtomicU64,
}

impl Latency {
    /// Counts one.
    pub fn observe(&self, ns: u64) {
        let seconds = ns as f64 / 1e9;
        let class = LATENCIES.partition_point(|bound| *bound < seconds);
        self.counts[class].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(ns, Relaxed);
    }

    /// Those so far.
    pub fn read(&self) -> Histogram {
        let counts = std::array::from_fn(|class| self.counts[class].load(Relaxed));
        Histogram { bounds: &LATENCIES, counts, sum: self.sum_ns.load(Relaxed) as f64 / 1e9 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_class() {
        let latency = Latency::default();
        for ns in [0, 1_000_000, 1_000_001, 10_000_000_000, 10_000_000_001] {
            latency.observe(ns);
        }
        let read = latency.read();
        let filled: Vec<_> = read.classes().into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.001, 2), (0.0025, 1), (10.0, 1), (f64::INFINITY, 1)]);
        assert_eq!(read.count(), 5);
        assert!((read.sum - 20.002_000_002).abs() < 1e-9, "{}", read.sum);
    }

    #[test]
    fn lifetimes_have_their_bounds_in_seconds() {
        let lifetimes = Lifetimes { sum: 4.0, counts: [1, 0, 0, 0, 0, 0, 0, 0, 2] };
        let mut histogram = Histogram::from(&lifetimes);
        histogram.add(&Histogram::from(&lifetimes));
        let classes = histogram.classes();
        assert_eq!((classes[0], classes[7], classes[8]), ((0.001, 2), (3600.0, 0), (f64::INFINITY, 4)));
        assert_eq!((histogram.sum, histogram.count()), (8.0, 6));
    }
}
