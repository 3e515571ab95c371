//! The report for people.

use std::fmt::Write as _;

use indicatif::{DecimalBytes, HumanCount};

use super::{
    report::{Report, RuleReport, SourceReport},
    sources::Fate,
    timeline::Interval,
};
use crate::{
    agent::simulate::{Amount, Outcomes},
    event::Text,
};

/// Characters of the longest bar.
const BAR: u64 = 40;

impl Report {
    /// Tables, and sentences about what has to be known of the capture.
    #[must_use]
    pub fn tell(&self) -> String {
        let mut out = String::new();
        self.tell_capture(&mut out);
        self.tell_total(&mut out);
        self.tell_rules(&mut out);
        self.tell_unparsed(&mut out);
        self.tell_sources(&mut out);
        self.tell_timeline(&mut out);
        out
    }

    fn tell_capture(&self, out: &mut String) {
        let capture = &self.capture;
        let begins = capture.begins.as_ref().map(|time| format!(" from {time} on")).unwrap_or_default();
        let _ = writeln!(
            out,
            "{}: {} packets, {:.3} s{begins}",
            Text::from(&capture.file[..]),
            HumanCount(capture.packets),
            capture.seconds
        );
        if capture.end != "whole" {
            let _ = writeln!(out, "  its end: {}; what comes before is told of", capture.end);
        }
        for skipped in &capture.skipped {
            let _ = writeln!(out, "  {} left out: {}", HumanCount(skipped.packets), skipped.reason);
        }
        for (count, what) in [
            (capture.cut, "were cut when they were captured; they count as long as they were"),
            (capture.cut_headers, "have too little left to tell their ports, and count as truncated"),
            (capture.merged, "were merged from TCP segments before they were captured, and are taken apart"),
            (capture.segments, "is how many segments these are"),
            (capture.shortened, "are longer than the kernel tries out, and count for 3,456 bytes each"),
            (capture.reordered, "are earlier than one before them, and count as being as late"),
            (capture.leaps, "times the clock of the capture leapt; time goes on from where it was"),
            (capture.timeless, "have no time, and count as being as late as the one before"),
        ] {
            if count > 0 {
                let _ = writeln!(out, "  {} {what}", HumanCount(count));
            }
        }
    }

    fn tell_total(&self, out: &mut String) {
        let total = &self.total;
        let all = total.fate.sent.packets;
        let mut rows = vec![row(["", "packets", "", "bytes"])];
        for (what, amount) in [
            ("on the wire", total.fate.sent),
            ("passed", total.passed),
            ("dropped", total.fate.dropped),
            ("would be dropped", total.fate.would_drop),
            ("at other ports", total.no_rule),
            ("not IP", total.not_ip),
        ] {
            rows.push(vec![
                what.to_owned(),
                count(amount.packets),
                share(amount.packets, all),
                bytes(amount),
            ]);
        }
        table(out, &rows, 1);
    }

    fn tell_rules(&self, out: &mut String) {
        let mut rows = vec![row([
            "rule",
            "mode",
            "passed",
            "dropped",
            "would drop",
            "protected",
            "spared",
            "dropped bytes",
        ])];
        for rule in &self.rules {
            let mut cells = vec![Text::from(&rule.rule[..]).to_string(), rule.mode.to_owned()];
            cells.extend(counts(&rule.outcomes));
            cells.push(bytes(over(&rule.outcomes)));
            rows.push(cells);
        }
        table(out, &rows, 2);
        for rule in self.rules.iter().filter(|rule| over(&rule.outcomes).packets > 0) {
            let _ = writeln!(out, "\nover {}: {}", Text::from(&rule.rule[..]).quoted(), causes(rule));
            tell_ranks(out, &rule.sources, true);
        }
    }

    fn tell_unparsed(&self, out: &mut String) {
        let unparsed = &self.unparsed;
        if unparsed.reasons.iter().all(|reason| reason.packets == 0) {
            return;
        }
        let mut rows = vec![row(["ports unknown", "packets", "dropped", "would drop"])];
        for reason in &unparsed.reasons {
            let cells = [reason.packets, reason.dropped, reason.would_drop].map(count);
            rows.push([vec![reason.reason.to_owned()], cells.to_vec()].concat());
        }
        table(out, &rows, 1);
        tell_ranks(out, &unparsed.sources, true);
    }

