//! What is told of a simulation, for machines; `text` says the same to people.

mod build;

use serde::Serialize;

pub use self::build::Parts;
use super::{sources::Fate, timeline::Interval};
use crate::agent::simulate::{Amount, Outcomes};

/// Everything.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was read.
    pub capture: Capture,
    /// What came of it.
    pub total: Total,
    /// The rate limits, in file order.
    pub rules: Vec<RuleReport>,
    /// Packets whose ports can't be told.
    pub unparsed: UnparsedReport,
    /// Who sent them.
    pub sources: SourcesReport,
    /// When they came.
    pub timeline: TimelineReport,
}

/// What was read.
#[derive(Debug, Serialize)]
pub struct Capture {
    /// The file.
    pub file: String,
    /// Packets in it.
    pub packets: u64,
    /// The first one's time.
    pub begins: Option<String>,
    /// From there to the end.
    pub seconds: f64,
    /// Whether it ends as it should.
    pub end: &'static str,
    /// Packets that are not told of below.
    pub skipped: Vec<SkippedReport>,
    /// Whose end was cut off when they were captured; they count as long as they were.
    pub cut: u64,
    /// Whose headers were cut.
    pub cut_headers: u64,
    /// TCP packets that had been merged before they were captured.
    pub merged: u64,
    /// The segments they stand for.
    pub segments: u64,
    /// Packets longer than the kernel takes for a test run, which count for that many bytes only.
    pub shortened: u64,
    /// Packets that were earlier than one before them; they count as being as late as that one.
    pub reordered: u64,
    /// How often the times leapt; the time went on from where it was.
    pub leaps: u64,
    /// Packets without a time; they count as being as late as the one before.
    pub timeless: u64,
}

/// Packets that were left out.
#[derive(Debug, Serialize)]
pub struct SkippedReport {
    /// Why.
    pub reason: String,
    /// How many.
    pub packets: u64,
}

/// What came of all.
#[derive(Debug, Serialize)]
pub struct Total {
    /// Packets as they were on the wire.
    #[serde(flatten)]
    pub fate: Fate,
    /// Those that went on.
    pub passed: Amount,
    /// Those that aren't IP or keep the link alive.
    pub not_ip: Amount,
    /// Those at ports that no rule speaks of.
    pub no_rule: Amount,
}

/// A rate limit, and what it did.
#[derive(Debug, Serialize)]
pub struct RuleReport {
    /// Its name.
    pub rule: String,
    /// Its mode.
    pub mode: &'static str,
    /// Packets by what came of them.
    #[serde(flatten)]
    pub outcomes: Outcomes,
    /// Those over the limit, by cause.
    pub causes: Vec<CauseReport>,
    /// Of those it dropped or would drop, who sent most.
    pub sources: Vec<SourceReport>,
}

/// Packets over a limit.
#[derive(Debug, Serialize)]
pub struct CauseReport {
    /// Over what.
    pub cause: &'static str,
    /// How many.
    pub packets: u64,
}

/// Packets whose ports can't be told, and what the limit for those did.
#[derive(Debug, Serialize)]
pub struct UnparsedReport {
    /// Packets by what came of them.
    #[serde(flatten)]
    pub outcomes: Outcomes,
    /// The same by why they couldn't be parsed.
    pub reasons: Vec<ReasonReport>,
    /// Of those it dropped or would drop, who sent most.
    pub sources: Vec<SourceReport>,
}

/// Packets that couldn't be parsed for one reason.
#[derive(Debug, Serialize)]
pub struct ReasonReport {
    /// Why.
    pub reason: &'static str,
    /// How many there were.
    pub packets: u64,
    /// Those that were dropped.
    pub dropped: u64,
    /// Those that would have been.
    pub would_drop: u64,
}

/// Who sent packets.
#[derive(Debug, Serialize)]
pub struct SourcesReport {
    /// Who sent most.
    pub sent_most: Vec<SourceReport>,
    /// Of whom most was dropped, or would have been.
    pub dropped_most: Vec<SourceReport>,
    /// How many sources are known by number.
    pub known: usize,
    /// How often a source was let go to bound the memory; if ever, numbers of single sources are at least what is said.
    pub let_go: u64,
    /// What came of those.
    pub rest: Fate,
}

/// A source.
#[derive(Debug, Serialize)]
pub struct SourceReport {
    /// Its address or network.
    pub source: String,
    /// What came of what it sent.
    #[serde(flatten)]
    pub fate: Fate,
}

/// When packets came.
#[derive(Debug, Serialize)]
pub struct TimelineReport {
    /// How long each interval is.
    pub interval_ms: u64,
    /// From the first packet on.
    pub intervals: Vec<Interval>,
}
