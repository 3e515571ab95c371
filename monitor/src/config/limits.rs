//! The bounds of what a configuration may say, in one place; `monitor check` names them when they are passed.
//! Those of the kernel programs come from [`monitor_common::limits`].

use monitor_common::{limits, sources};

/// Largest file that is read, in bytes: the most prefixes fit, in their longest form.
pub const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// Most files of one `policy.d` directory.
pub const MAX_FRAGMENTS: usize = 256;
/// Most `[[workload]]` tables in all files together: a set of workloads is a 128-bit mask in the kernel.
pub const MAX_WORKLOADS: usize = limits::WORKLOADS;
/// Most rules of one kind in all files together.
pub const MAX_RULES: usize = limits::RULES;
/// Most rate limits in all files together: what packets that can't be read are held to is a rule, too.
pub const MAX_RATE_LIMITS: usize = MAX_RULES - 1;
/// Most rate limits that may apply to one packet.
pub const MAX_LIMITS_PER_PACKET: usize = limits::LIMITS_PER_PACKET;
/// Most plain paths in all files together.
pub const MAX_PLAIN_PATHS: usize = limits::FILES as usize;
/// Smallest ring, in bytes.
pub const MIN_RING: u64 = 64 << 10;
/// Largest ring, in bytes.
pub const MAX_RING: u64 = 256 << 20;
/// Patterns of `[agent] redact`.
pub const MAX_REDACT: usize = 64;
/// Most `[[sink]]` tables.
pub const MAX_SINKS: usize = 16;
/// Longest name of a rule or workload, in bytes; names become metric label values.
pub const MAX_NAME_BYTES: usize = 64;
/// Longest word of `engine` and `practice`, in bytes.
pub const MAX_WORD_BYTES: usize = 32;
/// Most entries of `attack`.
pub const MAX_ATTACK: usize = 8;
/// Longest glob, in bytes: longer paths aren't compared.
pub const MAX_GLOB_BYTES: usize = limits::PATH;
/// Longest path, in bytes: `PATH_MAX` of the kernel without the final zero.
pub const MAX_PATH_BYTES: usize = 4095;
/// Most entries of a list for which no other bound is named.
pub const MAX_ENTRIES: usize = 256;
/// Most prefixes in `addresses`, `sources` and `except` of all rules together.
pub const MAX_PREFIXES: usize = limits::PREFIXES as usize;
/// Most ports and ranges of ports in one list.
pub const MAX_PORT_ENTRIES: usize = 256;
/// Most entries of `protect`.
pub const MAX_PROTECT: usize = limits::PROTECTED as usize;
/// Most entries of `interfaces`, and most `[[packets.interface]]` tables.
pub const MAX_INTERFACES: usize = 64;
/// Longest name of a network interface, in bytes: `IFNAMSIZ` of the kernel without the final zero.
pub const MAX_INTERFACE_BYTES: usize = 15;
/// Longest glob for names of network interfaces, in bytes.
pub const MAX_INTERFACE_GLOB_BYTES: usize = 128;
/// Longest name of a user or group, in bytes: `LOGIN_NAME_MAX` of the C library without the final zero.
pub const MAX_ACCOUNT_BYTES: usize = 255;
/// Longest name or glob of a systemd unit, in bytes: `UNIT_NAME_MAX` of systemd without the final zero.
pub const MAX_UNIT_BYTES: usize = 255;
/// Longest text or glob about an argument, in bytes.
pub const MAX_ARGUMENT_BYTES: usize = 128;
/// Highest rate of packets or connections, per second.
pub const MAX_EVENTS_PER_SECOND: u64 = 100_000_000;
/// Highest rate of bytes, per second: a little below what the limiter can tell apart
/// ([`monitor_common::limit::TICKS_PER_NS`]).
pub const MAX_BYTES_PER_SECOND: u64 = 100_000_000_000;
/// Longest time in which a burst may refill, in nanoseconds (30 days). Keeps the limiter's arithmetic in 64
/// bits.
pub const MAX_REFILL_NS: u64 = 30 * 24 * 3600 * 1_000_000_000;
/// Smallest default burst of bytes: a run of merged segments is up to 64 KiB, and one that is larger than the burst
/// is let through only by a full bucket.
pub const MIN_DEFAULT_BURST_BYTES: u64 = 65_536;
/// Longest penalty, in nanoseconds (365 days).
pub const MAX_PENALTY_NS: u64 = 365 * 24 * 3600 * 1_000_000_000;
/// Shortest penalty, in nanoseconds.
pub const MIN_PENALTY_NS: u64 = 1_000_000_000;
/// Longest a penalty gets if nothing else is said, in nanoseconds (a day).
pub const DEFAULT_PENALTY_MAX_NS: u64 = 24 * 3600 * 1_000_000_000;
/// Highest factor of a penalty.
pub const MAX_PENALTY_FACTOR: u32 = 10;
/// Highest number of packets over the limit that bring a penalty about.
pub const MAX_PENALTY_AFTER: u32 = 1_000_000;
/// The same if nothing else is said.
pub const DEFAULT_PENALTY_AFTER: u32 = 100;
/// Smallest table of sources, in bytes.
pub const MIN_SOURCE_MEMORY: u64 = 64 << 10;
/// Largest table of sources, in bytes.
pub const MAX_SOURCE_MEMORY: u64 = 4 << 30;
/// The table of sources if nothing else is said, in bytes.
pub const DEFAULT_SOURCE_MEMORY: u64 = limits::SOURCE_SETS as u64 * size_of::<sources::Set>() as u64;
/// Packets that can't be read, per source and second, if nothing else is said.
pub const DEFAULT_UNPARSED: u64 = 10_000;
