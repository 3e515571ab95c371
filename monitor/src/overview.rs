//! How the running agent is: one picture for `monitor status`, `monitor top` and the web page.
//!
//! Everything in it comes from what the metrics are made of, so that no two views can tell different stories. Numbers are totals
//! since the kernel's maps were made; a rate is the difference of two pictures.

mod build;
mod health;
mod sources;

use serde::{Deserialize, Serialize};

pub use build::{Parts, picture};
pub use health::Losses;

/// How the agent is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overview {
    /// The agent's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Name of the host.
    pub host: String,
    /// Release of the kernel.
    pub kernel: String,
    /// When this was, seconds since the epoch.
    pub now: f64,
    /// When the agent was started, seconds since the epoch; 0 if not known.
    pub started: f64,
    /// Whether nothing is the matter: no entry in `problems`.
    pub healthy: bool,
    /// What is the matter.
    pub problems: Vec<Remark>,
    /// What is good to know and no reason to act at once.
    pub notes: Vec<Remark>,
    /// The policy in force; none while it is loaded.
    pub policy: Option<Policy>,
    /// What this kernel can do for the policy.
    pub capabilities: Vec<Capability>,
    /// Ways of enforcing, as they were last tried.
    pub canaries: Vec<Canary>,
    /// Interfaces whose packets are watched.
    pub interfaces: Vec<Interface>,
    /// How many are watched, those included that aren't listed.
    pub interfaces_covered: u64,
    /// Those that should be watched and aren't.
    pub uncovered: Vec<Reason>,
    /// The books, by kind of event.
    pub books: Vec<Book>,
    /// Where findings go.
    pub sinks: Vec<Sink>,
    /// Rules with what they decided besides to allow.
    pub rules: Vec<Rule>,
    /// Rate limits.
    pub limits: Vec<Limit>,
    /// Sources that were over a limit of late, or serve a penalty; the newest first.
    pub sources: Vec<Source>,
    /// Databases, by direction and workload.
    pub databases: Vec<Database>,
    /// Bans by hand.
    pub bans: u64,
    /// What the agent itself uses.
    pub usage: Usage,
}

/// Something to know, and what to do about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    /// A word from a closed set.
    pub what: String,
    /// A sentence.
    pub detail: String,
    /// What to do.
    pub remedy: String,
}

/// The policy in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// SHA-256 of its files.
    pub sha256: String,
    /// How many policies were in force, this one included.
    pub generation: u64,
    /// The mode of rules that name none.
    pub mode: String,
}

/// What the kernel can do about something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// What it is for.
    pub feature: String,
    /// `enforced`, `available`, `fallback` or `missing`.
    pub state: String,
    /// Why, if not enforced.
    pub reason: String,
}

/// A refusal that the agent provokes to see that it is refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Canary {
    /// The way of enforcing.
    pub path: String,
    /// Whether the last one was refused.
    pub live: bool,
    /// When one last was, seconds since the epoch.
    pub last_success: Option<f64>,
}

/// An interface whose packets are watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Where the program is attached.
    pub mode: String,
}

/// How many for a reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// From a closed set.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// The books of a kind of event: seen = delivered + suppressed + lost, but for what is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// Kind of event.
    pub kind: String,
    /// It happened.
    pub seen: u64,
    /// The agent received and read it.
    pub delivered: u64,
    /// Left out on purpose.
    pub suppressed: u64,
    /// Should have been delivered and was not.
    pub lost: u64,
}

/// A sink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sink {
    /// Its name.
    pub name: String,
    /// What it wrote.
    pub delivered: u64,
    /// What it didn't.
    pub lost: Vec<Reason>,
}

/// What a rule decided besides to allow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name.
    pub rule: String,
    /// Its kind.
    pub kind: String,
    /// What was decided.
    pub verdict: String,
    /// Whether it was carried out.
    pub mode: String,
    /// How often.
    pub count: u64,
}

/// A rate limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Its name.
    pub rule: String,
    /// Whether it is carried out.
    pub mode: String,
    /// Packets that it let pass.
    pub passed: u64,
    /// Packets that it dropped, or would have.
    pub dropped: u64,
    /// Bytes of those.
    pub dropped_bytes: u64,
    /// Sources whose rate is tracked.
    pub tracked: u64,
    /// Sources that serve a penalty.
    pub penalties: u64,
}

/// A source that was over a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Address or network.
    pub source: String,
    /// The rate limit.
    pub rule: String,
    /// What it may send.
    pub limit: String,
    /// Packets over it since the source last had its whole burst.
    pub over: u64,
    /// How often that was told of late.
    pub reports: u64,
    /// When it was last told, seconds since the epoch.
    pub last: i64,
    /// Until when a penalty lasts, seconds since the epoch; none without one.
    pub penalty_until: Option<i64>,
    /// How many penalties there were.
    pub strikes: u32,
}

/// Connections to a database, or of its server here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its name.
    pub database: String,
    /// Who asked for what.
    pub direction: String,
    /// The workload; none for processes of no workload.
    pub workload: Option<String>,
    /// Connections that are open.
    pub open: u64,
    /// Decisions to let pass.
    pub allowed: u64,
    /// Decisions that were carried out.
    pub refused: u64,
    /// Decisions that would have been.
    pub would_refuse: u64,
    /// Bytes from the other end of connections that ended.
    pub received: u64,
    /// Bytes to the other end of those.
    pub sent: u64,
}

/// What the agent uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// User and system time, seconds.
    pub cpu_seconds: f64,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
}
