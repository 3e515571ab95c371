//! Where the time of a packet goes, from rows that differ in one thing.

use super::Row;
use crate::table::{Align, Table};

/// The senders of most rows, and of those that no cache holds.
const ONE: &str = "one source";
const MILLION: &str = "2^20 sources at random";

/// One thing that a packet's time goes to.
struct Part {
    what: &'static str,
    /// A row that does it.
    with: (&'static str, &'static str),
    /// One that does the same but for it; none: the floor of the row.
    without: Option<(&'static str, &'static str)>,
    /// How often it is done.
    times: f64,
}

const fn part(what: &'static str, with: &'static str, without: &'static str) -> Part {
    Part { what, with: (with, ONE), without: Some((without, ONE)), times: 1.0 }
}

/// Names are those of the benchmark's rows; a part whose rows were not measured is left out.
const PARTS: [Part; 11] = [
    Part {
        what: "reading the headers, finding that no rule is for the port",
        with: ("monitor: no rule for the port", ONE),
        without: None,
        times: 1.0,
    },
    part(
        "a rule: coarse clock, bucket, counters",
        "monitor: a limit for all, not reached",
        "monitor: no rule for the port",
    ),
    part("the source's own bucket", "monitor: over a limit per source", "monitor: over a limit for all"),
    Part {
        what: "one of a million buckets: memory that no cache holds",
        with: ("monitor: over a limit per source", MILLION),
        without: Some(("monitor: over a limit per source", ONE)),
        times: 1.0,
    },
    part("the exact clock", "monitor: the same, by the exact clock", "monitor: over a limit per source"),
    part("63 rules for other ports", "monitor: over, 64 rules", "monitor: over a limit per source"),
    Part {
        what: "each further rule that applies",
        with: ("monitor: over the last of six, 64 rules", ONE),
        without: Some(("monitor: over, 64 rules", ONE)),
        times: 5.0,
    },
    part("10,000 prefixes", "monitor: over, 10,000 prefixes", "monitor: over a limit per source"),
    part(
        "a table of a million bans, not in it",
        "monitor: over, 1 million others banned",
        "monitor: over a limit per source",
    ),
    Part {
        what: "a ban, from reading the headers on",
        with: ("monitor: banned", ONE),
        without: None,
        times: 1.0,
    },
    Part {
        what: "nftables, netdev ingress: all of it",
        with: ("nftables: over a limit, netdev ingress", ONE),
        without: None,
        times: 1.0,
    },
];

/// The table.
pub fn table(rows: &[Row]) -> Table {
    let added = |(what, senders): (&str, &str)| {
        rows.iter().find(|row| row.what == what && row.senders == senders).map(|row| row.added_ns.median)
    };
    let mut table = Table::new(&[("what", Align::Left), ("ns", Align::Right)]);
    for part in PARTS {
        let without = part.without.map_or(Some(0.0), added);
        if let (Some(with), Some(without)) = (added(part.with), without) {
            table.row([part.what.to_owned(), format!("{:.0}", (with - without) / part.times)]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::Quartiles;

    fn row(what: &str, senders: &str, added: f64) -> Row {
        let flat = |median| Quartiles { q1: median, median, q3: median };
        Row {
            what: what.into(),
            senders: senders.into(),
            goal: None,
            ns: flat(100.0 + added),
            floor_ns: flat(100.0),
            added_ns: flat(added),
            ratio: flat(1.0 + added / 100.0),
        }
    }

    #[test]
    fn a_part_is_what_one_row_adds_to_another_and_missing_rows_leave_parts_out() {
        let rows = [
            row("monitor: no rule for the port", ONE, 20.0),
            row("monitor: a limit for all, not reached", ONE, 90.0),
            row("monitor: over, 64 rules", ONE, 110.0),
            row("monitor: over the last of six, 64 rules", ONE, 310.0),
        ];
        let text = table(&rows).to_string();
        let figures: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().last()).collect();
        assert_eq!(figures, ["ns", "20", "70", "40"], "{text}");
    }
}
