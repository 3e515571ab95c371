//! What the agent itself counts. Everything on the event path is an atomic: no lock is taken there.

mod bans;
mod interfaces;
mod sinks;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use monitor_common::event::{KINDS, Kind};

use crate::kernel::words::Words;

pub use bans::{BanFailure, BanKind, Bans, Penalties, Reload};
pub use interfaces::{Change, Interfaces};
pub use sinks::{Loss, SinkCounters};

/// What the agent itself counts.
#[derive(Debug, Default)]
pub struct Counters {
    delivered: [AtomicU64; KINDS as usize],
    /// Where they are counted instead, if what is counted shall outlive the agent.
    pinned: OnceLock<Words>,
    http: [[AtomicU64; HttpStatus::ALL.len()]; HttpPath::ALL.len()],
    sinks: Mutex<Vec<(Arc<str>, Arc<SinkCounters>)>>,
    canaries: Mutex<BTreeMap<&'static str, Canary>>,
    reloads: [AtomicU64; Reload::ALL.len()],
    control: [AtomicU64; ControlOutcome::ALL.len()],
    /// How long no agent was seen alive, milliseconds.
    gone_ms: AtomicU64,
    /// Of bans.
    pub bans: Bans,
    /// Of interfaces.
    pub interfaces: Interfaces,
}

/// What was asked of the HTTP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpPath {
    /// `/`
    Index,
    /// `/metrics`
    Metrics,
    /// `/healthz`
    Healthz,
    /// `/readyz`
    Readyz,
    /// Anything else.
    Other,
}

impl HttpPath {
    /// All.
    pub const ALL: [Self; 5] = [Self::Index, Self::Metrics, Self::Healthz, Self::Readyz, Self::Other];

    /// The `path` label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Index => "/",
            Self::Metrics => "/metrics",
            Self::Healthz => "/healthz",
            Self::Readyz => "/readyz",
            Self::Other => "other",
        }
    }

    /// The path of a request.
    #[must_use]
    pub fn of(path: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|known| known.name() == path && *known != Self::Other)
            .unwrap_or(Self::Other)
    }
}

/// What the HTTP server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpStatus {
    /// 200
    Ok,
    /// 4xx: the client's fault.
    ClientError,
    /// 503 and other 5xx.
    ServerError,
}

impl HttpStatus {
    /// All.
    pub const ALL: [Self; 3] = [Self::Ok, Self::ClientError, Self::ServerError];

    /// The `status` label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "2xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }

