//! Looks for connections to databases in the hands of who may not have opened them: those that are older than the
//! policy, and those that were handed over unseen.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64, atomic::Ordering::Relaxed},
};

use anyhow::Result;
use aya::maps::{HashMap as KernelMap, MapData};
use monitor_common::{
    count::{Connection as Tracked, database_slot},
    event::{Actor, Header, Kind, held, held::Held},
    identity::Process,
    limits,
    packet::TCP,
    policy::{Decision, NO_RULE, RuleSet, masks::Direction, ports::port_index, verdict},
};
use procfs::net::TcpState;
use tokio::sync::mpsc;

use crate::{
    config::Config,
    host::{
        cgroup,
        clock::since_boot_ns,
        connections::{self, Connection, Diag},
        file::Tree,
        processes,
    },
    kernel::{load::Kernel, tables::Processes},
    policy::Compiled,
};

/// Records that wait for the event loop, at most.
pub const QUEUE: usize = 1024;

/// What was found and what became of it.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections in wrong hands.
    pub seen: AtomicU64,
    /// Those that could not be told, because the queue was full.
    pub lost: AtomicU64,
    /// By rule, verdict and mode.
    pub decisions: Mutex<BTreeMap<(u16, u8, u8), u64>>,
    /// Connections older than the policy that were found, by their slot of `TRAFFIC`: the kernel didn't see them open.
    pub adopted: Mutex<BTreeMap<u32, u64>>,
    /// Those of them of which the kernel didn't see the end either.
    pub gone: Mutex<BTreeMap<u32, u64>>,
}

/// What looks.
pub struct Holdings {
    tracked: KernelMap<MapData, u64, Tracked>,
    /// Those that aren't established yet.
    attempts: KernelMap<MapData, u64, Tracked>,
    /// Those that were entered by looking: their slot, and how often in a row they were not there any more.
    adopted: HashMap<u64, (u32, u8)>,
    /// By database rule, whether connections older than the policy are to be closed.
    close: Vec<bool>,
    /// Path of the cgroup that the policy is for.
    scope: String,
    /// Connections and their holders that were told.
    told: HashSet<(u64, u32)>,
    /// Whether it has looked before: then a connection that the kernel didn't see open was handed over.
    looked: bool,
    counts: Arc<Counts>,
    out: mpsc::Sender<Held>,
}

impl Holdings {
    /// For a policy, if it has a database rule about clients. Notes who listens for databases already.
    pub fn new(
        config: &Config,
        policy: &Compiled,
        kernel: &mut Kernel,
        processes: &Processes,
        counts: &Arc<Counts>,
        out: mpsc::Sender<Held>,
    ) -> Result<Option<Self>> {
        if config.databases.is_empty() {
            return Ok(None);
        }
        let mut listeners: KernelMap<_, u32, Tracked> = kernel.take("LISTENERS")?.try_into()?;
        note_listeners(policy, processes, &mut listeners);
        Ok(Some(Self {
            tracked: kernel.take("CONNECTIONS")?.try_into()?,
            attempts: kernel.take("ATTEMPTS")?.try_into()?,
            adopted: HashMap::new(),
            close: config.databases.iter().map(|rule| rule.close_existing).collect(),
            scope: config.agent.cgroup.value.clone(),
            told: HashSet::new(),
            looked: false,
            counts: Arc::clone(counts),
            out,
        }))
    }

