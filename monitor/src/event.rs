//! An event as the agent tells it: the kernel's record, completed with what the record only points to.

mod finding;
pub mod text;

use std::sync::Arc;

use monitor_common::{
    addr::Addr,
    event::{Actor, Endpoint, Kind},
    identity::ExeId,
    limit::Cause,
    policy::masks::Direction,
};

pub use finding::{Ancestor, Finding, Phase, Repeats, Tags};
pub use text::Text;

use crate::host::placement::Placement;

/// One event, and the finding it is if a rule decided on it.
#[derive(Clone, Debug)]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// When, nanoseconds since boot.
    pub boot_ns: u64,
    /// When, by the wall clock as it is now.
    pub time: jiff::Timestamp,
    /// Who did it; nobody for packets.
    pub actor: Option<Who>,
    /// The rest, by kind.
    pub detail: Detail,
    /// Set when a rule said more than "allow".
    pub finding: Option<Finding>,
}

/// The process that did it, as it was just before.
#[derive(Clone, Debug)]
pub struct Who {
    /// What the kernel says of it.
    pub process: Actor,
    /// What it runs.
    pub program: Arc<Program>,
    /// Where its control group lies; none if the group was gone before anybody asked.
    pub place: Option<Arc<Place>>,
    /// Names of the workloads it belonged to, in the order of the policy.
    pub workloads: Vec<Arc<str>>,
}

/// Where a control group lies, and what that says of the processes in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Path below the mount of the cgroup v2 tree; whoever made the group chose it.
    pub path: Text,
    /// What is read off that path.
    pub placement: Placement,
}

/// A running program: what was seen at its exec or, for older processes, read from `/proc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Path of the executable in the host's tree; empty if not known.
    pub path: Text,
    /// The name a script was started by.
    pub script: Option<Text>,
    /// Its arguments, the first being its own name.
    pub args: Vec<Text>,
    /// There were more arguments, or longer ones, than are kept.
    pub args_truncated: bool,
    /// Names of flags that qualify the path or the arguments (`memfd`, `deleted`, `loader`, `args_truncated` and others:
    /// one for each of `monitor_common::event::exec::flags`).
    pub notes: Vec<&'static str>,
}

/// What happened, by kind.
#[derive(Clone, Debug)]
pub enum Detail {
    /// A program was started, or refused.
    Exec {
        /// The file.
        file: ExeId,
        /// The new program.
        program: Arc<Program>,
        /// The script that the file interprets, where a security hook saw it.
        script: Option<ExeId>,
        /// Whether a dynamic loader mapped it, rather than the kernel having started it.
        mapped: bool,
    },
    /// A process was made.
    Fork {
        /// Its id.
        child_pid: u32,
        /// Its parent's id.
        child_ppid: u32,
        /// Its start time, nanoseconds since boot.
        child_start_ns: u64,
    },
    /// A process ended.
    Exit {
        /// Exit code, if it ended by itself.
        code: Option<u8>,
        /// The signal that ended it.
        signal: Option<u8>,
    },
    /// A conversation was about to be opened.
    Connect {
        /// The other end.
        remote: Endpoint,
        /// A datagram without a connection.
        datagram: bool,
    },
    /// A socket was bound.
    Bind {
        /// The local end.
        local: Endpoint,
    },
    /// A socket began to listen.
    Listen {
        /// The local end.
        local: Endpoint,
    },
    /// A raw or packet socket was asked for.
    Socket {
        /// Address family (`AF_*`).
        family: u16,
        /// IP protocol, or link protocol of `AF_PACKET`.
        protocol: u16,
    },
    /// A unix socket was about to be connected to, or to be given its name.
    Unix {
        /// Which of both.
        direction: Direction,
        /// Where the listening socket's file lies in the host's tree.
        path: Text,
    },
    /// A packet came for a database from where none may.
    Source {
        /// The sender, and the local port it asked for.
        source: Endpoint,
    },
    /// A connection to a database was found in the hands of who may not have opened it.
    Held {
        /// The other end.
        remote: Endpoint,
        /// The process that opened it; none if it is older than the policy.
        opener: Option<Opener>,
        /// Whether it was closed.
        closed: bool,
    },
    /// A process was about to get at the memory of another one.
    Memory {
        /// The other process.
        pid: u32,
        /// Its start time, nanoseconds since boot.
        start_ns: u64,
        /// Path of what it runs; empty if not known.
        path: Text,
    },
    /// A source went over a rate limit.
    Limit {
        /// The source, as far as the limit tells sources apart, and the destination port.
        source: Endpoint,
        /// How many bits of the source that is.
        prefix: u8,
        /// Why; `None` for a reason that this version doesn't know.
        cause: Option<Cause>,
        /// Packets of it over this limit since it last had its whole burst.
        over: u32,
        /// How long the penalty is that this brought about, nanoseconds.
        penalty_ns: Option<u64>,
    },
}

/// Who opened a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opener {
    /// Its process id then.
    pub pid: u32,
    /// Name of its first workload; none if it had none.
    pub workload: Option<Arc<str>>,
}

/// A source as people write it: an address, or a network of so many bits.
#[must_use]
pub fn source_name(addr: &Addr, prefix: u8) -> String {
    let whole = if addr.is_v4() { 32 } else { 128 };
    if prefix == whole { addr.to_string() } else { format!("{addr}/{prefix}") }
}