    fn tell_sources(&self, out: &mut String) {
        let sources = &self.sources;
        out.push_str("\nwho sent most\n");
        tell_ranks(out, &sources.sent_most, false);
        if !sources.dropped_most.is_empty() {
            out.push_str("\nof whom most was dropped, or would have been\n");
            tell_ranks(out, &sources.dropped_most, false);
        }
        if sources.let_go > 0 {
            let _ = writeln!(
                out,
                "  at least: there were too many sources to keep. Of those let go ({} times) there are {} packets, {} \
                 dropped, {} that would have been",
                HumanCount(sources.let_go),
                HumanCount(sources.rest.sent.packets),
                HumanCount(sources.rest.dropped.packets),
                HumanCount(sources.rest.would_drop.packets)
            );
        }
    }

    fn tell_timeline(&self, out: &mut String) {
        let timeline = &self.timeline;
        let most = timeline.intervals.iter().map(|interval| interval.arrived.packets).max().unwrap_or(0);
        let mut rows = vec![row(["from", "packets", "dropped", "would drop", ""])];
        for (index, interval) in timeline.intervals.iter().enumerate() {
            let from = (index as u64 * timeline.interval_ms) as f64 / 1000.0;
            let Interval { arrived, dropped, would_drop } = interval;
            let [arrived, dropped, would_drop] =
                [arrived, dropped, would_drop].map(|amount| count(amount.packets));
            rows.push(vec![format!("{from:.3} s"), arrived, dropped, would_drop, bar(interval, most)]);
        }
        table(out, &rows, 0);
        out.push_str("  = passed, o would be dropped, x dropped\n");
    }
}

fn tell_ranks(out: &mut String, sources: &[SourceReport], only_over: bool) {
    if sources.is_empty() {
        return;
    }
    let heading: &[&str] = match only_over {
        true => &["", "dropped", "would drop", "bytes"],
        false => &["", "sent", "dropped", "would drop", "bytes sent"],
    };
    let mut rows = vec![heading.iter().map(|cell| (*cell).to_owned()).collect()];
    for SourceReport { source, fate } in sources {
        let Fate { sent, dropped, would_drop } = fate;
        let mut cells = vec![source.clone()];
        cells.extend((!only_over).then(|| count(sent.packets)));
        cells.extend([count(dropped.packets), count(would_drop.packets), bytes(*sent)]);
        rows.push(cells);
    }
    aligned(out, &rows, 1);
}

/// Why packets were over a rule's limits.
fn causes(rule: &RuleReport) -> String {
    let cause = |row: &super::report::CauseReport| format!("{} {}", row.cause, HumanCount(row.packets));
    rule.causes.iter().map(cause).collect::<Vec<_>>().join(", ")
}

fn over(outcomes: &Outcomes) -> Amount {
    let mut over = outcomes.dropped;
    over.add(outcomes.would_drop);
    over
}

fn counts(outcomes: &Outcomes) -> impl Iterator<Item = String> {
    let Outcomes { passed, dropped, would_drop, protected, spared } = outcomes;
    [passed, dropped, would_drop, protected, spared].map(|amount| count(amount.packets)).into_iter()
}

fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

fn bytes(amount: Amount) -> String {
    DecimalBytes(amount.bytes).to_string()
}

fn share(part: u64, all: u64) -> String {
    if all == 0 { String::new() } else { format!("{:.1} %", part as f64 * 100.0 / all as f64) }
}

/// How much came in an interval, beside the most that came in one.
fn bar(interval: &Interval, most: u64) -> String {
    let Interval { arrived, dropped, would_drop } = interval;
    // Whatever there was is seen.
    let length = |packets: u64| (packets * BAR).div_ceil(most.max(1)) as usize;
    let (all, dropped, would_drop) =
        (length(arrived.packets), length(dropped.packets), length(would_drop.packets));
    let passed = all.saturating_sub(dropped + would_drop);
    format!("{}{}{}", "=".repeat(passed), "o".repeat(would_drop), "x".repeat(dropped))
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// A table after an empty line; the first `texts` columns, and the last one if it has no heading, stand left.
fn table(out: &mut String, rows: &[Vec<String>], texts: usize) {
    out.push('\n');
    aligned(out, rows, texts);
}

fn aligned(out: &mut String, rows: &[Vec<String>], texts: usize) {
    let columns = rows.first().map_or(0, Vec::len);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let mut line = String::from("  ");
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let left = column < texts || column + 1 == columns && rows[0][column].is_empty();
            let _ = match left {
                true => write!(line, "{cell:<width$}  "),
                false => write!(line, "{cell:>width$}  "),
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}
