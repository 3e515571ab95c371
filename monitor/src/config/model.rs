//! The checked configuration: what the rest of the agent reads. Whatever is in here has passed every check
//! that needs nothing but the files; what the kernel and the host can't do is found when it is loaded, and
//! reported with the [`Place`]s kept here.

mod policy;
mod words;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::source::{Place, Sources, Spanned};
pub use policy::{Account, Args, Database, Exec, Pattern, RawSockets, Workload};
pub use words::{Action, Class, Format, ListKind, Mode, Per, Protocol};

/// A whole configuration, all files together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The mode of every rule that says nothing else.
    pub mode: Mode,
    /// The agent itself.
    pub agent: Agent,
    /// The Prometheus endpoint.
    pub metrics: Metrics,
    /// Where findings go.
    pub sinks: Vec<Sink>,
    /// The workloads; rules refer to them by index. At most [`MAX_WORKLOADS`](super::limits::MAX_WORKLOADS).
    pub workloads: Vec<Workload>,
    /// Database rules in file order; the first decides that speaks of the port or socket and of the same side.
    pub databases: Vec<Database>,
    /// Exec rules in file order; the first that matches decides.
    pub execs: Vec<Exec>,
    /// Rate limits in file order; all with the port and protocol count. At most
    /// [`MAX_LIMITS_PER_PORT`](super::limits::MAX_LIMITS_PER_PORT) have a port in common.
    pub rate_limits: Vec<RateLimit>,
    /// Who may open raw and packet sockets. `None`: nobody watches.
    pub raw_sockets: Option<RawSockets>,
    /// SHA-256 of the bytes of all files, one after the other in the order they were read.
    pub sha256: [u8; 32],
    /// The texts, to show what is found later.
    pub(crate) sources: Sources,
}

/// The agent itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The interfaces whose packets are watched.
    pub interfaces: Interfaces,
    /// The part of the cgroup v2 tree the policy applies to: `/`, or a path below the mount point that begins
    /// with `/` and doesn't end with one.
    pub cgroup: Spanned<String>,
    /// What is never dropped.
    pub protect: Protect,
}

/// A set of network interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interfaces {
    /// Those with a default route.
    Auto,
    /// These, which may not exist; none if empty.
    Named(Vec<Spanned<String>>),
}

/// What is never dropped, whatever a rule says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protect {
    /// Remote networks with their prefix length. No bit beyond it is set, and no address is IPv4 in IPv6
    /// form.
    pub prefixes: Vec<(IpAddr, u8)>,
    /// Local ports, each with TCP or UDP.
    pub ports: Vec<(Protocol, u16)>,
}

/// The Prometheus endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Where to listen. Port 0 picks one.
    pub listen: SocketAddr,
    /// Where that was said.
    pub place: Place,
}

/// Where findings go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sink {
    /// What is written to.
    pub target: Target,
    /// How a finding is written.
    pub format: Format,
    /// Whether every event is written, not only findings.
    pub events: bool,
    /// Where the sink was defined.
    pub place: Place,
}

/// What a sink writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// The end of the file with this absolute path.
    File(PathBuf),
}

/// How much a client may send to local ports. At least one of the three limits is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// Unique among all rules.
    pub name: String,
    /// Local ports; never empty, sorted, no two overlap.
    pub ports: Vec<RangeInclusive<u16>>,
    /// The protocols; includes TCP if `connections` is given.
    pub protocol: Protocol,
    /// What is counted together.
    pub per: Per,
    /// Limit of packets.
    pub packets: Option<Limit>,
    /// Limit of new TCP connections.
    pub connections: Option<Limit>,
    /// Limit of bytes.
    pub bytes: Option<Limit>,
    /// The rule's own mode, else that of the configuration.
    pub mode: Mode,
    /// Where the rule was defined.
    pub place: Place,
}

/// A rate and how much may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The rate.
    pub rate: Rate,
    /// At least 1, and refilled in at most [`MAX_REFILL_NS`](super::limits::MAX_REFILL_NS).
    pub burst: u64,
}

/// `count` things in `per_ns` nanoseconds; from 1 per hour to the maxima in [`limits`](super::limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub count: u64,
    /// In how many nanoseconds: a second, a minute or an hour.
    pub per_ns: u64,
}

impl Rate {
    /// One second's worth, rounded up, so at least 1.
    pub fn per_second(self) -> u64 {
        let count = u128::from(self.count) * 1_000_000_000;
        u64::try_from(count.div_ceil(u128::from(self.per_ns.max(1)))).unwrap_or(u64::MAX)
    }
}
