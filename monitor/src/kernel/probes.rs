//! The table of kernel programs: how each is attached, when, and what it feeds.

use monitor_common::event::Kind;

use crate::config::{Config, Database};

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// To a kernel tracepoint by its BTF type.
    Tracepoint(&'static str),
    /// To the beginning of a function of the kernel.
    Function(&'static str),
    /// To the root of the cgroup v2 tree, for socket addresses.
    SockAddr,
    /// To the root of the cgroup v2 tree, for sockets.
    Sock,
    /// To the root of the cgroup v2 tree, for packets that arrive at sockets.
    Skb,
    /// To a hook of the BPF LSM.
    Lsm(&'static str),
    /// To interfaces.
    Xdp,
    /// To interfaces, behind the driver.
    Traffic,
}

impl Attach {
    /// The program type's name as the kernel's tools write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tracepoint(_) => "tp_btf",
            Self::Function(_) => "fentry",
            Self::SockAddr => "cgroup_sock_addr",
            Self::Sock => "cgroup_sock",
            Self::Skb => "cgroup_skb",
            Self::Lsm(_) => "lsm",
            Self::Xdp => "xdp",
            Self::Traffic => "tc",
        }
    }
}

/// When a program is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// Always: without it the agent would be blind.
    Always,
    /// When a sink writes events, or there is a rule about databases or about who may listen: it costs each connection a
    /// little.
    States,
    /// When a workload asks for a cgroup or unit.
    Cgroups,
    /// To refuse execs, and to see scripts; without it execs are killed.
    ExecDeny,
    /// When a database rule has `clients`; the kernel has it since 6.3, and does without before.
    Handover,
    /// When a database rule has `sources`.
    Sources,
    /// When a database rule has `sockets`; needs BPF LSM.
    UnixSockets,
    /// When there is a `[raw_sockets]`.
    RawSockets,
    /// The same, for sockets of links; needs BPF LSM.
    PacketSockets,
    /// When there is a `[process_memory]`; needs BPF LSM.
    MemoryCheck,
    /// The same without it.
    MemorySeen,
    /// When there is a rate limit and an interface to hold it on.
    RateLimit,
    /// When an interface can't have the one before it: loaded then.
    Lazy,
    /// For no policy: `monitor explain --kernel` asks it.
    Asked,
}

impl Needed {
    /// Whether it is needed for a policy, given whether execs are refused by an LSM program, and whether such programs
    /// work at all.
    #[must_use]
    pub fn by(self, config: &Config, exec_lsm: bool, lsm: bool) -> bool {
        let database = |asks: fn(&Database) -> bool| config.databases.iter().any(asks);
        match self {
            Self::Always => true,
            Self::States => {
                config.endpoints().next().is_some() || config.sinks.iter().any(|sink| sink.events)
            }
            Self::Cgroups => {
                config.workloads.iter().any(|asks| !asks.units.is_empty() || !asks.cgroups.is_empty())
            }
            Self::ExecDeny => exec_lsm,
            Self::Handover => database(|rule| rule.clients.is_some() && !rule.ports.is_empty()),
            Self::Sources => database(|rule| rule.sources.is_some()),
            Self::UnixSockets => lsm && database(|rule| !rule.sockets.is_empty()),
            Self::RawSockets => config.raw_sockets.is_some(),
            Self::PacketSockets => lsm && config.raw_sockets.is_some(),
            Self::MemoryCheck => lsm && config.process_memory.is_some(),
            Self::MemorySeen => !lsm && config.process_memory.is_some(),
            Self::RateLimit => !config.rate_limits.is_empty(),
            Self::Lazy | Self::Asked => false,
        }
    }
}

/// A kernel program.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Its name in the object.
    pub program: &'static str,
    /// How it is attached.
    pub attach: Attach,
    /// When it is needed.
    pub needed: Needed,
    /// Kinds of events it feeds.
    pub feeds: &'static [Kind],
}

