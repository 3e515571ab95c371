//! `monitor ban list`.

use std::{
    fmt::Write as _,
    io::{self, BufWriter, Write as _},
    net::IpAddr,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::print;
use crate::{
    agent::bans::prefix::Prefix,
    control::{
        Request,
        bans::{Ban, List, Listed},
        client::Client,
    },
    event::Text,
};

/// What stands in place of a rule.
const BY_HAND: &str = "by hand";

/// Arguments of `monitor ban list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print a JSON array, in no order.
    #[arg(long)]
    pub json: bool,
    /// What the table is sorted by.
    #[arg(long, value_enum, default_value_t, value_name = "COLUMN", conflicts_with = "json")]
    pub sort: Sort,
}

/// What a table is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// Addresses and networks, in order.
    #[default]
    Address,
    /// Rules; those by hand first.
    Rule,
    /// The newest first.
    Since,
    /// Those that end first, first.
    Until,
    /// Those with the most strikes first.
    Strikes,
}

/// A ban as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    address: Text,
    /// None by hand.
    rule: Option<Text>,
    reason: Text,
    since: Option<String>,
    /// None for good.
    until: Option<String>,
    strikes: u32,
}

impl Shown {
    fn new(ban: &Ban) -> Self {
        Self {
            address: Text::from(&*ban.address),
            rule: ban.rule.as_deref().map(Text::from),
            reason: Text::from(&*ban.reason),
            since: ban.since.and_then(time),
            until: ban.until.and_then(time),
            strikes: ban.strikes,
        }
    }
}

fn time(seconds: i64) -> Option<String> {
    jiff::Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}

pub(super) fn run(client: &mut Client, args: &Args) -> Result<ExitCode> {
    let request = Request::BanList(List {});
    if args.json {
        return json(client, &request);
    }
    let mut bans: Vec<Ban> = Vec::new();
    let _: Listed = client.ask(&request, |ban| {
        bans.push(ban);
        Ok(())
    })?;
    sort(&mut bans, args.sort);
    print(&table(&bans))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints each as it comes: there may be a million.
fn json(client: &mut Client, request: &Request) -> Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut before = "[\n";
    let outcome = client.ask::<Ban, Listed>(request, |ban| {
        out.write_all(before.as_bytes())?;
        before = ",\n";
        serde_json::to_writer(&mut out, &Shown::new(&ban))?;
        Ok(())
    });
    let written = outcome.and_then(|_| {
        out.write_all(if before == "[\n" { b"[]\n" } else { b"\n]\n" })?;
        Ok(out.flush()?)
    });
    match written {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        outcome => outcome.context("can't list").map(|()| ExitCode::SUCCESS),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let of_json = |error: &serde_json::Error| error.io_error_kind();
    let of_io = |error: &io::Error| Some(error.kind());
    let kind = error.downcast_ref().and_then(of_json).or_else(|| error.downcast_ref().and_then(of_io));
    kind == Some(io::ErrorKind::BrokenPipe)
}

fn sort(bans: &mut [Ban], by: Sort) {
    let address = |ban: &Ban| {
        let prefix: Option<Prefix> = ban.address.parse().ok();
        prefix.map(|prefix| (IpAddr::from(prefix.addr()), prefix.length()))
    };
    bans.sort_by_cached_key(address);
    match by {
        Sort::Address => {}
        Sort::Rule => bans.sort_by(|a, b| a.rule.cmp(&b.rule)),
        Sort::Since => bans.sort_by_key(|ban| std::cmp::Reverse(ban.since)),
        Sort::Until => bans.sort_by_key(|ban| ban.until.unwrap_or(i64::MAX)),
        Sort::Strikes => bans.sort_by_key(|ban| std::cmp::Reverse(ban.strikes)),
    }
}

fn table(bans: &[Ban]) -> String {
    if bans.is_empty() {
        return "nobody is banned\n".to_owned();
    }
    let rows: Vec<[String; 6]> = bans
        .iter()
        .map(|ban| {
            let shown = Shown::new(ban);
            [
                shown.address.to_string(),
                shown.rule.map_or_else(|| BY_HAND.to_owned(), |rule| rule.to_string()),
                shown.since.unwrap_or_else(|| "?".to_owned()),
                shown.until.unwrap_or_else(|| "for good".to_owned()),
                shown.strikes.to_string(),
                shown.reason.to_string(),
            ]
        })
        .collect();
    let heads = ["ADDRESS", "RULE", "SINCE", "UNTIL", "STRIKES", "REASON"];
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for row in std::iter::once(heads.map(str::to_owned)).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to memory can't fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(address: &str, rule: Option<&str>, reason: &str, until: Option<i64>, strikes: u32) -> Ban {
        Ban {
            address: address.to_owned(),
            rule: rule.map(str::to_owned),
            reason: reason.to_owned(),
            since: Some(1_732_380_000),
            until,
            strikes,
        }
    }

    #[test]
    fn a_hostile_reason_stays_in_its_row() {
        let bans = [
            ban("203.0.113.7", None, "evil\n10.0.0.1  by hand \u{1b}[2J\u{202e}", None, 0),
            ban("198.51.100.0/24", Some("https"), "", Some(1_732_383_600), 3),
        ];
        let text = table(&bans);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
        assert!(text.contains("by hand  2024-11-23T16:40:00Z  for good"), "{text}");
        assert!(text.contains("https    2024-11-23T16:40:00Z  2024-11-23T17:40:00Z  3"), "{text}");
        let json = serde_json::to_string(&Shown::new(&bans[0])).unwrap();
        assert!(json.contains(r"evil\\n10.0.0.1"), "{json}");
    }

    #[test]
    fn rows_are_sorted_by_a_column() {
        let mut bans = [
            ban("10.0.0.10", Some("b"), "", Some(3), 1),
            ban("2001:db8::1", None, "", None, 0),
            ban("10.0.0.9", Some("a"), "", Some(5), 9),
        ];
        for (by, first) in [
            (Sort::Address, "10.0.0.9"),
            (Sort::Rule, "2001:db8::1"),
            (Sort::Until, "10.0.0.10"),
            (Sort::Strikes, "10.0.0.9"),
        ] {
            sort(&mut bans, by);
            assert_eq!(bans[0].address, first, "{by:?}");
        }
    }
}
