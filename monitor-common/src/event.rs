//! The table of events: what the kernel programs report, one row per kind.
//!
//! To add one: its file below `event/`, one row in `events!`, its hook, one row in the agent's table of
//! programs, one scenario.

use crate::{identity::ExeId, policy::WorkloadSet};

wire! {
    /// What every record begins with.
    pub struct Header {
        /// When, nanoseconds since boot (the clock that goes on in suspend).
        pub time_ns: u64,
        /// Code of the [`Kind`].
        pub kind: u16,
        /// Index of the rule that decided, or [`crate::policy::NO_RULE`]. Which kind of rule follows from `kind`.
        pub rule: u16,
        /// Code from [`crate::policy::verdict`].
        pub verdict: u8,
        /// Code of [`crate::policy::Mode`].
        pub mode: u8,
        /// Flags of the kind.
        pub flags: u16,
    }

    /// The process that did it, as it was just before.
    pub struct Actor {
        /// Start time of the process, nanoseconds since boot; with `pid` it names a process for good.
        pub start_ns: u64,
        /// Id of its cgroup (v2).
        pub cgroup: u64,
        /// The file it runs.
        pub exe: ExeId,
        /// Workloads it belongs to.
        pub workloads: WorkloadSet,
        /// Process id in the host's namespace.
        pub pid: u32,
        /// Parent process id.
        pub ppid: u32,
        /// Real user id in the host's namespace.
        pub uid: u32,
        /// Real group id in the host's namespace.
        pub gid: u32,
        /// Name of the thread: whatever it likes to be called.
        pub comm: [u8; 16],
    }
}

/// Declares the kinds of events and how a record of each is read.
macro_rules! events {
    ($($(#[$meta:meta])* $variant:ident = $code:literal $name:literal in $module:ident;)*) => {
        $(pub mod $module;)*

        /// The kinds of events.
        #[repr(u16)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$meta])* $variant = $code,)* }

        impl Kind {
            /// All, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name in metrics, findings and commands.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        /// A record, read.
        #[cfg(feature = "user")]
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Record<'a> { $($(#[$meta])* $variant($module::$variant, &'a [u8]),)* }

        #[cfg(feature = "user")]
        impl<'a> Record<'a> {
            /// Reads a record as it came off the ring; what follows the fixed part is kept as bytes.
            pub fn read(bytes: &'a [u8]) -> Result<Self, Unreadable> {
                use zerocopy::FromBytes;
                let (header, _) = Header::read_from_prefix(bytes).map_err(|_| Unreadable::Short(bytes.len()))?;
                match header.kind {
                    $($code => $module::$variant::read_from_prefix(bytes)
                        .map(|(record, rest)| Self::$variant(record, rest))
                        .map_err(|_| Unreadable::Short(bytes.len())),)*
                    other => Err(Unreadable::Kind(other)),
                }
            }

            /// What it begins with.
            #[must_use]
            pub fn header(&self) -> &Header {
                match self { $(Self::$variant(record, _) => &record.header,)* }
            }

            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $(Self::$variant(..) => Kind::$variant,)* }
            }
        }
    };
}

events! {
    /// A process began to run a program, or was refused to.
    Exec = 1 "exec" in exec;
    /// A process was made.
    Fork = 2 "fork" in fork;
    /// The last thread of a process ended.
    Exit = 3 "exit" in exit;
    /// A socket was about to be connected, or a datagram sent without a connection.
    Connect = 4 "connect" in connect;
    /// A socket was bound to a port.
    Bind = 5 "bind" in bind;
    /// A socket began to listen.
    Listen = 6 "listen" in listen;
    /// A source went over a rate limit.
    Limit = 7 "limit" in limited;
    /// A raw or packet socket was asked for.
    Socket = 8 "socket" in socket;
    /// A unix socket was about to be connected to, or to be given its name.
    Unix = 9 "unix" in unix;
    /// A packet came for a database from where none may.
    Source = 10 "source" in source;
    /// A connection to a database was found in the hands of who may not have opened it: it is older than the policy,
    /// or was handed over. Where the kernel can't tell of the latter, and of the former, the agent finds it.
    Held = 11 "held" in held;
    /// A process was about to get at the memory of another one: to trace it, to read or write it.
    Memory = 12 "memory" in memory;
}