    /// Looks at all connections of this host to ports that a database rule speaks of.
    pub fn look(&mut self, tree: &Tree, policy: &Compiled, processes: &Processes) {
        let (others, left_out) = connections::other_namespaces();
        if left_out > 0 {
            tracing::warn!(left_out, "there are too many network namespaces to look for connections in all");
        }
        let places = std::iter::once(Diag::open()).chain(others.into_iter().map(Diag::of_process));
        let (mut current, mut alive) = (HashSet::new(), HashSet::new());
        // A namespace that has gone meanwhile has no connections.
        for mut diag in places.flatten() {
            let Ok(listing) = diag.list() else { continue };
            let of_databases = |connection: &Connection| {
                !policy.database_candidates(Direction::Client, &connection.remote).is_empty()
            };
            let found: Vec<Connection> = listing.connections.into_iter().filter(of_databases).collect();
            alive.extend(found.iter().map(|connection| connection.cookie));
            if found.is_empty() {
                continue;
            }
            let inodes =
                found.iter().map(|connection| connection.inode).filter(|inode| *inode != 0).collect();
            let holders = connections::holders(&inodes);
            for connection in &found {
                for pid in holders.by_inode.get(&connection.inode).into_iter().flatten() {
                    current.insert((connection.cookie, *pid));
                    self.judge(&mut diag, connection, *pid, tree, policy, processes);
                }
            }
        }
        self.told.retain(|told| current.contains(told));
        self.looked = true;
        self.let_go(&alive);
    }

    fn judge(
        &mut self,
        diag: &mut Diag,
        connection: &Connection,
        pid: u32,
        tree: &Tree,
        policy: &Compiled,
        processes: &Processes,
    ) {
        let Ok(holder) = processes.get(&pid, 0) else { return };
        if self.told.contains(&(connection.cookie, pid)) || !processes::is_below(pid, &self.scope) {
            return;
        }
        let mut decision = policy.decide_database(Direction::Client, &connection.remote, &holder.workloads);
        if decision.rule == NO_RULE {
            return;
        }
        let known = |table: &KernelMap<_, u64, Tracked>| table.get(&connection.cookie, 0).ok();
        let tracked = known(&self.tracked).or_else(|| known(&self.attempts));
        if tracked.is_none() && connection.remote.protocol == TCP {
            self.adopt(connection.cookie, &decision, &holder, pid);
        }
        // What it opened itself was judged then.
        if !decision.is_finding()
            || tracked.is_some_and(|tracked| {
                tracked.told == pid || (tracked.pid == pid && tracked.ino == holder.exe.ino)
            })
        {
            return;
        }
        self.told.insert((connection.cookie, pid));
        let opener = tracked.filter(|_| self.looked || tracked.is_some_and(|tracked| tracked.since_ns != 0));
        let close = opener.is_none() && self.close.get(usize::from(decision.rule)) == Some(&true);
        let mut flags = 0;
        if !close {
            decision.verdict = verdict::ALERT;
        } else if decision.enforces(verdict::DENY) {
            match diag.close(connection) {
                Ok(()) => flags = held::flags::CLOSED,
                Err(error) => {
                    tracing::error!(
                        "a connection of process {pid} that is older than the policy stays open: {error}"
                    );
                    decision.verdict = verdict::ALERT;
                }
            }
        }
        self.tell(connection, pid, tree, &holder, &decision, flags, opener.as_ref());
    }

    /// Has the kernel count a connection when it ends that it didn't see open.
    fn adopt(&mut self, cookie: u64, decision: &Decision, holder: &Process, pid: u32) {
        const NO_EXIST: u64 = 1;
        let slot = database_slot(Direction::Client, decision.rule, holder.workloads.first());
        let ino = holder.exe.ino;
        let tracked = Tracked { since_ns: since_boot_ns(), slot, pid, open: 1, told: 0, ino };
        if self.tracked.insert(cookie, tracked, NO_EXIST).is_ok() {
            let mut adopted = self.counts.adopted.lock().unwrap_or_else(PoisonError::into_inner);
            *adopted.entry(slot).or_default() += 1;
            self.adopted.insert(cookie, (slot, 0));
        }
    }

