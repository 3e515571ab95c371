//! Who is at it: the current process, where it is now, and whether the policy's scope covers it.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::helpers::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_get_current_comm,
    bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_ktime_get_boot_ns,
};
use monitor_common::{
    count::Stat,
    event::Actor,
    identity::{ExeId, Process, UNSURE},
    limits,
    policy::{
        Masks, WorkloadSet,
        masks::{Kin, Kinship},
    },
    settings::Control,
};

use crate::{
    emit::stat,
    global,
    maps::{CGROUPS, CONTROL, FILES, GROUPS, KIN, MASKS, NOBODY, PROCESSES, USERS},
};

/// Id of the current process in the host's namespace.
#[inline(always)]
pub fn pid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// Whether it is the agent itself.
#[inline(always)]
pub fn is_agent(pid: u32) -> bool {
    // SAFETY: a number that is read as a whole.
    CONTROL.get_ptr(0).is_some_and(|control| pid == unsafe { read_volatile(&raw const (*control).agent_pid) })
}

/// A process has ended. If it was the agent, nobody is until another says so: its number may come again.
#[inline(always)]
pub fn is_gone(pid: u32) {
    if is_agent(pid)
        && let Some(control) = CONTROL.get_ptr_mut(0)
    {
        // SAFETY: a number that is written as a whole; the agent's own process was the only one to write it.
        unsafe { write_volatile(&raw mut (*control).agent_pid, 0) };
    }
}

/// Whether these programs judge ([`Control::judges`]).
#[inline(always)]
fn judge_at(newest_first: bool) -> bool {
    if global!(SETTINGS.governed) == 0 {
        return true;
    }
    let Some(control) = CONTROL.get_ptr(0) else { return true };
    // SAFETY: numbers that are read as a whole, in whatever order they change.
    let now = unsafe {
        Control {
            generation: read_volatile(&raw const (*control).generation),
            before: read_volatile(&raw const (*control).before),
            until_ns: read_volatile(&raw const (*control).until_ns),
            overlap: read_volatile(&raw const (*control).overlap),
            ..Control::NONE
        }
    };
    // SAFETY: a helper without arguments.
    let now_ns = if now.until_ns == 0 { 0 } else { unsafe { bpf_ktime_get_boot_ns() } };
    now.judges(global!(SETTINGS.generation), now_ns, newest_first)
}

/// Whether the agent is gone ([`Control::is_stale`]). Reads a clock: to be asked for rules to which it matters.
#[inline(always)]
pub fn is_stale() -> bool {
    if global!(SETTINGS.governed) == 0 {
        return false;
    }
    let Some(control) = CONTROL.get_ptr(0) else { return false };
    // SAFETY: a number that is read as a whole.
    let beat_ns = unsafe { read_volatile(&raw const (*control).beat_ns) };
    // SAFETY: a helper without arguments.
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    Control { beat_ns, ..Control::NONE }.is_stale(now_ns, global!(SETTINGS.stale_after_ns))
}

/// Whether these programs are of the generation that judges.
#[inline(always)]
pub fn judges() -> bool {
    judge_at(false)
}

/// The same for security hooks, where the newest program is asked first.
#[inline(always)]
pub fn judges_still() -> bool {
    judge_at(true)
}

/// Whether to judge the current process.
#[inline(always)]
pub fn in_scope() -> bool {
    judges() && is_covered()
}

/// The same for security hooks.
#[inline(always)]
pub fn in_scope_still() -> bool {
    judges_still() && is_covered()
}

/// Whether the current process is in the part of the cgroup tree that the policy is for.
#[inline(always)]
pub fn is_covered() -> bool {
    let level = global!(SETTINGS.scope_level);
    if level == 0 {
        return true;
    }
    // SAFETY: a helper without pointers.
    let ancestor = unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) };
    ancestor == global!(SETTINGS.scope_cgroup)
}

/// How the policy is read.
#[inline(always)]
pub fn masks() -> Option<&'static Masks> {
    MASKS.get(0)
}

/// The kin of workloads, from its map.
pub struct KinTable;

impl Kinship for KinTable {
    #[inline(always)]
    fn kin(&self, index: u32) -> Option<Kin> {
        KIN.get(index).copied()
    }
}