/// The rings that records travel on: what rules report has rings of its own, one for each group of kinds, so that neither
/// ordinary events nor findings of another group can crowd it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Ordinary events of all kinds.
    Events = 0,
    /// Findings about execs.
    Execs = 1,
    /// Findings about sockets: what processes ask for.
    Sockets = 2,
    /// Findings about packets: what others send.
    Packets = 3,
}

impl Ring {
    /// All, in the order of their codes.
    pub const ALL: [Self; 4] = [Self::Events, Self::Execs, Self::Sockets, Self::Packets];

    /// The name of its map.
    #[must_use]
    pub const fn map(self) -> &'static str {
        match self {
            Self::Events => "EVENTS",
            Self::Execs => "EXEC_FINDINGS",
            Self::Sockets => "SOCKET_FINDINGS",
            Self::Packets => "PACKET_FINDINGS",
        }
    }
}

/// Kinds are indexed by their code in counters; this is how many indices that takes.
pub const KINDS: u32 = 16;

wire! {
    /// One end of a conversation.
    pub struct Endpoint {
        /// The address.
        pub addr: crate::addr::Addr,
        /// The port, host order.
        pub port: u16,
        /// IP protocol number.
        pub protocol: u8,
        /// 4 or 6: the family of the socket. An IPv6 socket may carry a mapped IPv4 address.
        pub family: u8,
        /// Zero.
        pub zero: u32,
    }
}

/// Why a record could not be read.
#[cfg(feature = "user")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Shorter than its kind is; the length it had.
    Short(usize),
    /// Of a kind this agent doesn't know.
    Kind(u16),
}

impl Actor {
    /// Nobody: for what no process did.
    pub const NONE: Self = Self {
        start_ns: 0,
        cgroup: 0,
        exe: ExeId::NONE,
        workloads: WorkloadSet::EMPTY,
        pid: 0,
        ppid: 0,
        uid: 0,
        gid: 0,
        comm: [0; 16],
    };
}

impl Kind {
    /// The ring for findings of this kind.
    #[inline(always)]
    #[must_use]
    pub const fn findings(self) -> Ring {
        match self {
            Self::Exec | Self::Memory => Ring::Execs,
            Self::Limit | Self::Source => Ring::Packets,
            Self::Connect | Self::Bind | Self::Listen | Self::Socket | Self::Unix | Self::Held => {
                Ring::Sockets
            }
            // No rule decides on them.
            Self::Fork | Self::Exit => Ring::Events,
        }
    }

    /// The rules that can decide on this kind of event.
    #[must_use]
    pub const fn rules(self) -> Option<crate::policy::RuleKind> {
        use crate::policy::RuleKind;
        match self {
            Self::Exec => Some(RuleKind::Exec),
            Self::Connect | Self::Bind | Self::Listen | Self::Unix | Self::Source | Self::Held => {
                Some(RuleKind::Database)
            }
            Self::Limit => Some(RuleKind::RateLimit),
            Self::Socket => Some(RuleKind::RawSockets),
            Self::Memory => Some(RuleKind::ProcessMemory),
            Self::Fork | Self::Exit => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fit_the_counters_and_names_are_unique() {
        for (index, kind) in Kind::ALL.iter().enumerate() {
            assert!((*kind as u32) < KINDS);
            assert!(Kind::ALL[..index].iter().all(|other| other.name() != kind.name()));
        }
    }

    #[test]
    fn what_rules_decide_on_never_travels_with_ordinary_events() {
        for kind in Kind::ALL {
            assert_eq!(kind.rules().is_some(), kind.findings() != Ring::Events, "{kind:?}");
        }
    }

    #[cfg(feature = "user")]
    #[test]
    fn every_kind_can_be_read_back_and_a_short_record_is_refused() {
        for kind in Kind::ALL {
            let mut bytes = [0u8; 512];
            bytes[8..10].copy_from_slice(&(*kind as u16).to_ne_bytes());
            let record = Record::read(&bytes).unwrap();
            assert_eq!((record.kind(), record.header().kind), (*kind, *kind as u16));
            assert_eq!(Record::read(&bytes[..20]), Err(Unreadable::Short(20)));
        }
        assert_eq!(Record::read(&[0xff; 100]), Err(Unreadable::Kind(0xffff)));
    }
}
