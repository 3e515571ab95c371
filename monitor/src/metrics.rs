//! What `/metrics` says.
//!
//! One table, [`METRICS`], feeds the exposition, the documentation and the tests. To add a metric: one row in
//! `metrics/table.rs`, and where its value comes from in `metrics/read.rs`.
//!
//! Labels come only from names in the policy, names of interfaces, programs and maps, and enums in the code.

mod collect;
mod counters;
mod dashboard;
mod docs;
mod facts;
mod histogram;
mod metric;
mod plain;
mod process;
mod read;
mod readers;
mod series;
pub mod snapshot;
mod table;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use prometheus_client::{encoding::text, registry::Registry};

pub(crate) use collect::View;
pub use counters::{
    BanFailure, BanKind, Canary, Change, ControlOutcome, Counters, HttpPath, HttpStatus, Loss, Penalties,
    Reload, SinkCounters,
};
pub use dashboard::dashboard;
pub use docs::markdown;
pub use facts::{Attachment, Build, Capability, Facts, Interfaces, Lifeline, Policy, Rule, Uncovered};
pub use metric::{Chapter, Metric, Type, Unit};
pub use readers::Readers;
pub use snapshot::{KernelState, Snapshot};
pub use table::METRICS;

/// Everything a scrape reads.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    sources: Arc<Sources>,
}

/// Where the values come from.
#[derive(Debug)]
struct Sources {
    counters: Arc<Counters>,
    kernel: RwLock<Option<Arc<dyn KernelState>>>,
    facts: RwLock<Facts>,
    readers: Readers,
}

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// The Prometheus text format, version 0.0.4.
    Plain,
}

impl Metrics {
    /// With the agent's own counters; the kernel's follow with [`attach`](Self::attach).
    #[must_use]
    pub fn new(counters: Arc<Counters>, facts: Facts) -> Self {
        let (kernel, readers) = Default::default();
        let sources = Arc::new(Sources { counters, kernel, facts: RwLock::new(facts), readers });
        let mut registry = Registry::default();
        registry.register_collector(Box::new(collect::TableCollector::new(Arc::clone(&sources))));
        Self { registry, sources }
    }

    /// The agent's own counters.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.sources.counters
    }

    /// Who reads them.
    #[must_use]
    pub fn readers(&self) -> &Readers {
        &self.sources.readers
    }

    /// From now on, scrapes read the kernel's counters here.
    pub fn attach(&self, kernel: Arc<dyn KernelState>) {
        *self.sources.kernel.write().unwrap_or_else(PoisonError::into_inner) = Some(kernel);
    }

    /// Scrapes no longer read kernel counters, and what held them can be dropped.
    pub fn detach(&self) {
        *self.sources.kernel.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Changes what the `_info` metrics say.
    pub fn update_facts(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.sources.facts.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Everything that one scrape shows, read at one time. May block for some milliseconds.
    pub(crate) fn view(&self) -> View {
        self.sources.view()
    }

    /// All metrics as text. Reads the kernel's counters, so it may block for some milliseconds.
    ///
    /// # Errors
    /// Only if the encoder refuses a value, which no value in the table causes.
    pub fn render(&self, exposition: Exposition) -> Result<String, fmt::Error> {
        let mut encoded = String::with_capacity(16 * 1024);
        text::encode(&mut encoded, &self.registry)?;
        Ok(match exposition {
            Exposition::OpenMetrics => encoded,
            Exposition::Plain => plain::from_openmetrics(&encoded),
        })
    }
}

impl Exposition {
    /// The `Content-Type` of this format.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The format that an `Accept` header asks for: OpenMetrics where it is named and liked no less than plain text,
    /// else plain text, which every reader understands.
    #[must_use]
    pub fn negotiate(accept: Option<&str>) -> Self {
        let (mut openmetrics, mut plain) = (0.0, 0.0);
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts
                .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
                .map_or(1.0, |quality| quality.parse::<f32>().unwrap_or(0.0));
            match media.as_str() {
                "application/openmetrics-text" => openmetrics = quality.max(openmetrics),
                "text/plain" => plain = quality.max(plain),
                _ => {}
            }
        }
        if openmetrics > 0.0 && openmetrics >= plain { Self::OpenMetrics } else { Self::Plain }
    }
}
