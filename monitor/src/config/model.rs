//! The checked configuration: what the rest of the agent reads. Whatever is in here has passed every check
//! that needs nothing but the files; what the kernel and the host can't do is found when it is loaded, and
//! reported with the [`Place`]s kept here.

mod about;
mod packets;
mod policy;
mod sink;
mod words;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use monitor_common::limits;

use super::source::{Place, Sources, Spanned};
pub use about::{About, Level};
pub use packets::{BANNED, Limit, PacketInterface, Packets, Penalty, Rate, RateLimit, UNPARSED};
pub use policy::{Account, Args, Database, Exec, Only, Pattern, Workload};
pub use sink::{Endpoint, FileSink, HttpKind, Secret, Sink, Syslog, Target, Url};
pub use words::{Action, Attach, Class, Format, IfHeld, ListKind, Mode, Per, Protocol, WhenStale};

/// A whole configuration, all files together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The mode of every rule that says nothing else.
    pub mode: Mode,
    /// The agent itself.
    pub agent: Agent,
    /// The Prometheus endpoint.
    pub metrics: Metrics,
    /// Who may ask the running agent.
    pub control: Control,
    /// Whether there is a page for people on the Prometheus endpoint.
    pub web: bool,
    /// Where findings go.
    pub sinks: Vec<Sink>,
    /// The workloads; rules refer to them by index. At most [`MAX_WORKLOADS`](super::limits::MAX_WORKLOADS).
    pub workloads: Vec<Workload>,
    /// Database rules in file order; the first decides that speaks of the port or socket and of the same side.
    pub databases: Vec<Database>,
    /// Who may listen where, in file order: written as databases that have `ports` and `servers` only. They come after
    /// [`Config::databases`]: the kernel programs know both as one list.
    pub listens: Vec<Database>,
    /// Exec rules in file order; the first that matches decides.
    pub execs: Vec<Exec>,
    /// How packets are counted for rate limits.
    pub packets: Packets,
    /// Rate limits in file order; all that speak of a packet count, at most
    /// [`MAX_LIMITS_PER_PACKET`](super::limits::MAX_LIMITS_PER_PACKET).
    pub rate_limits: Vec<RateLimit>,
    /// Who may open raw and packet sockets. `None`: nobody watches.
    pub raw_sockets: Option<Only>,
    /// Who may get at the memory of other processes. `None`: nobody watches.
    pub process_memory: Option<Only>,
    /// Modes that were set at run time, beside the files: for a rule by its name, else for all that name none.
    pub modes: Vec<(Option<String>, Mode)>,
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
    /// How long after its last sign of life the agent counts as gone, nanoseconds.
    pub stale_after_ns: u64,
    /// What is taken out of command lines.
    pub redact: Redact,
    /// How much the kernel keeps for the agent.
    pub rings: Rings,
    /// How many ordinary events of one control group are told. `None`: all.
    pub events_per_cgroup: Option<Limit>,
}

/// Bytes of the rings on which the kernel hands over what happens; powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rings {
    /// Of the one for ordinary events.
    pub events: u32,
    /// Of each one for findings.
    pub findings: u32,
}

impl Rings {
    /// The smallest there can be: for who reports nothing.
    pub const NONE: Self = Self { events: limits::MIN_RING, findings: limits::MIN_RING };
}

impl Default for Rings {
    fn default() -> Self {
        Self { events: limits::RING, findings: limits::FINDINGS_RING }
    }
}

/// Secrets on command lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redact {
    /// Are shown.
    Off,
    /// Are taken out, and with them what these regular expressions find.
    Patterns(Vec<Spanned<String>>),
}

/// A set of network interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interfaces {
    /// Those with a default route.
    Auto,
    /// Names and globs; those with a name may not exist. None if empty.
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
    /// The file that says who may ask; `None`: everybody.
    pub web_config: Option<Spanned<PathBuf>>,
    /// Where that was said.
    pub place: Place,
}

/// Who may ask the running agent, besides root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Control {
    /// The group whose members may.
    pub group: Option<Spanned<Account>>,
    /// Whether they may change anything, or only look.
    pub changes: bool,
}
