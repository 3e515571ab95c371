//! What there is to say about a metric.

use super::collect::{Samples, View};

type Read = for<'v> fn(&'v View, &mut Samples<'v>);
type Labels = &'static [&'static str];

/// One metric.
pub struct Metric {
    /// The name of its samples, as queries use it.
    pub name: &'static str,
    /// Its type.
    pub kind: Type,
    /// What it is measured in; the name says so too.
    pub unit: Unit,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// Where it is documented.
    pub chapter: Chapter,
    /// What it says, one sentence or two.
    pub help: &'static str,
    /// Where its values come from.
    pub(super) read: Read,
}

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Always 1: the labels are the message.
    Info,
    /// How many were at most so large, by upper bounds.
    Histogram,
}

/// What a metric is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of things.
    None,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

/// Chapters of the documentation, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chapter {
    /// What happened, and what became of the reports.
    Events,
    /// What rules decided.
    Findings,
    /// Rate limits.
    Packets,
    /// Databases.
    Databases,
    /// Whether and how the policy is carried out.
    Enforcement,
    /// Kernel programs and maps.
    Kernel,
    /// Sinks.
    Sinks,
    /// The agent itself.
    Agent,
}

impl Type {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Info => "info",
            Self::Histogram => "histogram",
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Gauge | Self::Histogram => "",
            Self::Info => "_info",
        }
    }
}

impl Unit {
    /// The word for it, empty for a number of things.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
        }
    }
}

impl Chapter {
    /// All, in order.
    pub const ALL: [Self; 8] = [
        Self::Events,
        Self::Findings,
        Self::Packets,
        Self::Databases,
        Self::Enforcement,
        Self::Kernel,
        Self::Sinks,
        Self::Agent,
    ];

    /// Its title.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Events => "Events",
            Self::Findings => "Findings",
            Self::Packets => "Packets and rate limits",
            Self::Databases => "Databases",
            Self::Enforcement => "Enforcement and policy",
            Self::Kernel => "Kernel programs and maps",
            Self::Sinks => "Sinks",
            Self::Agent => "The agent",
        }
    }
}

impl Metric {
    pub(super) const fn new(
        kind: Type,
        chapter: Chapter,
        name: &'static str,
        labels: Labels,
        read: Read,
    ) -> Self {
        Self { name, kind, unit: Unit::None, labels, chapter, help: "", read }
    }

    pub(super) const fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }

    pub(super) const fn unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }

    /// The name without what the encoder adds to it: the unit and the suffix of the type.
    pub(super) fn stem(&self) -> &'static str {
        let family = self.name.strip_suffix(self.kind.suffix()).unwrap_or(self.name);
        family.strip_suffix(self.unit.name()).and_then(|stem| stem.strip_suffix('_')).unwrap_or(family)
    }
}
