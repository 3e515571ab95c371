//! Keeps the kernel's tables true to the host: files behind policy paths, mounts, processes older than the agent.
//!
//! A thread of its own, because a look at a file system may take its time.

use std::{
    collections::HashMap,
    fs::File,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::maps::{HashMap as KernelMap, MapData};
use monitor_common::{
    identity::{FileEntry, FileKey},
    limit::{Bucket, BucketKey},
    policy::Membership,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::counters::KernelCounters;
use crate::{
    host::{
        file::{Handle, Tree},
        mounts::Mounts,
        processes::{self, Found},
    },
    kernel::{
        load::Kernel,
        tables::{Files, Places, Processes},
    },
    policy::Compiled,
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
    files: Files,
    places: Places,
    processes: Processes,
    buckets: KernelMap<MapData, BucketKey, Bucket>,
}

impl Watcher {
    /// Takes over the maps, and fills those of files and mounts.
    pub fn new(kernel: &mut Kernel, policy: Compiled, tree: Tree) -> Result<Self> {
        let mut watcher = Self {
            files: Files::new(kernel)?,
            places: Places::new(kernel)?,
            processes: kernel.take("PROCESSES")?.try_into()?,
            buckets: kernel.take("BUCKETS")?.try_into()?,
            tree,
            handles: vec![None; policy.paths().len()],
            policy,
        };
        let files = watcher.named_files();
        watcher.files.update(files)?;
        watcher.update_places();
        Ok(watcher)
    }

    /// The files that the policy names by path, as they are now. When a path leads nowhere any more, its file is still
    /// the one it led to last, wherever that was moved; until it is gone, or the path leads to another.
    fn named_files(&mut self) -> HashMap<FileKey, FileEntry> {
        let mut files: HashMap<FileKey, FileEntry> = HashMap::new();
        for ((path, member), handle) in self.policy.paths().iter().zip(&mut self.handles) {
            let exe = match self.tree.resolve(path) {
                Ok(found) => {
                    *handle = found.handle;
                    Some(found.exe)
                }
                Err(_) => handle.as_ref().and_then(|handle| self.tree.again(handle)),
            };
            if let Some(exe) = exe {
                let entry = files.entry(exe.key()).or_insert(FileEntry { exe, member: Membership::NONE });
                entry.member.add(member);
            }
        }
        files
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
            let found: Vec<Found> =
                missing.into_iter().filter_map(|pid| processes::read(&self.tree, pid)).collect();
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

    /// Enters one process; none if there is no room for it.
    fn enter(&mut self, mut found: Found) -> Option<Found> {
        const NO_EXIST: u64 = 1;
        let process = &mut found.process;
        process.workloads =
            self.policy.workloads(self.files.known(), &process.exe, found.host_path.as_deref());
        match self.processes.insert(found.pid, *process, NO_EXIST) {
            Ok(()) => {}
            // A hook was faster: the process has started another program.
            Err(error) if is_there_already(&error) => return Some(found),
            Err(_) => return None,
        }
        // It may have ended before its entry was made; then nobody takes it out but us.
        if processes::start_ns(found.pid) != Some(found.process.start_ns) {
            let _ = self.processes.remove(&found.pid);
        }
        Some(found)
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
            let wait = Timespec { tv_sec: EVERY.as_secs() as i64, tv_nsec: 0 };
            // The kernel reports a change of the mounts as an exceptional condition.
            let mut fds = [PollFd::new(mounts, PollFlags::PRI)];
            if let Ok(1..) = poll(&mut fds, Some(&wait)) {
                match self.tree.refresh() {
                    Ok(()) => self.update_places(),
                    Err(error) => tracing::warn!("{error:#}"),
                }
            }
        }
    }

    fn look(&mut self, counters: &KernelCounters, counted: &mut Option<Instant>) {
        let files = self.named_files();
        match self.files.update(files) {
            Ok(0) => {}
            Ok(changed) => {
                tracing::info!(changed, "files behind policy paths changed and were identified again")
            }
            Err(error) => tracing::error!("{error:#}"),
        }
        if counted.is_none_or(|at| at.elapsed() >= GAUGES_EVERY) {
            let (_, unknown) = self.scan();
            counters.gauges.processes_unknown.store(unknown, Relaxed);
            counters.gauges.processes.store(self.processes.keys().flatten().count() as u64, Relaxed);
            *counters.gauges.sources.lock().unwrap_or_else(PoisonError::into_inner) = self.sources();
            *counted = Some(Instant::now());
        }
    }

    /// Sources tracked, by rate limit.
    fn sources(&self) -> Vec<u64> {
        let mut by_rule: HashMap<u32, u64> = HashMap::new();
        self.buckets.keys().flatten().for_each(|key| *by_rule.entry(key.rule).or_default() += 1);
        (0..self.policy.rate_rules.len() as u32)
            .map(|rule| by_rule.get(&rule).copied().unwrap_or(0))
            .collect()
    }
}

fn is_there_already(error: &aya::maps::MapError) -> bool {
    matches!(error, aya::maps::MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::EEXIST))
}
