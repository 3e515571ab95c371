//! How many series a metric may have.
//!
//! Labels come from closed sets, but a policy may have many rules, databases and workloads, and what they make together
//! is more than a Prometheus should be given. What has no room is added up in one series, whose labels all say `other`.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, PoisonError},
};

use super::{Metric, Type, collect::Samples};

/// Most sets of labels that one metric shows, without the one for the others.
pub(super) const MOST: usize = 2048;

/// Value of every label of what has no room.
pub(super) const OTHER: &str = "other";

/// What was shown of each metric.
#[derive(Debug, Default)]
pub(super) struct Series {
    hasher: RandomState,
    families: Mutex<HashMap<&'static str, Family>>,
}

#[derive(Debug, Default)]
struct Family {
    /// Hashes of the labels of counters that have a series of their own. They keep it: were one to be added to the
    /// others, or taken out of them, a counter would go down.
    shown: HashSet<u64>,
    folded: u64,
}

impl Series {
    /// Adds up what has no room.
    pub fn bound<'v>(&self, metric: &Metric, samples: Samples<'v>) -> Samples<'v> {
        if metric.labels.is_empty() {
            return samples;
        }
        let counts = matches!(metric.kind, Type::Counter | Type::Histogram);
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let family = families.entry(metric.name).or_default();
        let mut room = MOST;
        let (bounded, folded) = samples.fold(OTHER, |labels| {
            if counts {
                let hash = self.hasher.hash_one(labels);
                return family.shown.contains(&hash)
                    || family.shown.len() < MOST && family.shown.insert(hash);
            }
            let fits = room > 0;
            room = room.saturating_sub(1);
            fits
        });
        family.folded += folded;
        bounded
    }

    /// By metric with labels, how often a scrape had no room for a set of them.
    pub fn folded(&self) -> HashMap<&'static str, u64> {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        families.iter().map(|(name, family)| (*name, family.folded)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::METRICS;

    fn metric(kind: Type) -> &'static Metric {
        METRICS.iter().find(|metric| metric.kind == kind && metric.labels.len() == 1).unwrap()
    }

    fn shown(series: &Series, kind: Type, values: &[(String, u64)]) -> Vec<(String, f64)> {
        let mut samples = Samples::default();
        values.iter().for_each(|(label, value)| samples.add([label], *value));
        let bounded = series.bound(metric(kind), samples);
        bounded.values().map(|(labels, value)| (labels.join(","), value)).collect()
    }

    fn many(range: std::ops::Range<usize>, each: u64) -> Vec<(String, u64)> {
        range.map(|index| (format!("rule {index:05}"), each)).collect()
    }

    fn other(shown: &[(String, f64)]) -> f64 {
        shown.iter().find(|(labels, _)| labels == OTHER).map_or(0.0, |(_, value)| *value)
    }

    #[test]
    fn what_fits_is_shown_as_it_is() {
        for kind in [Type::Counter, Type::Gauge] {
            let series = Series::default();
            let shown = shown(&series, kind, &many(0..MOST, 3));
            assert_eq!((shown.len(), other(&shown)), (MOST, 0.0), "{kind:?}");
            assert_eq!(series.folded()[metric(kind).name], 0);
        }
    }

    #[test]
    fn a_counter_keeps_its_series_and_the_sum_of_all_is_right() {
        let series = Series::default();
        // These come first in the order of names, but later in time.
        let late = many(0..1000, 7);
        let mut all = many(1000..1000 + MOST, 1);
        let first = shown(&series, Type::Counter, &all);
        assert_eq!(first.len(), MOST);
        all.extend(late);
        let second = shown(&series, Type::Counter, &all);
        assert_eq!((second.len(), other(&second)), (MOST + 1, 7000.0));
        assert!(first.iter().all(|series| second.contains(series)));
        assert_eq!(series.folded()[metric(Type::Counter).name], 1000);
        // One that is gone leaves its place to nobody: whoever took it would be taken out of the others.
        let third = shown(&series, Type::Counter, &all[1..]);
        assert_eq!((third.len(), other(&third)), (MOST, 7000.0));
    }

    #[test]
    fn gauges_that_do_not_fit_are_added_up() {
        let series = Series::default();
        let shown = shown(&series, Type::Gauge, &many(0..5000, 2));
        let sum: f64 = shown.iter().map(|(_, value)| value).sum();
        assert_eq!((shown.len(), sum), (MOST + 1, 10_000.0));
    }
}
