//! The tables of `bench packets`.

mod profile;

use std::fmt::Write;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

use super::report::{Host, Quartiles, verdict};
use crate::table::{Align, Table};

/// What `bench packets` prints. Times are nanoseconds of a frame, unless a name says otherwise.
#[derive(Debug, Deserialize)]
struct Report {
    rounds: u32,
    block: u32,
    host: Host,
    missing: Vec<String>,
    results: Vec<Row>,
    peers: Vec<Peer>,
    exactness: Vec<Flood>,
    honest: Vec<Honest>,
}

#[derive(Debug, Deserialize)]
struct Row {
    what: String,
    senders: String,
    goal: Option<f64>,
    ns: Quartiles,
    floor_ns: Quartiles,
    added_ns: Quartiles,
    ratio: Quartiles,
}

#[derive(Debug, Deserialize)]
struct Peer {
    what: String,
    senders: String,
    goal: Option<f64>,
    times: Quartiles,
    times_added: Quartiles,
}

#[derive(Debug, Deserialize)]
struct Flood {
    senders: String,
    per_second: f64,
    burst: f64,
    clock: String,
    seconds: f64,
    arrived: f64,
    due: f64,
    error: f64,
    goal: f64,
}

#[derive(Debug, Deserialize)]
struct Honest {
    beside: String,
    against: String,
    goal: Option<f64>,
    goodput_bytes_per_s: Quartiles,
    goodput_ratio: Quartiles,
    median_ratio: Quartiles,
    p99_ns: Quartiles,
    p99_ratio: Quartiles,
}

/// The report as text.
pub fn report(report: &Value) -> Result<String> {
    let report = Report::deserialize(report).context("reading the benchmark's report")?;
    let Report { rounds, block, host, .. } = &report;
    let mut text = format!("\n{}\n{rounds} rounds, blocks of {block} frames.\n", host.sentence());
    for missing in &report.missing {
        writeln!(text, "Missing: {missing}")?;
    }
    writeln!(text, "\n{}", costs(&report.results))?;
    writeln!(
        text,
        "A frame's time is that of making it, sending it over the link and all that is done with it there. The floor is a program \
         that only drops; for what passes frames, one that only passes.\n\n{}",
        profile::table(&report.results)
    )?;
    writeln!(
        text,
        "Where a frame's time goes: what one row adds to another, medians over the rounds.\n\n{}",
        peers(&report.peers)
    )?;
    writeln!(
        text,
        "How many times the cost of ours for a source over its limit, in the same round.{}\n\n{}",
        room(&report.results, &report.peers).unwrap_or_default(),
        exactness(&report.exactness)
    )?;
    writeln!(
        text,
        "Floods from both CPUs: what reached UDP, and limit x time + burst.\n\n{}",
        honest(&report.honest)
    )?;
    writeln!(
        text,
        "An honest TCP client that breaks no rule, frames no longer than the link allows. A virtual link copies packets for every XDP \
         program: native XDP is compared with a program that only passes."
    )?;
    Ok(text)
}

fn spread(of: Quartiles) -> String {
    format!("{:.2} to {:.2}", of.q1, of.q3)
}

fn costs(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        ("what", Align::Left),
        ("senders", Align::Left),
        ("floor ns", Align::Right),
        ("ns", Align::Right),
        ("added ns", Align::Right),
        ("x floor", Align::Right),
        ("quartiles", Align::Left),
        ("goal", Align::Right),
        ("", Align::Left),
    ]);
    for row in rows {
        table.row([
            row.what.clone(),
            row.senders.clone(),
            format!("{:.0}", row.floor_ns.median),
            format!("{:.0}", row.ns.median),
            format!("{:.0}", row.added_ns.median),
            format!("{:.2}", row.ratio.median),
            spread(row.ratio),
            row.goal.map_or_else(String::new, |goal| format!("{goal:.1}")),
            row.goal.map_or("", |goal| verdict(row.ratio, goal)).to_owned(),
        ]);
    }
    table
}