/// All programs, in the order they are attached: first what keeps the table of processes, so that everything after it
/// knows who is who.
pub const PROBES: &[Probe] = &[
    Probe {
        program: "fork",
        attach: Attach::Tracepoint("sched_process_fork"),
        needed: Needed::Always,
        feeds: &[Kind::Fork],
    },
    Probe {
        program: "exec",
        attach: Attach::Tracepoint("sched_process_exec"),
        needed: Needed::Always,
        feeds: &[Kind::Exec],
    },
    Probe {
        program: "exit",
        attach: Attach::Tracepoint("sched_process_exit"),
        needed: Needed::Always,
        feeds: &[Kind::Exit],
    },
    Probe {
        program: "cgroup_made",
        attach: Attach::Tracepoint("cgroup_mkdir"),
        needed: Needed::Cgroups,
        feeds: &[],
    },
    Probe {
        program: "exec_check",
        attach: Attach::Lsm("bprm_check_security"),
        needed: Needed::ExecDeny,
        feeds: &[Kind::Exec],
    },
    Probe {
        program: "exec_map",
        attach: Attach::Lsm("mmap_file"),
        needed: Needed::ExecDeny,
        feeds: &[Kind::Exec],
    },
    Probe { program: "connect4", attach: Attach::SockAddr, needed: Needed::Always, feeds: &[Kind::Connect] },
    Probe { program: "connect6", attach: Attach::SockAddr, needed: Needed::Always, feeds: &[Kind::Connect] },
    Probe { program: "sendmsg4", attach: Attach::SockAddr, needed: Needed::Always, feeds: &[Kind::Connect] },
    Probe { program: "sendmsg6", attach: Attach::SockAddr, needed: Needed::Always, feeds: &[Kind::Connect] },
    Probe { program: "bind4", attach: Attach::Sock, needed: Needed::Always, feeds: &[Kind::Bind] },
    Probe { program: "bind6", attach: Attach::Sock, needed: Needed::Always, feeds: &[Kind::Bind] },
    Probe {
        program: "listen",
        attach: Attach::Tracepoint("inet_sock_set_state"),
        needed: Needed::States,
        feeds: &[Kind::Listen],
    },
    Probe {
        program: "sent",
        attach: Attach::Tracepoint("sock_send_length"),
        needed: Needed::Handover,
        feeds: &[Kind::Held],
    },
    Probe { program: "sources", attach: Attach::Skb, needed: Needed::Sources, feeds: &[Kind::Source] },
    Probe {
        program: "unix_connect",
        attach: Attach::Lsm("unix_stream_connect"),
        needed: Needed::UnixSockets,
        feeds: &[Kind::Unix],
    },
    Probe {
        program: "unix_send",
        attach: Attach::Lsm("unix_may_send"),
        needed: Needed::UnixSockets,
        feeds: &[Kind::Unix],
    },
    Probe {
        program: "unix_bind",
        attach: Attach::Lsm("inode_mknod"),
        needed: Needed::UnixSockets,
        feeds: &[Kind::Unix],
    },
    Probe { program: "raw_socket", attach: Attach::Sock, needed: Needed::RawSockets, feeds: &[Kind::Socket] },
    Probe {
        program: "packet_socket",
        attach: Attach::Lsm("socket_create"),
        needed: Needed::PacketSockets,
        feeds: &[Kind::Socket],
    },
    Probe {
        program: "memory_check",
        attach: Attach::Lsm("ptrace_access_check"),
        needed: Needed::MemoryCheck,
        feeds: &[Kind::Memory],
    },
    Probe {
        program: "memory_seen",
        attach: Attach::Function("security_ptrace_access_check"),
        needed: Needed::MemorySeen,
        feeds: &[Kind::Memory],
    },
    Probe { program: "ingress", attach: Attach::Xdp, needed: Needed::RateLimit, feeds: &[Kind::Limit] },
    Probe { program: "ingress_generic", attach: Attach::Xdp, needed: Needed::Lazy, feeds: &[Kind::Limit] },
    Probe { program: "ingress_tc", attach: Attach::Traffic, needed: Needed::Lazy, feeds: &[Kind::Limit] },
    Probe {
        program: "ingress_tc_rest",
        attach: Attach::Traffic,
        needed: Needed::Lazy,
        feeds: &[Kind::Limit],
    },
    Probe { program: "ask", attach: Attach::Xdp, needed: Needed::Asked, feeds: &[] },
    Probe { program: "ask_database", attach: Attach::Xdp, needed: Needed::Asked, feeds: &[] },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_event_has_a_program_that_feeds_it() {
        for kind in Kind::ALL {
            assert!(PROBES.iter().any(|probe| probe.feeds.contains(kind)), "{}", kind.name());
        }
    }
}