    /// The class of a status code.
    #[must_use]
    pub const fn of(code: u16) -> Self {
        match code {
            0..400 => Self::Ok,
            400..500 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

/// What became of a request at the control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlOutcome {
    /// Answered.
    Done,
    /// Answered with an error.
    Failed,
    /// A connection that was not taken: too many, or not by root.
    Refused,
}

impl ControlOutcome {
    /// All.
    pub const ALL: [Self; 3] = [Self::Done, Self::Failed, Self::Refused];

    /// The `outcome` label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// State of one way of enforcement, as its canary (a refusal that the agent provokes) found it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Canary {
    /// Whether the last canary was refused as it should be.
    pub live: bool,
    /// When a canary last was, seconds since the epoch.
    pub last_success: Option<f64>,
}

impl Counters {
    /// For so long no agent counted as alive.
    pub fn was_gone(&self, gone: Duration) {
        self.gone_ms.fetch_add(gone.as_millis() as u64, Relaxed);
    }

    /// For how long altogether, seconds.
    pub fn gone_seconds(&self) -> f64 {
        self.gone_ms.load(Relaxed) as f64 / 1000.0
    }

    /// Counts an event that was taken off the ring and decoded.
    pub fn delivered(&self, kind: Kind) {
        if let Some(counter) = self.delivered_by_kind().get(kind as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// How many events of a kind were delivered.
    #[must_use]
    pub fn delivered_total(&self, kind: Kind) -> u64 {
        self.delivered_by_kind().get(kind as usize).map_or(0, |counter| counter.load(Relaxed))
    }

    /// Has deliveries be counted there from now on, where what was delivered before is counted already. Must come before
    /// the first.
    pub fn count_deliveries_in(&self, words: Words) {
        if self.pinned.set(words).is_err() {
            tracing::debug!("deliveries are counted where they were");
        }
    }

    fn delivered_by_kind(&self) -> &[AtomicU64] {
        self.pinned.get().map_or(&self.delivered, Words::all)
    }

    /// Counts an HTTP request that was answered.
    pub fn http_request(&self, path: HttpPath, status: HttpStatus) {
        self.http[path as usize][status as usize].fetch_add(1, Relaxed);
    }

    /// How many HTTP requests were answered so.
    #[must_use]
    pub fn http_requests(&self, path: HttpPath, status: HttpStatus) -> u64 {
        self.http[path as usize][status as usize].load(Relaxed)
    }

    /// Notes what the canary of a way of enforcement (`path` label: `exec`, `connect`, `packet`) found at `time`.
    pub fn canary(&self, path: &'static str, live: bool, time: jiff::Timestamp) {
        let mut canaries = lock(&self.canaries);
        let canary = canaries.entry(path).or_default();
        canary.live = live;
        if live {
            canary.last_success = Some(time.as_duration().as_secs_f64());
        }
    }

    /// What the canaries found, by way of enforcement.
    #[must_use]
    pub fn canaries(&self) -> Vec<(&'static str, Canary)> {
        lock(&self.canaries).iter().map(|(path, canary)| (*path, *canary)).collect()
    }

    /// Counts what became of a new policy.
    pub fn reload(&self, outcome: Reload) {
        self.reloads[outcome as usize].fetch_add(1, Relaxed);
    }

    /// How often that became of one.
    #[must_use]
    pub fn reloads(&self, outcome: Reload) -> u64 {
        self.reloads[outcome as usize].load(Relaxed)
    }

    /// Counts a request or a connection at the control socket.
    pub fn control(&self, outcome: ControlOutcome) {
        self.control[outcome as usize].fetch_add(1, Relaxed);
    }

    /// How many there were.
    #[must_use]
    pub fn controls(&self, outcome: ControlOutcome) -> u64 {
        self.control[outcome as usize].load(Relaxed)
    }

    /// Counters for a new sink. The `sink` label is `base`, with a number from the second sink of that name on.
    pub fn add_sink(&self, base: &'static str) -> (Arc<str>, Arc<SinkCounters>) {
        let mut sinks = lock(&self.sinks);
        let mut name: Arc<str> = base.into();
        let mut number = 1;
        while sinks.iter().any(|(known, _)| *known == name) {
            number += 1;
            name = format!("{base}-{number}").into();
        }
        let counters = Arc::<SinkCounters>::default();
        sinks.push((Arc::clone(&name), Arc::clone(&counters)));
        (name, counters)
    }

    /// All sinks, with the `sink` label.
    #[must_use]
    pub fn sinks(&self) -> Vec<(Arc<str>, Arc<SinkCounters>)> {
        lock(&self.sinks).clone()
    }
}

/// A panic elsewhere leaves counters that are still good to read.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_of_the_enums_are_their_places() {
        assert!(HttpPath::ALL.iter().enumerate().all(|(index, path)| *path as usize == index));
        assert!(HttpStatus::ALL.iter().enumerate().all(|(index, status)| *status as usize == index));
    }

    #[test]
    fn paths_of_requests_are_a_closed_set() {
        assert_eq!(HttpPath::of("/metrics"), HttpPath::Metrics);
        assert_eq!(HttpPath::of("other"), HttpPath::Other);
        assert_eq!(HttpPath::of("/metrics\"}"), HttpPath::Other);
    }

    #[test]
    fn sinks_of_one_type_are_numbered() {
        let counters = Counters::default();
        let names: Vec<_> = ["file", "stdout", "file", "file"].map(|base| counters.add_sink(base).0).into();
        assert_eq!(names, ["file", "stdout", "file-2", "file-3"].map(Arc::from));
    }

    #[test]
    fn a_failed_canary_keeps_the_time_of_the_last_good_one() {
        let counters = Counters::default();
        counters.canary("connect", true, jiff::Timestamp::new(100, 500_000_000).unwrap());
        counters.canary("connect", false, jiff::Timestamp::new(200, 0).unwrap());
        assert_eq!(counters.canaries(), [("connect", Canary { live: false, last_success: Some(100.5) })]);
    }
}
