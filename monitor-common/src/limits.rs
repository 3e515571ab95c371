//! Every bound of the system, in one place; `monitor check` names them when they are passed.

/// Workloads in one policy: the bits of a [`crate::policy::WorkloadSet`].
pub const WORKLOADS: usize = 128;
/// Rules of one kind in one policy: the bits of a [`crate::policy::RuleSet`].
pub const RULES: usize = 256;
/// Bytes of a resolved path that are kept; a longer one is flagged and never compared in part.
pub const PATH: usize = 1024;
/// Directory levels that are followed from an executable to the root of its file system.
pub const PATH_DEPTH: usize = 64;
/// Bytes of arguments that are kept of one exec; the rest is cut and flagged.
pub const ARGS: usize = 1024;
/// Bytes kept of the name a script was started by.
pub const SCRIPT: usize = 256;
/// Bytes of a mount point's path.
pub const MOUNT_PATH: usize = 252;
/// File systems of the host's tree that are known to the kernel programs.
pub const MOUNTS: u32 = 4096;
/// Files that policy names by path.
pub const FILES: u32 = 16_384;
/// Processes (thread groups) whose identity is kept. Linux' default `pid_max` is 32,768 to 4,194,304, depending on
/// the number of CPUs; when the table is full, further processes are counted as unknown.
pub const PROCESSES: u32 = 65_536;
/// Cgroups that policy names, with the exception of those below them.
pub const CGROUPS: u32 = 16_384;
/// Levels of the cgroup tree that are looked at for a group that policy names.
pub const CGROUP_DEPTH: i32 = 16;
/// Bytes of a cgroup's path that are compared; the kernel's tracepoint has no more (`TRACE_CGROUP_PATH_LEN` in
/// `kernel/cgroup/cgroup-internal.h`).
pub const CGROUP_PATH: usize = 1024;
/// Users, and as many groups, that policy names.
pub const ACCOUNTS: u32 = 4096;
/// Prefixes in all `addresses`, and as many in all `sources`.
pub const PREFIXES: u32 = 100_000;
/// Connections to or of databases whose traffic is counted when they end; those beyond are counted as having no place.
pub const CONNECTIONS: u32 = 65_536;
/// Connections to databases that were asked for and aren't established yet; the oldest is forgotten first.
pub const ATTEMPTS: u32 = 16_384;
/// Ports that a workload listens on and a database rule speaks of.
pub const LISTENERS: u32 = 4096;
/// Senders that a database rule refused and that were reported less than a second ago.
pub const REFUSED_SOURCES: u32 = 16_384;
/// Rate limits that may apply to one packet.
pub const LIMITS_PER_PACKET: usize = 6;
/// Sets of the table of sources by default ([`crate::sources::Set`], 704 bytes each): 131,072 sources, 11.5 MB.
pub const SOURCE_SETS: u32 = 16_384;
/// Places for interfaces: a power of two.
pub const INTERFACES: u32 = 4096;
/// Sources that serve a penalty or are banned by hand.
pub const BANS: u32 = 1_400_000;
/// Words of the table of bits that says who is certainly not banned: 2 MiB, a sixteenth full with a million bans.
pub const BAN_BITS: u32 = 1 << 18;
/// Networks banned by hand, other than single addresses and IPv6 networks of 64 bits.
pub const BAN_NETS: u32 = 100_000;
/// VLAN tags that are followed.
pub const VLANS: usize = 16;
/// IPv6 extension headers that are followed: as many as fit into 1,500 bytes.
pub const EXTENSIONS: usize = 184;
/// Execs that may be inside the kernel programs at one time on one CPU: one that runs, and those it pre-empted.
pub const SCRATCH_PER_CPU: u32 = 8;
/// Scripts whose interpreter is about to be executed.
pub const SCRIPTS: u32 = 1024;
/// Prefixes, and as many ports, that policy says are never dropped.
pub const PROTECTED: u32 = 1024;
/// Addresses, and as many ports, that are never dropped whatever policy says: SSH, default gateways, who reads the metrics.
pub const LIFELINES: u32 = 256;
/// Bytes of the ring on which the kernel hands ordinary events to the agent, if nothing else is said (a power of two).
pub const RING: u32 = 8 << 20;
/// Bytes of each ring of findings ([`crate::event::Ring`]), if nothing else is said (a power of two).
pub const FINDINGS_RING: u32 = 1 << 20;
/// Ordinary events a second that one control group may have told, and as many at once, if nothing else is said.
pub const EVENTS_PER_CGROUP: u64 = 20_000;
/// Control groups whose events are metered at one time; who has made none for the longest time is forgotten first.
pub const FLOWS: u32 = 4096;
/// The smallest ring: a page, which no ring can do without.
pub const MIN_RING: u32 = 4096;
