//! The table of what the kernel programs count about events, so that the books can be balanced:
//! seen = delivered + suppressed + lost, for every kind of event.

use crate::{
    limits,
    policy::{RuleKind, masks::Direction},
};

/// Declares the counters kept for each kind of event.
macro_rules! counts {
    ($($(#[$meta:meta])* $name:ident = $code:literal => $family:ident $reason:literal;)*) => {
        /// What is counted for each kind of event.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Count { $($(#[$meta])* $name = $code,)* }

        impl Count {
            /// All, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Which metric it belongs to.
            #[must_use]
            pub const fn family(self) -> Family {
                match self { $(Self::$name => Family::$family,)* }
            }

            /// The `reason` label.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$name => $reason,)* }
            }
        }
    };
}

/// The metric that a counter feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `events_seen_total`
    Seen,
    /// Handed to the ring; the agent counts what it took out of it as `events_delivered_total`.
    Submitted,
    /// `events_suppressed_total`
    Suppressed,
    /// `events_lost_total`
    Lost,
}

counts! {
    /// It happened, in scope.
    Seen = 0 => Seen "";
    /// A record of it was put on the ring.
    Submitted = 1 => Submitted "";
    /// The ring of ordinary events was full.
    RingFull = 2 => Lost "ring_full";
    /// All scratch buffers for gathering a record were in use.
    NoScratch = 3 => Lost "no_scratch";
    /// The agent itself did it.
    OwnDoing = 4 => Suppressed "self";
    /// A datagram without a connection that no rule speaks of; counted, but not worth a record each.
    Datagram = 5 => Suppressed "datagram";
    /// The same over-limit or refused source was reported less than a second ago, or too many others were; or the same
    /// attempt to connect was asked about twice.
    Repeated = 6 => Suppressed "repeated";
    /// A refusal by a canary of the agent.
    Canary = 7 => Suppressed "canary";
    /// No rule reports it, and no sink writes events.
    Unwanted = 8 => Suppressed "unwanted";
    /// A rule reports it, and the ring for such findings was full.
    FindingsFull = 9 => Lost "findings_ring_full";
    /// No rule reports it, and its control group makes more than one may ([`crate::settings::Settings::events`]).
    Throttled = 10 => Suppressed "throttled";
}

/// Slots kept for each kind of event, a power of two.
pub const SLOTS: u32 = 16;

/// Index of a counter.
#[inline(always)]
#[must_use]
pub const fn slot(kind: u16, count: Count) -> u32 {
    kind as u32 * SLOTS + count as u32
}

/// Index of a rule's counter of decisions.
#[inline(always)]
#[must_use]
pub const fn decision_slot(rule_kind: u8, rule: u16, verdict: u8, mode: u8) -> u32 {
    ((rule_kind as u32 * limits::RULES as u32 + rule as u32) * 2 + mode as u32) * 8 + verdict as u32
}

/// How many [`decision_slot`]s there are.
pub const DECISIONS: u32 = RuleKind::ALL.len() as u32 * limits::RULES as u32 * 2 * 8;

/// Index of the counters of a database rule for a workload (the one past the last: none of them).
#[inline(always)]
#[must_use]
pub const fn database_slot(direction: Direction, rule: u16, workload: u32) -> u32 {
    (rule as u32 * Direction::ALL.len() as u32 + direction as u32) * (limits::WORKLOADS as u32 + 1) + workload
}

/// How many [`database_slot`]s a number of database rules takes.
#[must_use]
pub const fn database_slots(rules: u32) -> u32 {
    rules * Direction::ALL.len() as u32 * (limits::WORKLOADS as u32 + 1)
}

/// Other things the kernel programs count; the value is the index.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stat {
    /// A process could not be remembered: the table was full.
    ProcessTableFull = 0,
    /// A decision was asked for a process that is not in the table.
    UnknownProcess = 1,
    /// The exec tracepoint ran.
    ExecHookRuns = 2,
    /// The exec LSM hook ran.
    LsmHookRuns = 3,
    /// A file was at a policy path's inode, but not in the version that was resolved.
    StaleFile = 4,
    /// A cgroup that policy names could not be remembered: the table was full, or its path too long.
    CgroupTableFull = 5,
    /// A file was executed whose content isn't the one that policy gives.
    UnverifiedFile = 6,
    /// A connection to or of a database could not be remembered: the table was full.
    ConnectionTableFull = 7,
}

