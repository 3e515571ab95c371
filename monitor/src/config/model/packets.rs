//! Rate limits, and how packets are counted for them.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::about::About;
use super::words::{Attach, IfHeld, Mode, Per, Protocol, WhenStale};
use crate::config::limits::{DEFAULT_SOURCE_MEMORY, DEFAULT_UNPARSED};
use crate::config::source::{Place, Spanned};

/// Stands for the limit of packets that can't be read, where rules are named.
pub const UNPARSED: &str = "unparsed";
/// Stands for bans by hand, where rules are named.
pub const BANNED: &str = "banned";

/// How packets are counted for rate limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packets {
    /// Bytes that the table of sources may take.
    pub memory: u64,
    /// Where the programs attach.
    pub attach: Attach,
    /// What happens where another XDP program holds an interface.
    pub if_held: IfHeld,
    /// How many packets whose ports can't be read one source (IPv4 address, IPv6 /64) may send. `None`: any number.
    pub unparsed: Option<Limit>,
    /// What is different on some interfaces; the first with the name decides.
    pub interfaces: Vec<PacketInterface>,
}

/// What is different on an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketInterface {
    /// Its name, which may not exist, or a glob with `*`, `?`, `[a-z]`, `[!a-z]` and `{a,b}`.
    pub name: Spanned<String>,
    /// Where the programs attach; that of [`Packets`] if nothing is said.
    pub attach: Attach,
    /// What happens where another XDP program holds it; that of [`Packets`] if nothing is said.
    pub if_held: IfHeld,
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
    /// The networks that it is for (see [`Protect::prefixes`](super::Protect::prefixes)), each once, never empty.
    /// `None`: any.
    pub sources: Option<Vec<(IpAddr, u8)>>,
    /// Networks that it is not for, each once.
    pub except: Vec<(IpAddr, u8)>,
    /// The interfaces where it holds: names, which may not exist, and globs with `*`, `?`, `[a-z]`, `[!a-z]` and
    /// `{a,b}`. Empty: any.
    pub interfaces: Vec<Spanned<String>>,
    /// Limit of packets.
    pub packets: Option<Limit>,
    /// Limit of new TCP connections.
    pub connections: Option<Limit>,
    /// Limit of bytes.
    pub bytes: Option<Limit>,
    /// Limit of packets of all sources together that have no place in the table. Never with [`Per::Rule`].
    /// `None`: what the size of the table suggests.
    pub newcomers: Option<Limit>,
    /// What a source has to expect that is over a limit. Never with [`Per::Rule`]. `None`: nothing more.
    pub penalty: Option<Penalty>,
    /// The rule's own mode, else that of the configuration.
    pub mode: Mode,
    /// What holds while the agent is gone.
    pub when_stale: WhenStale,
    /// What it is about, for people.
    pub about: About,
    /// Where the rule was defined.
    pub place: Place,
}

/// For how long a source is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Penalty {
    /// The first time, in nanoseconds; from [`MIN_PENALTY_NS`](crate::config::limits::MIN_PENALTY_NS) to `max_ns`.
    pub for_ns: u64,
    /// At most, in nanoseconds; up to [`MAX_PENALTY_NS`](crate::config::limits::MAX_PENALTY_NS).
    pub max_ns: u64,
    /// How many times longer each further penalty is, in hundredths: 100 to 1000.
    pub factor: u32,
    /// How many packets over the limit bring it about, counted since the source last had its whole burst. At least 1.
    pub after: u32,
    /// Where it was said.
    pub place: Place,
}

/// A rate and how much may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The rate.
    pub rate: Rate,
    /// At least 1, and refilled in at most [`MAX_REFILL_NS`](crate::config::limits::MAX_REFILL_NS).
    pub burst: u64,
}

/// `count` things in `per_ns` nanoseconds; from 1 per hour to the maxima in [`limits`](crate::config::limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub count: u64,
    /// In how many nanoseconds: a second, a minute or an hour.
    pub per_ns: u64,
}

impl Default for Packets {
    fn default() -> Self {
        Self {
            memory: DEFAULT_SOURCE_MEMORY,
            attach: Attach::Auto,
            if_held: IfHeld::Next,
            unparsed: Some(Limit::a_second(DEFAULT_UNPARSED)),
            interfaces: Vec::new(),
        }
    }
}

impl Limit {
    /// So many a second, and as many at once.
    #[must_use]
    pub fn a_second(count: u64) -> Self {
        Self { rate: Rate { count, per_ns: 1_000_000_000 }, burst: count }
    }
}

impl Rate {
    /// One second's worth, rounded up, so at least 1.
    pub fn per_second(self) -> u64 {
        let count = u128::from(self.count) * 1_000_000_000;
        u64::try_from(count.div_ceil(u128::from(self.per_ns.max(1)))).unwrap_or(u64::MAX)
    }
}