/// What is remembered of the current process, brought up to date with its cgroup and ids. One map access, unless
/// those have changed since.
#[inline(always)]
pub fn entry(pid: u32) -> Option<&'static mut Process> {
    // SAFETY: an entry is changed by its process alone; when two of its threads do so at once, they write the same.
    let process = unsafe { &mut *PROCESSES.get_ptr_mut(pid)? };
    bring_up_to_date(process);
    Some(process)
}

/// Finds out where the current process is, if it isn't where it was.
#[inline(always)]
pub fn bring_up_to_date(process: &mut Process) {
    if process.flags & UNSURE != 0 {
        ask_again(process);
    }
    let ids = bpf_get_current_uid_gid();
    let (uid, gid) = (ids as u32, (ids >> 32) as u32);
    // SAFETY: a helper without arguments.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    if process.is_at(cgroup, uid, gid) {
        return;
    }
    // SAFETY: a helper without pointers.
    put(process, uid, gid, |level| unsafe { bpf_get_current_ancestor_cgroup_id(level) });
    (process.cgroup, process.uid, process.gid) = (cgroup, uid, gid);
}

/// Puts a process where it is: `above` tells the ids of its cgroups, from the root down.
#[inline(always)]
pub fn put(process: &mut Process, uid: u32, gid: u32, above: impl Fn(i32) -> u64) {
    let Some(masks) = masks() else { return };
    let mut groups = WorkloadSet::EMPTY;
    let mut level = 0;
    while level < limits::CGROUP_DEPTH {
        let above = above(level);
        if above == 0 {
            break;
        }
        // SAFETY: entries change as a whole.
        if let Some(named) = unsafe { CGROUPS.get(above) } {
            groups.add(named);
        }
        level += 1;
    }
    // SAFETY: entries change as a whole, by the agent.
    let (user, group) = unsafe { (USERS.get(uid), GROUPS.get(gid)) };
    process.place(masks, &groups, user.unwrap_or(&WorkloadSet::EMPTY), group.unwrap_or(&WorkloadSet::EMPTY));
}

/// Whether the file that a process runs is known by now.
#[inline(always)]
fn ask_again(process: &mut Process) {
    let Some(masks) = masks() else { return };
    // SAFETY: entries change as a whole, by the agent.
    if let Some(entry) = unsafe { FILES.get(process.exe.key()) }
        && entry.exe.same(&process.exe)
        && entry.unverified.is_empty()
    {
        process.is_sure(&entry.member.workloads, masks);
    }
}

/// What hooks want to know of a process.
#[derive(Clone, Copy)]
pub struct Known {
    /// The file it runs.
    pub exe: ExeId,
    /// Workloads it belongs to.
    pub workloads: WorkloadSet,
    /// Start time, nanoseconds since boot.
    pub start_ns: u64,
    /// Parent.
    pub ppid: u32,
    /// Flags of [`Process`].
    pub flags: u32,
}

impl Known {
    /// Of what is remembered.
    #[inline(always)]
    pub fn of(process: &Process) -> Self {
        Self {
            exe: process.exe,
            workloads: process.workloads,
            start_ns: process.start_ns,
            ppid: process.ppid,
            flags: process.flags,
        }
    }
}

/// What is known of the current process.
#[inline(always)]
pub fn known(pid: u32) -> Known {
    known_of(entry(pid).as_deref())
}

/// What is known of the current process, of which this is the entry.
#[inline(always)]
pub fn known_of(entry: Option<&Process>) -> Known {
    if let Some(process) = entry {
        return Known::of(process);
    }
    if in_scope() {
        stat(Stat::UnknownProcess);
    }
    // VERIFIER: read from a map, it is the same state as a known one.
    match NOBODY.get(0) {
        Some(process) => Known::of(process),
        None => Known { exe: ExeId::NONE, workloads: WorkloadSet::EMPTY, start_ns: 0, ppid: 0, flags: 0 },
    }
}

/// The current process as records describe it.
#[inline(always)]
pub fn actor(pid: u32, process: &Known) -> Actor {
    let ids = bpf_get_current_uid_gid();
    Actor {
        start_ns: process.start_ns,
        // SAFETY: a helper without arguments.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        exe: process.exe,
        workloads: process.workloads,
        pid,
        ppid: process.ppid,
        uid: ids as u32,
        gid: (ids >> 32) as u32,
        comm: bpf_get_current_comm().unwrap_or([0; 16]),
    }
}
