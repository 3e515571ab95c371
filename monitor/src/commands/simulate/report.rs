//! What is told of a simulation, for machines; `text` says the same to people.

use monitor_common::{addr::Addr, count::Unparsed, limit::Cause, policy::Mode};
use serde::Serialize;

use super::{
    capture::End,
    clock::Clock,
    drive::Skipped,
    sources::{Fate, Sources},
    tally::Tally,
    timeline::Interval,
    wire::Mended,
};
use crate::agent::simulate::{Amount, Counts, Outcomes, Rule};

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

/// What a report is made of.
pub struct Parts<'a> {
    pub file: String,
    pub packets: u64,
    pub end: End,
    pub skipped: &'a Skipped,
    pub mended: Mended,
    pub clock: &'a Clock,
    pub tally: &'a Tally,
    pub rules: &'a [Rule],
    pub counts: &'a Counts,
    /// How many sources are named.
    pub top: usize,
}

impl Report {
    /// Puts it together.
    #[must_use]
    pub fn new(parts: &Parts<'_>) -> Self {
        let Parts { mended, clock, tally, counts, top, .. } = parts;
        let over = |rule: usize, row: &Rule| {
            tally.over.get(rule).map_or_else(Vec::new, |sources| {
                let either = |fate: &Fate| sum(fate.dropped, fate.would_drop);
                self::sources(sources, *top, Some(row), either)
            })
        };
        let rule = |(index, rule): (usize, &Rule)| RuleReport {
            rule: rule.name.to_string(),
            mode: mode(rule.mode),
            outcomes: counts.rules.get(index).map(|row| row.outcomes).unwrap_or_default(),
            causes: counts.rules.get(index).map_or_else(Vec::new, |row| causes(&row.over)),
            sources: over(index, rule),
        };
        // The last one is the rule for what can't be parsed.
        let unparsed = parts.rules.len().saturating_sub(1);
        let (interval_ms, intervals) = tally.timeline.shown();
        let all = tally.all;
        Self {
            capture: Capture {
                file: parts.file.clone(),
                packets: parts.packets,
                begins: clock.first_ns.and_then(timestamp),
                seconds: clock.elapsed_ns() as f64 / 1e9,
                end: match parts.end {
                    End::Whole => "whole",
                    End::Short => "in the middle of a packet",
                    End::Damaged => "damaged",
                },
                skipped: parts.skipped.report(),
                cut: mended.filled,
                cut_headers: mended.headless,
                merged: mended.merged,
                segments: mended.segments,
                shortened: mended.shortened,
                reordered: clock.reordered,
                leaps: clock.leaps,
                timeless: clock.timeless,
            },
            total: Total {
                fate: all,
                passed: Amount {
                    packets: all.sent.packets - all.dropped.packets,
                    bytes: all.sent.bytes - all.dropped.bytes,
                },
                not_ip: tally.not_ip,
                no_rule: tally.no_rule,
            },
            rules: parts.rules.iter().enumerate().take(unparsed).map(rule).collect(),
            unparsed: UnparsedReport {
                outcomes: counts.rules.get(unparsed).map(|row| row.outcomes).unwrap_or_default(),
                reasons: reasons(counts),
                sources: parts.rules.get(unparsed).map_or_else(Vec::new, |row| over(unparsed, row)),
            },
            sources: SourcesReport {
                sent_most: sources(&tally.sources, *top, None, |fate| fate.sent),
                dropped_most: sources(&tally.sources, *top, None, |fate| sum(fate.dropped, fate.would_drop)),
                known: tally.sources.len(),
                let_go: tally.sources.let_go,
                rest: tally.sources.rest,
            },
            timeline: TimelineReport { interval_ms, intervals },
        }
    }
}

fn sum(mut one: Amount, other: Amount) -> Amount {
    one.add(other);
    one
}

/// The mode's name.
fn mode(mode: Mode) -> &'static str {
    mode.name()
}

fn causes(over: &[u64]) -> Vec<CauseReport> {
    let row = |cause: &Cause| {
        let packets = over.get(*cause as usize).copied().unwrap_or(0);
        (packets > 0).then(|| CauseReport { cause: cause.name(), packets })
    };
    Cause::ALL.iter().filter_map(row).collect()
}

fn reasons(counts: &Counts) -> Vec<ReasonReport> {
    let row = |reason: &Unparsed| {
        let outcomes = counts.unparsed.get(*reason as usize)?;
        let Outcomes { passed, dropped, would_drop, protected, spared } = *outcomes;
        let all = [passed, dropped, would_drop, protected, spared].map(|amount| amount.packets);
        Some(ReasonReport {
            reason: reason.name(),
            packets: all.iter().sum(),
            dropped: dropped.packets,
            would_drop: would_drop.packets,
        })
    };
    Unparsed::ALL.iter().filter_map(row).collect()
}

fn sources(
    sources: &Sources,
    top: usize,
    rule: Option<&Rule>,
    weight: impl Fn(&Fate) -> Amount,
) -> Vec<SourceReport> {
    let name = |(source, fate)| SourceReport { source: name(source, rule), fate };
    sources.top(top, weight).into_iter().map(name).collect()
}

/// A source as an address or a network: as a rule tells them apart, else an IPv4 address or 64 bits of an IPv6 one.
fn name(source: [u64; 2], rule: Option<&Rule>) -> String {
    let addr = Addr::from_words(source);
    if source == [0; 2] {
        // One that can't be told, or that an IPv6 packet made to look like IPv4.
        return "(not known)".to_owned();
    }
    let (mask_v4, mask_v6) = rule.map_or(([u64::MAX; 2], [u64::MAX, 0]), |rule| (rule.mask_v4, rule.mask_v6));
    let (mask, whole) = if addr.is_v4() { (mask_v4, 32) } else { (mask_v6, 128) };
    let bits = mask.iter().map(|word| word.count_ones()).sum::<u32>().saturating_sub(128 - whole);
    if bits == whole { addr.to_string() } else { format!("{addr}/{bits}") }
}

fn timestamp(ns: i64) -> Option<String> {
    let time = jiff::Timestamp::from_nanosecond(i128::from(ns)).ok()?;
    Some(time.to_string())
}
