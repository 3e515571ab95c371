//! Reads the kernel programs' counters for a scrape.

mod booked;
mod databases;
mod maps;

use std::{
    fmt,
    os::fd::{AsFd as _, AsRawFd as _, RawFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::Result;
use aya::maps::{MapData, PerCpuArray};
use monitor_common::{
    count::{Count, Family, OUTCOMES, Outcome, PacketCount, Stat, Unparsed, slot},
    event::{KINDS, Kind},
    limit::{CAUSES, Cause, RateRule},
    limits,
    policy::{Mode, RuleKind, verdict},
};

pub use self::booked::{Kept, Sums};
use self::{booked::Booked, maps::Maps};
use super::held;
use crate::{
    kernel::{load::Kernel, probes::Probe},
    metrics::snapshot::{KernelState, Map, Packets, Program, Snapshot},
    policy::Names,
};

type Counts<T> = PerCpuArray<MapData, T>;

/// The kernel's counters, and what the agent counts about the kernel.
pub struct KernelCounters {
    in_force: RwLock<Arc<InForce>>,
    counts: Counts<u64>,
    stats: Counts<u64>,
    booked: Booked,
    /// What generations before counted.
    carried: Mutex<Sums>,
    packets: Counts<PacketCount>,
    over: Counts<u64>,
    unparsed: Counts<u64>,
    /// Sources that the table has room for; 0 without a rate limit.
    source_capacity: u64,
    /// The most packets over a limit that were found not to be reported.
    repeated: AtomicU64,
    programs: Vec<(&'static Probe, aya::programs::ProgramFd)>,
    maps: Maps,
    /// Records that could not be read, by the code of their kind where it is known.
    pub unreadable: [AtomicU64; KINDS as usize],
    /// What the watcher found last.
    pub gauges: Gauges,
    /// Connections in wrong hands.
    pub held: Arc<held::Counts>,
}

/// Numbers that take a walk over a map or `/proc`: the watcher brings them up to date.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Processes that run a file and are not in the kernel's table.
    pub processes_unknown: AtomicU64,
    /// Processes in the kernel's table.
    pub processes: AtomicU64,
    /// Times that a policy path was found to lead to another file than before.
    pub files_replaced: AtomicU64,
    /// Files whose content isn't the one that the policy gives.
    pub files_unverified: AtomicU64,
    /// Control groups that make more events than are told.
    pub cgroups_throttled: AtomicU64,
    /// Sources tracked, by rate limit.
    pub sources: Mutex<Vec<u64>>,
}

/// What the indices of counters stand for. It changes with the rate limits.
#[derive(Clone, Debug)]
pub struct InForce {
    /// Names of rules and workloads.
    pub names: Names,
    /// The rate limits.
    pub rate_rules: Vec<RateRule>,
}

impl fmt::Debug for KernelCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelCounters").finish_non_exhaustive()
    }
}

impl KernelCounters {
    /// Over the maps of a kernel object whose programs are loaded. `workloads` is how many there are, those without a
    /// name included.
    pub fn new(
        kernel: &mut Kernel,
        in_force: InForce,
        workloads: usize,
        source_capacity: u64,
    ) -> Result<Self> {
        let mut programs = Vec::new();
        for (probe, program) in kernel.programs() {
            programs.push((probe, program.fd()?.try_clone()?));
        }
        Ok(Self {
            in_force: RwLock::new(Arc::new(in_force)),
            counts: kernel.take("COUNTS")?.try_into()?,
            stats: kernel.take("STATS")?.try_into()?,
            booked: Booked::new(|map| kernel.take(map), workloads)?,
            carried: Mutex::default(),
            packets: kernel.take("PACKETS")?.try_into()?,
            over: kernel.take("OVER")?.try_into()?,
            unparsed: kernel.take("UNPARSED")?.try_into()?,
            source_capacity,
            repeated: AtomicU64::new(0),
            programs,
            maps: Maps::new(kernel),
            unreadable: Default::default(),
            gauges: Gauges::default(),
            held: Arc::default(),
        })
    }

    /// What the indices stand for now.
    #[must_use]
    pub fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells what the indices stand for from now on.
    pub fn set_in_force(&self, in_force: InForce) {
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(in_force);
    }