fn peers(rows: &[Peer]) -> Table {
    let mut table = Table::new(&[
        ("what", Align::Left),
        ("senders", Align::Left),
        ("x ours", Align::Right),
        ("quartiles", Align::Left),
        ("goal", Align::Right),
        ("", Align::Left),
        ("added x ours", Align::Right),
        ("quartiles", Align::Left),
    ]);
    for row in rows {
        table.row([
            row.what.clone(),
            row.senders.clone(),
            format!("{:.2}", row.times.median),
            spread(row.times),
            row.goal.map_or_else(String::new, |goal| format!("{goal:.1}")),
            row.goal.map_or("", |goal| at_least(row.times, goal)).to_owned(),
            format!("{:.2}", row.times_added.median),
            spread(row.times_added),
        ]);
    }
    table
}

/// What the goal of a peer would leave to a limiter, where a frame's time has a part that no limiter has a hand in.
fn room(rows: &[Row], peers: &[Peer]) -> Option<String> {
    let peer = peers.iter().find(|peer| peer.goal.is_some())?;
    let row = rows.iter().find(|row| row.what == peer.what && row.senders == peer.senders)?;
    let (times, goal) = (row.ratio.median, peer.goal?);
    let left = row.ns.median / goal - row.floor_ns.median;
    Some(format!(
        " A program that only drops is {times:.2} times cheaper than \"{}\": to be {goal:.0} times cheaper in all, a limiter would \
         have {left:.0} ns for everything it does.",
        peer.what
    ))
}

/// As [`verdict`], for a goal that is a least value.
fn at_least(value: Quartiles, goal: f64) -> &'static str {
    let Quartiles { q1, median, q3 } = value;
    verdict(Quartiles { q1: -q3, median: -median, q3: -q1 }, -goal)
}

fn exactness(rows: &[Flood]) -> Table {
    let mut table = Table::new(&[
        ("senders", Align::Left),
        ("limit /s", Align::Right),
        ("burst", Align::Right),
        ("clock", Align::Left),
        ("s", Align::Right),
        ("arrived", Align::Right),
        ("due", Align::Right),
        ("error %", Align::Right),
        ("goal", Align::Right),
        ("", Align::Left),
    ]);
    for row in rows {
        table.row([
            row.senders.clone(),
            row.per_second.to_string(),
            row.burst.to_string(),
            row.clock.clone(),
            format!("{:.1}", row.seconds),
            format!("{:.0}", row.arrived),
            format!("{:.0}", row.due),
            format!("{:+.2}", 100.0 * row.error),
            format!("{:.0}", 100.0 * row.goal),
            if row.error.abs() <= row.goal { "met" } else { "missed" }.to_owned(),
        ]);
    }
    table
}

fn honest(rows: &[Honest]) -> Table {
    let mut table = Table::new(&[
        ("beside", Align::Left),
        ("against", Align::Left),
        ("GB/s", Align::Right),
        ("goodput x", Align::Right),
        ("quartiles", Align::Left),
        ("", Align::Left),
        ("median x", Align::Right),
        ("p99 us", Align::Right),
        ("p99 x", Align::Right),
        ("quartiles", Align::Left),
        ("", Align::Left),
    ]);
    for row in rows {
        table.row([
            row.beside.clone(),
            row.against.clone(),
            format!("{:.2}", row.goodput_bytes_per_s.median / 1e9),
            format!("{:.3}", row.goodput_ratio.median),
            spread(row.goodput_ratio),
            row.goal.map_or("", |goal| at_least(row.goodput_ratio, 1.0 - goal)).to_owned(),
            format!("{:.3}", row.median_ratio.median),
            format!("{:.1}", row.p99_ns.median / 1e3),
            format!("{:.3}", row.p99_ratio.median),
            spread(row.p99_ratio),
            row.goal.map_or("", |goal| verdict(row.p99_ratio, 1.0 + goal)).to_owned(),
        ]);
    }
    table
}
