//! What became of events, by the agent's own counters.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::{Agent, metrics::Metrics};
use crate::wait::{Deadline, eventually};

/// What became of one kind of events.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Book {
    /// They happened.
    pub seen: f64,
    /// The agent has them.
    pub delivered: f64,
    /// They were left out on purpose.
    pub suppressed: f64,
    /// They found no room.
    pub lost: f64,
    /// Of what was suppressed, what the agent did itself: its canaries, for one.
    pub own: f64,
}

impl Book {
    /// Whether each is accounted for.
    pub fn balances(&self) -> bool {
        self.seen == self.delivered + self.suppressed + self.lost
    }

    /// What others did.
    pub fn made(&self) -> f64 {
        self.seen - self.own
    }
}

/// The books of all kinds.
pub type Books = BTreeMap<String, Book>;

/// The books of all kinds, as metrics tell them.
pub fn books(metrics: &Metrics) -> Books {
    let mut books = Books::new();
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

impl Agent<'_> {
    /// Waits until all that was seen is accounted for: nothing is on its way any more.
    ///
    /// # Errors
    /// When something isn't by the deadline, with the books as they were last.
    pub fn balanced(&self, deadline: Deadline) -> Result<Books> {
        let mut last = Books::new();
        let settled = eventually("books that balance", deadline, || {
            last = books(&self.metrics()?);
            Ok(last.values().all(Book::balances).then(|| last.clone()))
        });
        settled.with_context(|| format!("{last:#?}"))
    }
}