    /// Takes out connections that were entered by looking and have ended between the look and the entry, so that the kernel had
    /// nothing to take out. A listing may leave one out once.
    fn let_go(&mut self, alive: &HashSet<u64>) {
        const MISSED: u8 = 2;
        let (tracked, counts) = (&mut self.tracked, &self.counts);
        self.adopted.retain(|cookie, (slot, missed)| {
            *missed = if alive.contains(cookie) { 0 } else { *missed + 1 };
            if *missed < MISSED {
                return true;
            }
            if tracked.remove(cookie).is_ok() {
                let mut gone = counts.gone.lock().unwrap_or_else(PoisonError::into_inner);
                *gone.entry(*slot).or_default() += 1;
            }
            false
        });
    }

    #[allow(clippy::too_many_arguments)]
    fn tell(
        &self,
        connection: &Connection,
        pid: u32,
        tree: &Tree,
        holder: &Process,
        decision: &Decision,
        flags: u16,
        opener: Option<&Tracked>,
    ) {
        self.counts.seen.fetch_add(1, Relaxed);
        let key = (decision.rule, decision.verdict, decision.mode);
        *self.counts.decisions.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
        let found = processes::read(tree, pid);
        // The table's is as of what it did last, 0 if it did nothing since the agent started.
        let cgroup = found.as_ref().and_then(|found| cgroup::id_of(&found.cgroup)).unwrap_or(holder.cgroup);
        let (uid, gid) = found.as_ref().map_or((holder.uid, holder.gid), |found| found.ids);
        let record = Held {
            header: Header {
                time_ns: since_boot_ns(),
                kind: Kind::Held as u16,
                rule: decision.rule,
                verdict: decision.verdict,
                mode: decision.mode,
                flags,
            },
            actor: Actor {
                start_ns: holder.start_ns,
                cgroup,
                exe: holder.exe,
                workloads: holder.workloads,
                pid,
                ppid: holder.ppid,
                uid,
                gid,
                comm: processes::comm(pid),
            },
            remote: connection.remote,
            opener_pid: opener.map_or(0, |opener| opener.pid),
            opener_workload: opener
                .map_or(limits::WORKLOADS as u32, |opener| opener.slot % (limits::WORKLOADS as u32 + 1)),
        };
        if self.out.try_send(record).is_err() {
            self.counts.lost.fetch_add(1, Relaxed);
        }
    }
}

/// Attributes connections that are accepted from now on to who listens already.
fn note_listeners(policy: &Compiled, processes: &Processes, table: &mut KernelMap<MapData, u32, Tracked>) {
    let first = |rules: &RuleSet| (0..limits::RULES as u16).find(|rule| rules.contains(*rule));
    let servers = policy
        .database_ports
        .iter()
        .filter_map(|(index, rules)| Some((*index, first(&rules.and(&policy.masks.servers))?)));
    let servers: BTreeMap<u32, u16> = servers.collect();
    let mut note = |index: u32, rule: u16, workload: u32, pid: u32, ino: u64| {
        let slot = database_slot(Direction::Server, rule, workload);
        // A full table leaves the others unattributed.
        let _ = table.insert(index, Tracked { since_ns: 0, slot, pid, open: 0, told: 0, ino }, 0);
    };
    for (index, rule) in &servers {
        note(*index, *rule, limits::WORKLOADS as u32, 0, 0);
    }
    let sockets = procfs::net::tcp().into_iter().chain(procfs::net::tcp6()).flatten();
    let listening: Vec<(u32, u64)> = sockets
        .filter(|socket| socket.state == TcpState::Listen)
        .map(|socket| (port_index(TCP, socket.local_address.port()), socket.inode))
        .filter(|(index, _)| servers.contains_key(index))
        .collect();
    let holders = connections::holders(&listening.iter().map(|(_, inode)| *inode).collect());
    for (index, inode) in listening {
        let pids = holders.by_inode.get(&inode).into_iter().flatten();
        for (pid, process) in pids.filter_map(|pid| Some((*pid, processes.get(pid, 0).ok()?))) {
            note(index, servers[&index], process.workloads.first(), pid, process.exe.ino);
        }
    }
}
