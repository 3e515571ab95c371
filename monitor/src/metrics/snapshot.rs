//! What the kernel programs counted, as it is read for one scrape.
//!
//! The exporter knows nothing of maps: whoever holds them implements [`KernelState`].

use std::{fmt, sync::Arc};

use monitor_common::{
    count::{Count, LIFETIMES, Outcome, Stat, Unparsed},
    event::Kind,
    limit::Cause,
    policy::{Mode, RuleKind, masks::Direction},
};

/// Reads the kernel's counters.
pub trait KernelState: Send + Sync + fmt::Debug {
    /// The counters as they are now. Called once per scrape, on a thread that may block.
    fn snapshot(&self) -> Snapshot;
}

/// Everything that is read from the kernel for one scrape. All counters are totals since the maps were made.
///
/// Entries with the same labels are added up, so an implementation may list parts (of several programs or CPUs)
/// separately.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counters of events, by kind.
    pub events: Vec<(Kind, Count, u64)>,
    /// Events lost in ways that the kernel programs themselves can't see, with the `reason` label: program runs that
    /// the kernel skipped (`recursion`), records that could not be read (`unreadable`).
    pub lost: Vec<(Kind, &'static str, u64)>,
    /// Decisions of exec and database rules.
    pub decisions: Vec<Decisions>,
    /// Packets of rate limits.
    pub packets: Vec<Packets>,
    /// Decisions of database rules by workload.
    pub databases: Vec<Connections>,
    /// Traffic of databases by workload.
    pub traffic: Vec<DatabaseTraffic>,
    /// Packets whose ports can't be told, and what became of them.
    pub unparsed: Vec<(Unparsed, Outcome, u64)>,
    /// Packets over a limit, by rate limit and why.
    pub over: Vec<(Arc<str>, Cause, u64)>,
    /// Sources that are tracked now, by rate limit.
    pub sources: Vec<(Arc<str>, u64)>,
    /// Other counters.
    pub stats: Vec<(Stat, u64)>,
    /// The kernel programs.
    pub programs: Vec<Program>,
    /// The maps.
    pub maps: Vec<Map>,
    /// Running processes whose executable is not known.
    pub processes_unknown: u64,
    /// Control groups that make more events than are told.
    pub cgroups_throttled: u64,
    /// Times that a path of the policy was found to lead to another file than before.
    pub files_replaced: u64,
    /// Files whose content is not the one that the policy gives.
    pub files_unverified: u64,
}

/// Decisions of one rule with one verdict in one mode.
#[derive(Clone, Debug)]
pub struct Decisions {
    /// Kind of the rule.
    pub rule_kind: RuleKind,
    /// Name of the rule.
    pub rule: Arc<str>,
    /// A code from [`monitor_common::policy::verdict`].
    pub verdict: u8,
    /// Whether it was carried out.
    pub mode: Mode,
    /// How many.
    pub count: u64,
}

/// Packets of one rate limit with one outcome.
#[derive(Clone, Debug)]
pub struct Packets {
    /// Name of the rule.
    pub rule: Arc<str>,
    /// What the rate limit did.
    pub outcome: Outcome,
    /// The rule's mode.
    pub mode: Mode,
    /// How many packets.
    pub packets: u64,
    /// Their bytes, from the link header on.
    pub bytes: u64,
}

/// Connections to one database by one workload.
#[derive(Clone, Debug)]
pub struct Connections {
    /// Name of the `[[database]]`.
    pub database: Arc<str>,
    /// What was asked.
    pub direction: Direction,
    /// Name of the first `[[workload]]` the process belongs to; `None`: it belongs to none.
    pub workload: Option<Arc<str>>,
    /// A code from [`monitor_common::policy::verdict`].
    pub verdict: u8,
    /// Whether it was carried out.
    pub mode: Mode,
    /// How many.
    pub count: u64,
}

/// Connections to or of one database by one workload, and what went through those that ended.
#[derive(Clone, Debug)]
pub struct DatabaseTraffic {
    /// Name of the `[[database]]`.
    pub database: Arc<str>,
    /// Whose end it is.
    pub direction: Direction,
    /// As in [`Connections`].
    pub workload: Option<Arc<str>>,
    /// Connections that were established.
    pub opened: u64,
    /// Connections that ended.
    pub closed: u64,
    /// Bytes from the other end.
    pub received: u64,
    /// Bytes to the other end.
    pub sent: u64,
    /// How long they lived.
    pub lifetimes: Lifetimes,
}

/// How long connections lived.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lifetimes {
    /// All together, seconds.
    pub sum: f64,
    /// How many, by class ([`monitor_common::count::LIFETIMES_MS`]).
    pub counts: [u64; LIFETIMES],
}

impl Lifetimes {
    /// Adds others.
    pub fn add(&mut self, sum: f64, counts: &[u64; LIFETIMES]) {
        self.sum += sum;
        self.counts.iter_mut().zip(counts).for_each(|(to, from)| *to += from);
    }
}

/// One kernel program.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name.
    pub name: Arc<str>,
    /// How often it ran. The kernel counts only while its statistics are on (`kernel.bpf_stats_enabled`).
    pub runs: u64,
    /// How long it ran, seconds. As above.
    pub run_seconds: f64,
}

/// One map.
#[derive(Clone, Debug)]
pub struct Map {
    /// Its name.
    pub name: Arc<str>,
    /// Entries in it; `None` if nobody counts them, or it always has as many as it can hold.
    pub entries: Option<u64>,
    /// Entries it can hold.
    pub capacity: u64,
    /// Memory that the kernel accounts for it.
    pub bytes: u64,
}
