//! Every map and every read-only global. Sizes are in `monitor_common::limits`; the agent shrinks what a policy
//! doesn't use.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf},
};
use monitor_common::{
    addr::Addr,
    count::{
        Connection, DECISIONS as DECISION_SLOTS, DatabaseCount, OUTCOMES, PACKET_COUNTERS, PacketCount,
        SLOTS, STATS as STAT_SLOTS, Traffic, database_slots,
    },
    event::KINDS,
    glob::{self, Automaton},
    identity::{ExeId, FileEntry, FileKey, Mount, Process},
    layout::KernelLayout,
    limit::{Ban, BanKey, CAUSES, Interface, Limit, RateHead, RateRule, RateState, SenderKey, SourceKey},
    limits,
    policy::{Masks, Membership, Rule, RuleSet, WorkloadSet, masks::Kin},
    settings::{Control, Flow, Settings, class},
    sources::Set,
};

use crate::executable::{Scratch, Script};

/// Offsets of kernel fields, written by the agent before load.
#[unsafe(no_mangle)]
pub static LAYOUT: KernelLayout = KernelLayout { ..ZERO_LAYOUT };

const ZERO_LAYOUT: KernelLayout =
    // SAFETY: the struct is nothing but `u32`s.
    unsafe { core::mem::zeroed() };

/// Settings of this run, written by the agent before load.
#[unsafe(no_mangle)]
pub static SETTINGS: Settings = Settings {
    scope_cgroup: 0,
    scope_level: 0,
    governed: 0,
    exec_lsm: 0,
    sockets_wanted: 0,
    source_key: [0; 2],
    generation: 0,
    stale_after_ns: u64::MAX,
    source_sets: 0,
    simulated: 0,
    agent_exe: ExeId::NONE,
    events: Limit::NONE,
};

/// Reads one field of a global that the agent wrote; volatile, because the compiler thinks it knows the value.
#[macro_export]
macro_rules! global {
    ($global:ident.$($field:ident).+) => {
        // SAFETY: reads an initialised, read-only static.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::$global.$($field).+) }
    };
}

/// What all generations share: one entry.
#[map]
pub static CONTROL: Array<Control> = Array::with_max_entries(1, 0);

/// Records that the agent has taken off the ring, by kind. It counts in its own memory, which this is.
#[map]
pub static DELIVERED: Array<u64> = Array::with_max_entries(KINDS, BPF_F_MMAPABLE);

/// Records for the agent that no rule reports.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(limits::RING, 0);

/// What rules report, by [`monitor_common::event::Ring`].
#[map]
pub static EXEC_FINDINGS: RingBuf = RingBuf::with_byte_size(limits::FINDINGS_RING, 0);

/// See [`EXEC_FINDINGS`].
#[map]
pub static SOCKET_FINDINGS: RingBuf = RingBuf::with_byte_size(limits::FINDINGS_RING, 0);

/// See [`EXEC_FINDINGS`].
#[map]
pub static PACKET_FINDINGS: RingBuf = RingBuf::with_byte_size(limits::FINDINGS_RING, 0);

/// What each control group makes of ordinary events, by its id.
#[map]
pub static FLOWS: LruHashMap<u64, Flow> = LruHashMap::with_max_entries(limits::FLOWS, 0);

/// Every process, by its id.
#[map]
pub static PROCESSES: HashMap<u32, Process> = HashMap::with_max_entries(limits::PROCESSES, 0);

/// Stands for every process that isn't known: one entry, never written.
#[map]
pub static NOBODY: Array<Process> = Array::with_max_entries(1, 0);

/// Files that policy names by path.
#[map]
pub static FILES: HashMap<FileKey, FileEntry> = HashMap::with_max_entries(limits::FILES, 0);

/// Roots of the file systems of the host's tree.
#[map]
pub static MOUNTS: HashMap<FileKey, Mount> = HashMap::with_max_entries(limits::MOUNTS, 0);

/// The automaton of all globs: one entry.
#[map]
pub static GLOBS: Array<Automaton> = Array::with_max_entries(1, 0);

/// What the end states of the automaton stand for.
#[map]
pub static GLOB_ENDS: Array<Membership> = Array::with_max_entries(glob::STATES as u32, 0);

/// What the classes of files stand for.
#[map]
pub static CLASSES: Array<Membership> = Array::with_max_entries(class::COUNT, 0);

/// Which rules and workloads ask about what: one entry.
#[map]
pub static MASKS: Array<Masks> = Array::with_max_entries(1, 0);

/// By workload, those that name it as parent or ancestor.
#[map]
pub static KIN: Array<Kin> = Array::with_max_entries(limits::WORKLOADS as u32, 0);

