//! Puts a report together.

use monitor_common::{addr::Addr, count::Unparsed, limit::Cause};

use super::{
    Capture, CauseReport, ReasonReport, Report, RuleReport, SourceReport, SourcesReport, TimelineReport,
    Total, UnparsedReport,
};
use crate::{
    agent::simulate::{Amount, Counts, Outcomes, Rule},
    commands::simulate::{
        capture::End,
        clock::Clock,
        drive::Skipped,
        sources::{Fate, Sources},
        tally::Tally,
        wire::Mended,
    },
};

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
            mode: rule.mode.name(),
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