    /// What generations before counted goes on here.
    pub fn carry(&self, before: Sums) {
        *guard(&self.carried) = before;
    }

    /// What generations before counted.
    #[must_use]
    pub fn carried(&self) -> Sums {
        guard(&self.carried).clone()
    }

    /// Goes on with what another counted in the agent's own memory. After a trial that is what went on from here.
    pub fn go_on_from(&self, before: &Self) {
        let go_on = |to: &AtomicU64, from: &AtomicU64| {
            to.fetch_max(from.load(Relaxed), Relaxed);
        };
        self.unreadable.iter().zip(&before.unreadable).for_each(|(to, from)| go_on(to, from));
        go_on(&self.gauges.files_replaced, &before.gauges.files_replaced);
        go_on(&self.held.seen, &before.held.seen);
        go_on(&self.held.lost, &before.held.lost);
        go_on(&self.repeated, &before.repeated);
    }

    /// What was counted by the index of a rule, by its name now.
    #[must_use]
    pub fn own_sums(&self, names: &Names) -> Sums {
        self.booked.read(names, &self.held)
    }

    /// The same with what generations before counted.
    fn sums(&self, names: &Names) -> Sums {
        let mut sums = self.carried();
        sums.add(self.own_sums(names));
        sums
    }

    fn packets(&self, names: &Names) -> Vec<Packets> {
        let mut found = Vec::new();
        for (counter, (name, mode)) in names.packet_counters() {
            for outcome in Outcome::ALL {
                let Ok(cpus) = self.packets.get(&(counter * OUTCOMES + outcome as u32), 0) else {
                    continue;
                };
                found.push(Packets {
                    rule: Arc::clone(name),
                    outcome,
                    mode: *mode,
                    packets: cpus.iter().map(|cpu| cpu.packets).sum(),
                    bytes: cpus.iter().map(|cpu| cpu.bytes).sum(),
                });
            }
        }
        found
    }

    fn over(&self, names: &Names) -> Vec<(Arc<str>, Cause, u64)> {
        let rules = names.packet_counters().filter(|(counter, _)| *counter < limits::RULES as u32);
        let each = |(counter, (name, _)): (u32, &(Arc<str>, Mode))| {
            let name = Arc::clone(name);
            let count = move |cause: &Cause| sum(&self.over, counter * CAUSES + *cause as u32);
            Cause::ALL.iter().map(move |cause| (Arc::clone(&name), *cause, count(cause)))
        };
        rules.flat_map(each).collect()
    }

    fn unparsed(&self) -> Vec<(Unparsed, Outcome, u64)> {
        let each = |reason| {
            Outcome::ALL.map(|outcome| {
                (reason, outcome, sum(&self.unparsed, reason as u32 * OUTCOMES + outcome as u32))
            })
        };
        Unparsed::ALL.into_iter().flat_map(each).collect()
    }

    /// Events of sources over a limit: the kernel counts packets, and what it reported of them.
    fn limit_events(&self) -> [(Kind, Count, u64); 2] {
        let over = |counter: u32| {
            [Outcome::Drop, Outcome::WouldDrop].map(|outcome| {
                let cpus = self.packets.get(&(counter * OUTCOMES + outcome as u32), 0);
                cpus.map_or(0, |cpus| cpus.iter().map(|cpu| cpu.packets).sum::<u64>())
            })
        };
        let told = [Count::Submitted, Count::FindingsFull];
        // Before the packets are, so that no report is of a packet that wasn't seen.
        let told: u64 = told.iter().map(|what| sum(&self.counts, slot(Kind::Limit as u16, *what))).sum();
        let seen = (0..limits::RULES as u32).flat_map(over).sum::<u64>();
        // Read one after the other, so a scrape may find a few more than the next one: a counter never goes down.
        let repeated = seen.saturating_sub(told);
        let repeated = self.repeated.fetch_max(repeated, Relaxed).max(repeated);
        [(Kind::Limit, Count::Seen, seen), (Kind::Limit, Count::Repeated, repeated)]
    }