/// By real user, the workloads that name it.
#[map]
pub static USERS: HashMap<u32, WorkloadSet> = HashMap::with_max_entries(limits::ACCOUNTS, BPF_F_NO_PREALLOC);

/// By real group, the workloads that name it.
#[map]
pub static GROUPS: HashMap<u32, WorkloadSet> = HashMap::with_max_entries(limits::ACCOUNTS, BPF_F_NO_PREALLOC);

/// By id of a cgroup that policy names, the workloads that name it. What is below it isn't in here.
#[map]
pub static CGROUPS: HashMap<u64, WorkloadSet> = HashMap::with_max_entries(limits::CGROUPS, BPF_F_NO_PREALLOC);

/// `[[exec]]` rules in file order.
#[map]
pub static EXEC_RULES: Array<Rule> = Array::with_max_entries(limits::RULES as u32, 0);

/// `[[database]]` rules in file order: who may be a client.
#[map]
pub static CLIENT_RULES: Array<Rule> = Array::with_max_entries(limits::RULES as u32, 0);

/// The same rules: who may be the server.
#[map]
pub static SERVER_RULES: Array<Rule> = Array::with_max_entries(limits::RULES as u32, 0);

/// The same rules: from where packets may come.
#[map]
pub static SOURCE_RULES: Array<Rule> = Array::with_max_entries(limits::RULES as u32, 0);

/// By address, the database rules that list it in `addresses`.
#[map]
pub static ADDRESSES: LpmTrie<Addr, RuleSet> = LpmTrie::with_max_entries(limits::PREFIXES, BPF_F_NO_PREALLOC);

/// By address, the database rules that list it in `sources`.
#[map]
pub static SENDERS: LpmTrie<Addr, RuleSet> = LpmTrie::with_max_entries(limits::PREFIXES, BPF_F_NO_PREALLOC);

/// `[raw_sockets]`: one entry.
#[map]
pub static RAW_RULES: Array<Rule> = Array::with_max_entries(1, 0);

/// `[process_memory]`: one entry.
#[map]
pub static MEMORY_RULES: Array<Rule> = Array::with_max_entries(1, 0);

/// Database rules by protocol and port ([`crate::policy::port_index`]).
#[map]
pub static DATABASE_PORTS: Array<RuleSet> = Array::with_max_entries(crate::policy::PORT_INDICES, 0);

/// The same for rules about who may listen: apart, so that connections to ports that only these speak of cost nothing.
#[map]
pub static LISTEN_PORTS: Array<RuleSet> = Array::with_max_entries(crate::policy::PORT_INDICES, 0);

/// Which rate limits are in force: one entry. Tables of them have a half for each of two generations.
#[map]
pub static RATE_STATE: Array<RateState> = Array::with_max_entries(1, 0);

/// What has to be known of the rate limits before the packet is; by generation.
#[map]
pub static RATE_HEADS: Array<RateHead> = Array::with_max_entries(2, 0);

/// `[[rate_limit]]` rules, the narrowest first, and the one for what can't be parsed at
/// [`monitor_common::count::UNPARSED_RULE`]: `generation * RULES + index`.
#[map]
pub static RATE_RULES: Array<RateRule> = Array::with_max_entries(2 * limits::RULES as u32, 0);

/// Rate limits by protocol and port: `generation * PORT_INDICES + port_index`.
#[map]
pub static RATE_PORTS: Array<RuleSet> = Array::with_max_entries(2 * crate::policy::PORT_INDICES, 0);

/// By generation and address, the rate limits that hold for it.
#[map]
pub static RATE_SOURCES: LpmTrie<SourceKey, RuleSet> =
    LpmTrie::with_max_entries(2 * limits::PREFIXES, BPF_F_NO_PREALLOC);

/// Interfaces, by the low bits of their index.
#[map]
pub static INTERFACES: Array<Interface> = Array::with_max_entries(limits::INTERFACES, 0);

/// The table of sources and what is behind it ([`monitor_common::sources::all_sets`]). The agent maps it into its memory to
/// read it.
#[map]
pub static SOURCES: Array<Set> = Array::with_max_entries(limits::SOURCE_SETS, BPF_F_MMAPABLE);

/// Sources that serve a penalty, and addresses that are banned by hand.
#[map]
pub static BANS: HashMap<BanKey, Ban> = HashMap::with_max_entries(limits::BANS, BPF_F_NO_PREALLOC);

/// Bits that say who is certainly not in there. The agent has them in its memory, too: both set bits at the same time.
#[map]
pub static BAN_BITS: Array<u64> = Array::with_max_entries(limits::BAN_BITS, BPF_F_MMAPABLE);

