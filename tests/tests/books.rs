//! Books that balance: for every kind of event, seen = delivered + suppressed + lost, whatever becomes of the agent meanwhile.

mod denials;
mod floods;
mod halted;

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use anyhow::{Context, Result};
use serde_json::json;
use tests::{
    agent::{Agent, metrics::Metrics},
    cgroup::Cgroup,
    program::Program,
    wait::{deadline, eventually},
};

/// What became of one kind of events.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Book {
    seen: f64,
    delivered: f64,
    suppressed: f64,
    lost: f64,
    /// Of what was suppressed, what the agent did itself: its canaries, for one.
    own: f64,
}

impl Book {
    fn balances(&self) -> bool {
        self.seen == self.delivered + self.suppressed + self.lost
    }

    /// What others did.
    fn made(&self) -> f64 {
        self.seen - self.own
    }
}

/// The books of all kinds.
fn books(metrics: &Metrics) -> BTreeMap<String, Book> {
    let mut books: BTreeMap<String, Book> = BTreeMap::new();
    type Column = fn(&mut Book) -> &mut f64;
    let columns: [(&str, Column); 4] = [
        ("monitor_events_seen_total", |book| &mut book.seen),
        ("monitor_events_delivered_total", |book| &mut book.delivered),
        ("monitor_events_suppressed_total", |book| &mut book.suppressed),
        ("monitor_events_lost_total", |book| &mut book.lost),
    ];
    for (name, column) in columns {
        for series in metrics.series(name) {
            *column(books.entry(series.labels["kind"].clone()).or_default()) += series.value;
        }
    }
    for series in metrics.series("monitor_events_suppressed_total") {
        if matches!(&*series.labels["reason"], "self" | "canary") {
            books.entry(series.labels["kind"].clone()).or_default().own += series.value;
        }
    }
    books
}

/// Waits until all that was seen is accounted for: nothing is on its way any more.
fn balanced(agent: &Agent<'_>) -> Result<BTreeMap<String, Book>> {
    let mut last = BTreeMap::new();
    let settled = eventually("books that balance", deadline(30.0), || {
        last = books(&agent.metrics()?);
        Ok(last.values().all(Book::balances).then(|| last.clone()))
    });
    settled.with_context(|| format!("{last:#?}"))
}

/// Connects a number of times, one way; each must have this outcome.
fn connect(group: &Cgroup, to: SocketAddr, (way, count): (&str, u64), outcome: &str) -> Result<u32> {
    let client = Program::probe()?.arg("connect").with("to", to.to_string()).with("way", way);
    let client = client.with("count", count.to_string()).inside(group)?.finish(deadline(120.0))?;
    assert_eq!(client.json()?, json!({ outcome: count }), "{way}");
    Ok(client.pid)
}

/// Runs a program a number of times, and tells what became of it.
fn spawn(group: &Cgroup, program: &Path, count: u64) -> Result<serde_json::Value> {
    let spawn = Program::probe()?.arg("spawn").with("program", program);
    spawn.with("count", count.to_string()).inside(group)?.json(deadline(120.0))
}