impl Stat {
    /// All, in the order of their codes.
    pub const ALL: [Self; 8] = [
        Self::ProcessTableFull,
        Self::UnknownProcess,
        Self::ExecHookRuns,
        Self::LsmHookRuns,
        Self::StaleFile,
        Self::CgroupTableFull,
        Self::UnverifiedFile,
        Self::ConnectionTableFull,
    ];
}

/// How many [`Stat`]s there are.
pub const STATS: u32 = 8;

wire! {
    /// Packets of a rate limit with one outcome.
    pub struct PacketCount {
        /// How many.
        pub packets: u64,
        /// Their bytes, from the link header on.
        pub bytes: u64,
    }

    /// Decisions of one database rule about one workload.
    pub struct DatabaseCount {
        /// Connections by verdict code and mode: index `mode * 6 + verdict`.
        pub connections: [u64; 12],
    }

    /// Traffic of the connections of one database rule and one workload.
    pub struct Traffic {
        /// Connections that were established.
        pub opened: u64,
        /// Connections that ended.
        pub closed: u64,
        /// Bytes that the other end sent, of those that ended.
        pub received: u64,
        /// Bytes sent to the other end and acknowledged, of those that ended.
        pub sent: u64,
        /// How long those lived altogether, nanoseconds.
        pub lifetime_ns: u64,
        /// How many lived at most as long as the [`LIFETIMES_MS`] with the same index; the last: longer.
        pub lifetimes: [u64; LIFETIMES],
    }

    /// A connection whose end is waited for.
    pub struct Connection {
        /// When it was opened, nanoseconds since boot.
        pub since_ns: u64,
        /// The [`database_slot`] it is counted in.
        pub slot: u32,
        /// The process that opened it or listened for it.
        pub pid: u32,
        /// 1 when it is established.
        pub open: u32,
        /// The last process that was reported for using it without being a client.
        pub told: u32,
        /// Inode number of the file that ran in `pid` when it opened the connection or listened.
        pub ino: u64,
    }
}

/// Upper bounds of the classes of lifetimes, milliseconds.
pub const LIFETIMES_MS: [u64; LIFETIMES - 1] = [1, 10, 100, 1_000, 10_000, 60_000, 600_000, 3_600_000];
/// Classes of lifetimes.
pub const LIFETIMES: usize = 9;

/// What a rate limit did with a packet; the value is the index.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Within the limit.
    Pass = 0,
    /// Dropped.
    Drop = 1,
    /// Would have been dropped (observe mode).
    WouldDrop = 2,
    /// Over the limit, but from a protected address or to a protected port.
    Protected = 3,
    /// Over what the source may, but of a connection that it holds and within what its connections may.
    Spared = 4,
}

impl Outcome {
    /// All, in the order of their codes.
    pub const ALL: [Self; 5] = [Self::Pass, Self::Drop, Self::WouldDrop, Self::Protected, Self::Spared];

    /// The `outcome` label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::WouldDrop => "would_drop",
            Self::Protected => "protected",
            Self::Spared => "spared",
        }
    }
}

/// Places kept for [`Outcome`]s, a power of two.
pub const OUTCOMES: u32 = 8;
/// Index and counter of the rule for packets that no other can judge; the last one, so there is one rate limit less than
/// rules of other kinds.
pub const UNPARSED_RULE: u32 = limits::RULES as u32 - 1;
/// Index of the counters of bans by hand.
pub const BAN_COUNTER: u32 = limits::RULES as u32;
/// How many counters of packets there are.
pub const PACKET_COUNTERS: u32 = BAN_COUNTER + 1;

/// Packets that no rate limit could judge; the value is the index.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unparsed {
    /// The packet ends before its headers do.
    Truncated = 0,
    /// More VLAN tags or IPv6 extension headers than are followed.
    TooDeep = 1,
    /// A fragment after the first: it has no ports.
    Fragment = 2,
}

impl Unparsed {
    /// All, in the order of their codes.
    pub const ALL: [Self; 3] = [Self::Truncated, Self::TooDeep, Self::Fragment];

    /// The `reason` label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::TooDeep => "too_deep",
            Self::Fragment => "fragment",
        }
    }
}
