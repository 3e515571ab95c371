//! Keeps the kernel's tables true to the host: files behind policy paths, mounts, processes older than the agent.
//!
//! A thread of its own, because a look at a file system may take its time.

mod files;
mod flows;

use std::{
    fs::File,
    path::PathBuf,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use monitor_common::{
    event::held::Held,
    identity::{ExeId, Process},
    policy::RuleKind,
    sources::{hash, tag_of},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;

use self::{files::Named, flows::Flows};
use super::{
    counters::{InForce, KernelCounters},
    held::{Counts, Holdings},
};
use crate::{
    config::Config,
    host::{
        cgroup::Groups,
        changes::Changes,
        content::{Content, Contents},
        file::{Handle, Tree},
        mounts::Mounts,
        processes::{self, Found},
    },
    kernel::{
        load::Kernel,
        sources::Sources,
        tables::{Cgroups, Files, Places, Processes},
    },
    policy::{Compiled, Heirs},
};

/// How often files behind policy paths are looked at: a package upgrade is noticed within this time.
const EVERY: Duration = Duration::from_secs(1);
/// How often the gauges are counted.
const GAUGES_EVERY: Duration = Duration::from_secs(10);

/// What the thread owns.
pub struct Watcher {
    tree: Tree,
    policy: Compiled,
    /// By path of the policy, the file that it led to last.
    handles: Vec<Option<Handle>>,
    /// By path of the policy, the file that it led to last.
    exes: Vec<Option<ExeId>>,
    contents: Contents,
    /// Tells at once when a path of the policy may lead to another file.
    changes: Option<Changes>,
    groups: Option<(Groups, Cgroups)>,
    /// Looks for connections in wrong hands, if there is a rule about any.
    holdings: Option<Holdings>,
    files: Files,
    flows: Flows,
    places: Places,
    processes: Processes,
    sources: Sources,
    /// Key of the hash of sources.
    source_key: [u64; 2],
    /// Files that were said to have another content.
    told: Vec<(PathBuf, Content)>,
}

impl Watcher {
    /// Takes over the maps, and fills those of files and mounts.
    pub fn new(kernel: &mut Kernel, policy: Compiled, tree: Tree, source_key: [u64; 2]) -> Result<Self> {
        let mut watcher = Self {
            files: Files::new(kernel)?,
            flows: Flows::new(kernel)?,
            places: Places::new(kernel)?,
            processes: kernel.take("PROCESSES")?.try_into()?,
            sources: Sources::new(kernel, policy.source_sets)?,
            source_key,
            tree,
            holdings: None,
            told: Vec::new(),
            handles: vec![None; policy.files().len()],
            exes: vec![None; policy.files().len()],
            contents: Contents::default(),
            changes: Changes::new()
                .map_err(|error| tracing::warn!("{error:#}; paths are looked at each second"))
                .ok(),
            groups: if policy.asks_cgroup { Some((Groups::open()?, Cgroups::new(kernel)?)) } else { None },
            policy,
        };
        watcher.watch_paths();
        watcher.read_files()?;
        watcher.update_places();
        Ok(watcher)
    }

    /// The policy that it keeps the tables to.
    pub fn policy(&self) -> &Compiled {
        &self.policy
    }

    /// Has it look for connections to databases in wrong hands, and tell `out`.
    pub fn watch_connections(
        &mut self,
        config: &Config,
        kernel: &mut Kernel,
        counts: &Arc<Counts>,
        out: mpsc::Sender<Held>,
    ) -> Result<()> {
        self.holdings = Holdings::new(config, &self.policy, kernel, &self.processes, counts, out)?;
        Ok(())
    }

    fn watch_paths(&mut self) {
        if let Some(changes) = &mut self.changes {
            changes.update(&self.tree, self.policy.files().iter().map(|named| &*named.path));
        }
    }

    /// Enters the cgroups that the policy names. The program that enters new ones must be attached already.
    pub fn update_cgroups(&mut self) -> Result<()> {
        let Some((groups, table)) = &mut self.groups else { return Ok(()) };
        let policy = &self.policy;
        let left_out = table.update(groups, |path| policy.cgroup_itself(path))?;
        if left_out > 0 {
            tracing::warn!(left_out, "the table of cgroups is full: members of workloads are missed");
        }
        Ok(())
    }

    /// Enters processes that are not in the kernel's table; those that were found, and how many are still unknown.
    ///
    /// The hooks must be attached already: a process that starts meanwhile is entered by them, and theirs is the word
    /// that counts. Passes are repeated until one finds nobody new, because children of unknown processes are unknown.
    pub fn scan(&mut self) -> (Vec<Found>, u64) {
        const PASSES: usize = 20;
        let mut all = Vec::new();
        let mut unknown = 0;
        for _ in 0..PASSES {
            let missing: Vec<u32> =
                processes::pids().into_iter().filter(|pid| self.processes.get(pid, 0).is_err()).collect();
            let mut found: Vec<Found> =
                missing.into_iter().filter_map(|pid| processes::read(&self.tree, pid)).collect();
            // Who made another is older than that.
            found.sort_by_key(|found| found.process.start_ns);
            unknown = 0;
            let mut entered = 0;
            for process in found {
                match self.enter(process) {
                    Some(process) => {
                        entered += 1;
                        all.push(process);
                    }
                    None => unknown += 1,
                }
            }
            if entered == 0 {
                break;
            }
        }
        (all, unknown)
    }

    /// Takes over who was who for the generation before: what can't be read from `/proc` any more, such as what a process was
    /// before it became a program, and whose descendant it is. The hooks must be attached already, as for a scan.
    ///
    /// Whoever starts meanwhile is entered by the hooks of both. Passes are repeated until one finds nobody new, because a
    /// child of a process that is not entered yet isn't entered either.
    pub fn inherit(&mut self, before: &Processes, heirs: &Heirs) -> Vec<Found> {
        const PASSES: usize = 20;
        let mut all = Vec::new();
        for _ in 0..PASSES {
            let known = before.iter().flatten().filter(|(pid, _)| self.processes.get(pid, 0).is_err());
            let mut missing: Vec<(u32, Process)> = known.collect();
            missing.sort_by_key(|(_, process)| process.start_ns);
            let mut entered = 0;
            for (pid, was) in missing {
                let Some(mut found) = processes::read(&self.tree, pid) else { continue };
                let stranger = Process::stranger(&self.policy.masks);
                let judged = if heirs.are_all() {
                    stranger
                } else {
                    self.judge(&mut found);
                    found.process
                };
                found.process = heirs.inherit(&was, &judged, &self.policy.masks);
                if let Some(found) = self.put(found) {
                    entered += 1;
                    all.push(found);
                }
            }
            if entered == 0 {
                break;
            }
        }
        all
    }

    /// Enters one process; none if there is no room for it.
    fn enter(&mut self, mut found: Found) -> Option<Found> {
        self.judge(&mut found);
        self.put(found)
    }

    /// Enters one process that was judged; none if there is no room for it.
    fn put(&mut self, found: Found) -> Option<Found> {
        const NO_EXIST: u64 = 1;
        let process = &found.process;
        match self.processes.insert(found.pid, process, NO_EXIST) {
            Ok(()) => {}
            // A hook was faster: the process has started another program.
            Err(error) if is_there_already(&error) => return Some(found),
            Err(_) => return None,
        }
        // It may have ended before its entry was made; then nobody takes it out but us.
        let tick = processes::tick_ns();
        if processes::start_ns(found.pid) != Some(found.process.start_ns / tick * tick) {
            let _ = self.processes.remove(&found.pid);
        }
        Some(found)
    }

    /// Finds out which workloads a process belongs to. The kernel programs will look at its place again, as they see it.
    fn judge(&self, found: &mut Found) {
        let parent = self.processes.get(&found.process.ppid, 0).ok();
        found.process = self.policy.judge(found, parent, self.files.known());
    }

    fn update_places(&mut self) {
        let left_out = self.places.update(&self.tree);
        if left_out > 0 {
            tracing::warn!(
                left_out,
                "mount points could not be kept, because there are too many or their paths are too long; globs match no \
                 file on them"
            );
        }
    }

    /// Starts the thread.
    pub fn start(self, counters: Arc<KernelCounters>, stop: Arc<AtomicBool>) -> Result<JoinHandle<()>> {
        let mounts = File::open(Mounts::source()).context("can't watch the mounts")?;
        let builder = std::thread::Builder::new().name("watch".to_owned());
        builder.spawn(move || self.run(&mounts, &counters, &stop)).context("can't start the watching thread")
    }

    fn run(mut self, mounts: &File, counters: &KernelCounters, stop: &AtomicBool) {
        let mut counted: Option<Instant> = None;
        while !stop.load(Relaxed) {
            self.look(counters, &mut counted);
            self.wait(mounts);
        }
        self.flows.end(counters);
    }

    /// Waits until something may have changed, at most for [`EVERY`].
    fn wait(&mut self, mounts: &File) {
        let wait = Timespec { tv_sec: EVERY.as_secs() as i64, tv_nsec: 0 };
        // The kernel reports a change of the mounts as an exceptional condition.
        let mut fds = vec![PollFd::new(mounts, PollFlags::PRI)];
        fds.extend(
            self.changes.as_ref().map(|changes| PollFd::from_borrowed_fd(changes.fd(), PollFlags::IN)),
        );
        if poll(&mut fds, Some(&wait)).is_err() {
            return;
        }
        let remounted = fds[0].revents().contains(PollFlags::PRI);
        drop(fds);
        if remounted {
            match self.tree.refresh() {
                Ok(()) => self.update_places(),
                Err(error) => tracing::warn!("{error:#}"),
            }
        }
        if self.changes.as_mut().is_some_and(Changes::drain) || remounted {
            self.watch_paths();
        }
    }

    fn look(&mut self, counters: &KernelCounters, counted: &mut Option<Instant>) {
        let Named { files, unverified, replaced, .. } = self.named_files();
        counters.gauges.files_unverified.store(unverified.len() as u64, Relaxed);
        self.tell_unverified(unverified);
        counters.gauges.files_replaced.fetch_add(replaced, Relaxed);
        if replaced > 0 {
            tracing::info!(replaced, "files behind policy paths changed and were identified again");
        }
        if let Err(error) = self.files.update(files) {
            tracing::error!("{error:#}");
        }
        self.flows.look(counters);
        if counted.is_none_or(|at| at.elapsed() >= GAUGES_EVERY) {
            let (_, unknown) = self.scan();
            counters.gauges.processes_unknown.store(unknown, Relaxed);
            counters.gauges.processes.store(self.processes.keys().flatten().count() as u64, Relaxed);
            *counters.gauges.sources.lock().unwrap_or_else(PoisonError::into_inner) =
                self.sources(&counters.in_force());
            counters.count_maps();
            if let Some(holdings) = &mut self.holdings {
                holdings.look(&self.tree, &self.policy, &self.processes);
            }
            if let Err(error) = self.update_cgroups() {
                tracing::warn!("{error:#}");
            }
            *counted = Some(Instant::now());
        }
    }

    /// Sources tracked, by the counter of their rate limit.
    fn sources(&self, in_force: &InForce) -> Vec<u64> {
        let rules = &in_force.rate_rules;
        let mut counts = vec![0; in_force.names.rules(RuleKind::RateLimit).len()];
        if rules.is_empty() {
            return counts;
        }
        let seen = self.sources.each(|tag, addr| {
            let hash = hash(self.source_key, addr.words());
            let mut owners = rules.iter().filter(|rule| tag_of(hash, rule.id) == tag);
            if let Some(count) = owners.next().and_then(|rule| counts.get_mut(rule.counter as usize)) {
                *count += 1;
            }
        });
        if let Err(error) = seen {
            tracing::warn!("{error:#}");
        }
        counts
    }
}

fn is_there_already(error: &aya::maps::MapError) -> bool {
    matches!(error, aya::maps::MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::EEXIST))
}
