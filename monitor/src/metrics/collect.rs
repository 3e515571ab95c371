//! Walks the table for a scrape.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Add,
    sync::{Arc, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
    registry,
};

use super::{
    Canary, Facts, METRICS, Metric, Penalties, SinkCounters, Snapshot, Sources, Type, Unit,
    counters::Counters, histogram::Histogram, process::ProcessStats, series::Series, snapshot::Lifetimes,
};

/// Everything that one scrape shows, read at one time.
#[derive(Debug)]
pub(crate) struct View {
    pub kernel: Option<Snapshot>,
    pub facts: Facts,
    pub generation: Option<String>,
    pub counters: Arc<Counters>,
    pub sinks: Vec<(Arc<str>, Arc<SinkCounters>)>,
    pub canaries: Vec<(&'static str, Canary)>,
    pub penalties: Vec<Penalties>,
    pub(super) series: Arc<Series>,
    pub process: Option<ProcessStats>,
}

/// The values of one metric, by the values of its labels in the order of its row.
#[derive(Debug, Default)]
pub(super) struct Samples<'v>(BTreeMap<Vec<&'v str>, Number>);

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(u64),
    Float(f64),
    Histogram(Histogram),
}

impl<'v> Samples<'v> {
    /// Adds a value; values with the same labels are added up, for a series may be exposed only once.
    pub fn add<const N: usize>(&mut self, labels: [&'v str; N], value: impl Into<Number>) {
        let value = value.into();
        self.insert(labels.to_vec(), value);
    }

    fn insert(&mut self, labels: Vec<&'v str>, value: Number) {
        self.0.entry(labels).and_modify(|sum| *sum = *sum + value).or_insert(value);
    }

    /// Adds up what doesn't fit, under labels that all have one value; how many that were.
    pub fn fold(self, other: &'v str, mut fits: impl FnMut(&[&'v str]) -> bool) -> (Self, u64) {
        let (mut kept, mut folded) = (Self::default(), 0);
        for (labels, value) in self.0 {
            if fits(&labels) {
                kept.insert(labels, value);
            } else {
                kept.insert(vec![other; labels.len()], value);
                folded += 1;
            }
        }
        (kept, folded)
    }

    #[cfg(test)]
    pub fn values(&self) -> impl Iterator<Item = (&[&'v str], f64)> {
        self.0.iter().map(|(labels, value)| (&labels[..], value.as_f64()))
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<Lifetimes> for Number {
    fn from(value: Lifetimes) -> Self {
        Self::Histogram((&value).into())
    }
}

impl From<Histogram> for Number {
    fn from(value: Histogram) -> Self {
        Self::Histogram(value)
    }
}

impl Add for Number {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Self::Int(a.wrapping_add(b)),
            (Self::Histogram(mut a), Self::Histogram(b)) => {
                a.add(&b);
                Self::Histogram(a)
            }
            (a, b) => Self::Float(a.as_f64() + b.as_f64()),
        }
    }
}

impl Number {
    fn as_f64(self) -> f64 {
        match self {
            // Exact up to 2^53; only ever met where a sum already is a fraction.
            #[allow(clippy::cast_precision_loss)]
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
            Self::Histogram(value) => value.sum,
        }
    }
}

/// Feeds the table to the encoder.
#[derive(Debug)]
pub(super) struct TableCollector {
    sources: Arc<Sources>,
    series: Arc<Series>,
}

impl TableCollector {
    pub fn new(sources: Arc<Sources>) -> Self {
        Self { sources, series: Arc::default() }
    }
}

impl Sources {
    /// Reads everything. The memory of series is the collector's own.
    pub(super) fn view(&self) -> View {
        // The guard must not be held while the maps are read: that would make attach and detach wait.
        let kernel = self.kernel.read().unwrap_or_else(PoisonError::into_inner).clone();
        let facts = self.facts.read().unwrap_or_else(PoisonError::into_inner).clone();
        let counters = Arc::clone(&self.counters);
        View {
            kernel: kernel.map(|kernel| kernel.snapshot()),
            generation: facts.policy.as_ref().map(|policy| policy.generation.to_string()),
            facts,
            sinks: counters.sinks(),
            canaries: counters.canaries(),
            penalties: counters.bans.penalties(),
            series: Arc::default(),
            counters,
            process: ProcessStats::read(),
        }
    }
}

impl Collector for TableCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let view = View { series: Arc::clone(&self.series), ..self.sources.view() };
        METRICS.iter().try_for_each(|metric| encode_metric(metric, &view, &mut encoder))
    }
}

fn encode_metric(metric: &Metric, view: &View, encoder: &mut DescriptorEncoder) -> fmt::Result {
    let mut samples = Samples::default();
    (metric.read)(view, &mut samples);
    let samples = view.series.bound(metric, samples);
    let unit = match metric.unit {
        Unit::None => None,
        Unit::Bytes => Some(registry::Unit::Bytes),
        Unit::Seconds => Some(registry::Unit::Seconds),
    };
    let kind = match metric.kind {
        Type::Counter => MetricType::Counter,
        Type::Gauge => MetricType::Gauge,
        Type::Info => MetricType::Info,
        Type::Histogram => MetricType::Histogram,
    };
    let mut family = encoder.encode_descriptor(metric.stem(), metric.help, unit.as_ref(), kind)?;
    for (values, number) in samples.0 {
        debug_assert_eq!(values.len(), metric.labels.len(), "labels of {}", metric.name);
        let labels: Vec<(&str, &str)> = metric.labels.iter().copied().zip(values).collect();
        if metric.kind == Type::Info {
            family.encode_info(&labels)?;
        } else if labels.is_empty() {
            return encode_number(metric.kind, number, family);
        } else {
            encode_number(metric.kind, number, family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn encode_number(kind: Type, number: Number, mut encoder: MetricEncoder) -> fmt::Result {
    match (kind, number) {
        (_, Number::Histogram(histogram)) => {
            let (count, classes) = (histogram.count(), histogram.classes());
            encoder.encode_histogram::<NoLabelSet>(histogram.sum, count, &classes, None)
        }
        (Type::Counter, Number::Int(value)) => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
        (Type::Counter, Number::Float(value)) => encoder.encode_counter::<NoLabelSet, _, f64>(&value, None),
        (_, Number::Int(value)) => encoder.encode_gauge(&value),
        (_, Number::Float(value)) => encoder.encode_gauge(&value),
    }
}