    /// Events that were not told because their control groups made too many.
    pub fn throttled(&self) -> u64 {
        Kind::ALL.iter().map(|kind| sum(&self.counts, slot(*kind as u16, Count::Throttled))).sum()
    }

    /// Counts the entries of maps anew.
    pub fn count_maps(&self) {
        self.maps.count();
    }

    fn maps(&self, tracked: u64) -> Vec<Map> {
        let known = |mut map: Map| {
            match &*map.name {
                "PROCESSES" => map.entries = Some(self.gauges.processes.load(Relaxed)),
                // An entry of the map is a set of places.
                "SOURCES" => (map.entries, map.capacity) = (Some(tracked), self.source_capacity),
                _ => {}
            }
            map
        };
        self.maps.read().map(known).collect()
    }

    /// Runs of each program, and those the kernel skipped because the program was already running on that CPU.
    fn programs(&self) -> (Vec<Program>, Vec<(Kind, &'static str, u64)>) {
        let mut runs = Vec::new();
        let mut lost = Vec::new();
        for (probe, fd) in &self.programs {
            let keys = ["run_cnt", "run_time_ns", "recursion_misses"];
            let [count, ns, missed] = fd_info(fd.as_fd().as_raw_fd(), &keys);
            let run_seconds = ns as f64 / 1e9;
            runs.push(Program { name: probe.program.into(), runs: count, run_seconds });
            if let Some(kind) = probe.feeds.first() {
                lost.push((*kind, "recursion", missed));
            }
        }
        (runs, lost)
    }
}

/// Numbers that the kernel tells of what is behind a descriptor; 0 for what it doesn't.
fn fd_info<const N: usize>(fd: RawFd, keys: &[&str; N]) -> [u64; N] {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    keys.map(|key| {
        let line = info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    })
}

fn modes_and_verdicts() -> impl Iterator<Item = (Mode, u8)> {
    Mode::ALL.into_iter().flat_map(|mode| (0..verdict::COUNT as u8).map(move |verdict| (mode, verdict)))
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sum(counts: &Counts<u64>, index: u32) -> u64 {
    counts.get(&index, 0).map_or(0, |cpus| cpus.iter().sum())
}

impl KernelState for KernelCounters {
    fn snapshot(&self) -> Snapshot {
        let event = |kind: &Kind| {
            let kind = *kind;
            let counted = move |what: &&Count| {
                kind != Kind::Limit || what.family() != Family::Seen && **what != Count::Repeated
            };
            Count::ALL
                .iter()
                .filter(counted)
                .map(move |what| (kind, *what, sum(&self.counts, slot(kind as u16, *what))))
        };
        let (programs, mut lost) = self.programs();
        let unreadable = |kind: &Kind| (*kind, "unreadable", self.unreadable[*kind as usize].load(Relaxed));
        lost.extend(Kind::ALL.iter().map(unreadable));
        let held = (Kind::Held, Count::Seen, self.held.seen.load(Relaxed));
        lost.push((Kind::Held, "queue_full", self.held.lost.load(Relaxed)));
        let sources = guard(&self.gauges.sources).clone();
        let in_force = self.in_force();
        let names = &in_force.names;
        let rate_limits = names.rules(RuleKind::RateLimit).iter();
        let Sums { decisions, databases, traffic } = self.sums(names);
        Snapshot {
            events: Kind::ALL.iter().flat_map(event).chain([held]).chain(self.limit_events()).collect(),
            lost,
            decisions,
            packets: self.packets(names),
            databases,
            traffic,
            over: self.over(names),
            unparsed: self.unparsed(),
            sources: rate_limits.zip(&sources).map(|((name, _), count)| (Arc::clone(name), *count)).collect(),
            stats: Stat::ALL.map(|stat| (stat, sum(&self.stats, stat as u32))).to_vec(),
            programs,
            maps: self.maps(sources.iter().sum()),
            processes_unknown: self.gauges.processes_unknown.load(Relaxed),
            cgroups_throttled: self.gauges.cgroups_throttled.load(Relaxed),
            files_replaced: self.gauges.files_replaced.load(Relaxed),
            files_unverified: self.gauges.files_unverified.load(Relaxed),
        }
    }
}
