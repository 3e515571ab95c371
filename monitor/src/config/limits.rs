//! The bounds of what a configuration may say, in one place; `monitor check` names them when they are passed.
//! Those of the kernel programs come from [`monitor_common::limits`].

use monitor_common::limits;

/// Largest file that is read, in bytes: the most prefixes fit, in their longest form.
pub const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// Most files of one `policy.d` directory.
pub const MAX_FRAGMENTS: usize = 256;
/// Most `[[workload]]` tables in all files together: a set of workloads is a 128-bit mask in the kernel.
pub const MAX_WORKLOADS: usize = limits::WORKLOADS;
/// Most rules of one kind in all files together.
pub const MAX_RULES: usize = limits::RULES;
/// Most rate limits that may speak of one port of one protocol.
pub const MAX_LIMITS_PER_PORT: usize = limits::LIMITS_PER_PACKET;
/// Most plain paths in all files together.
pub const MAX_PLAIN_PATHS: usize = limits::FILES as usize;
/// Most `[[sink]]` tables.
pub const MAX_SINKS: usize = 16;
/// Longest name of a rule or workload, in bytes; names become metric label values.
pub const MAX_NAME_BYTES: usize = 64;
/// Longest word of `engine`, in bytes.
pub const MAX_ENGINE_BYTES: usize = 32;
/// Longest glob, in bytes: longer paths aren't compared.
pub const MAX_GLOB_BYTES: usize = limits::PATH;
/// Longest path, in bytes: `PATH_MAX` of the kernel without the final zero.
pub const MAX_PATH_BYTES: usize = 4095;
/// Most entries of a list for which no other bound is named.
pub const MAX_ENTRIES: usize = 256;
/// Most prefixes in `addresses` and `sources` of all rules together.
pub const MAX_PREFIXES: usize = 100_000;
/// Most ports and ranges of ports in one list.
pub const MAX_PORT_ENTRIES: usize = 256;
/// Most entries of `protect`.
pub const MAX_PROTECT: usize = limits::PROTECTED as usize;
/// Most entries of `interfaces`.
pub const MAX_INTERFACES: usize = 64;
/// Longest name of a network interface, in bytes: `IFNAMSIZ` of the kernel without the final zero.
pub const MAX_INTERFACE_BYTES: usize = 15;
/// Longest name of a user or group, in bytes: `LOGIN_NAME_MAX` of the C library without the final zero.
pub const MAX_ACCOUNT_BYTES: usize = 255;
/// Longest name or glob of a systemd unit, in bytes: `UNIT_NAME_MAX` of systemd without the final zero.
pub const MAX_UNIT_BYTES: usize = 255;
/// Longest text or glob about an argument, in bytes.
pub const MAX_ARGUMENT_BYTES: usize = 128;
/// Highest rate of packets or connections, per second.
pub const MAX_EVENTS_PER_SECOND: u64 = 100_000_000;
/// Highest rate of bytes, per second: above it, the rounding to ticks of the limiter would pass 1 %
/// ([`monitor_common::limit::TICKS_PER_NS`]).
pub const MAX_BYTES_PER_SECOND: u64 = 1_000_000_000;
/// Longest time in which a burst may refill, in nanoseconds (30 days). Keeps the limiter's arithmetic in 64
/// bits.
pub const MAX_REFILL_NS: u64 = 30 * 24 * 3600 * 1_000_000_000;
/// Smallest default burst of bytes: a run of merged segments is up to 64 KiB and would else never pass.
pub const MIN_DEFAULT_BURST_BYTES: u64 = 65_536;