/// Networks that are banned by hand.
#[map]
pub static BAN_NETS: LpmTrie<Addr, Ban> = LpmTrie::with_max_entries(limits::BAN_NETS, BPF_F_NO_PREALLOC);

/// The time that it is, nanoseconds, while a capture is judged.
#[map]
pub static CLOCK: Array<u64> = Array::with_max_entries(1, 0);

/// Prefixes that are never dropped. No preallocation: the kernel allows none for a trie.
#[map]
pub static PROTECTED: LpmTrie<Addr, u8> =
    LpmTrie::with_max_entries(limits::PROTECTED + limits::LIFELINES, BPF_F_NO_PREALLOC);

/// Local ports that are never dropped, by [`crate::policy::port_index`].
#[map]
pub static PROTECTED_PORTS: HashMap<u32, u8> =
    HashMap::with_max_entries(limits::PROTECTED + limits::LIFELINES, 0);

/// Counters of events ([`monitor_common::count::slot`]).
#[map]
pub static COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(KINDS * SLOTS, 0);

/// Counters of decisions ([`monitor_common::count::decision_slot`]).
#[map]
pub static DECISIONS: PerCpuArray<u64> = PerCpuArray::with_max_entries(DECISION_SLOTS, 0);

/// Other counters ([`monitor_common::count::Stat`]).
#[map]
pub static STATS: PerCpuArray<u64> = PerCpuArray::with_max_entries(STAT_SLOTS, 0);

/// Decisions about databases ([`monitor_common::count::database_slot`]).
#[map]
pub static DATABASE_COUNTS: PerCpuArray<DatabaseCount> =
    PerCpuArray::with_max_entries(database_slots(limits::RULES as u32), 0);

/// Traffic of databases, in the same slots.
#[map]
pub static TRAFFIC: PerCpuArray<Traffic> =
    PerCpuArray::with_max_entries(database_slots(limits::RULES as u32), 0);

/// Connections to databases that somebody asked for, by the socket's cookie, until they are established. Those of which nothing
/// more is heard are left behind: the oldest is forgotten.
#[map]
pub static ATTEMPTS: LruHashMap<u64, Connection> = LruHashMap::with_max_entries(limits::ATTEMPTS, 0);

/// Connections to and of databases that are established, by the socket's cookie. Each is taken out by its end.
#[map]
pub static CONNECTIONS: HashMap<u64, Connection> =
    HashMap::with_max_entries(limits::CONNECTIONS, BPF_F_NO_PREALLOC);

/// Who listens for a database, by port index.
#[map]
pub static LISTENERS: HashMap<u32, Connection> =
    HashMap::with_max_entries(limits::LISTENERS, BPF_F_NO_PREALLOC);

/// When a sender that a database refuses was reported last, nanoseconds of the monotonic clock.
#[map]
pub static REFUSED: LruHashMap<SenderKey, u64> = LruHashMap::with_max_entries(limits::REFUSED_SOURCES, 0);

/// Scripts whose interpreter is about to be executed, by process. One that is never executed leaves its entry behind
/// until the process executes something else, or it is the oldest.
#[map]
pub static SCRIPTS: LruHashMap<u64, Script> = LruHashMap::with_max_entries(limits::SCRIPTS, 0);

/// Packets by counter of a rule and outcome: `counter * OUTCOMES + outcome`.
#[map]
pub static PACKETS: PerCpuArray<PacketCount> = PerCpuArray::with_max_entries(PACKET_COUNTERS * OUTCOMES, 0);

/// Packets over a limit, by counter of a rule and [`monitor_common::limit::Cause`]: `counter * CAUSES + cause`.
#[map]
pub static OVER: PerCpuArray<u64> = PerCpuArray::with_max_entries(limits::RULES as u32 * CAUSES, 0);

/// Packets whose ports can't be told, by [`monitor_common::count::Unparsed`] and outcome: `reason * OUTCOMES + outcome`.
#[map]
pub static UNPARSED: PerCpuArray<u64> = PerCpuArray::with_max_entries(4 * OUTCOMES, 0);

/// Buffers of execs under way, [`limits::SCRATCH_PER_CPU`] for each CPU.
#[map]
pub static SCRATCH: Array<Scratch> = Array::with_max_entries(limits::SCRATCH_PER_CPU, 0);

/// The question that is being answered on each CPU.
#[map]
pub static QUESTION: PerCpuArray<crate::evaluate::Asked> = PerCpuArray::with_max_entries(1, 0);

/// The packet that is being judged on each CPU.
#[map]
pub static ARRIVAL: PerCpuArray<crate::ingress::Arrival> = PerCpuArray::with_max_entries(1, 0);
