//! Who is at it: the current process, and whether the policy's scope covers it.

use aya_ebpf::helpers::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_get_current_comm,
    bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
};
use monitor_common::{
    count::Stat,
    event::Actor,
    identity::{ExeId, Process},
    policy::WorkloadSet,
};

use crate::{emit::stat, global, maps::PROCESSES};

/// Id of the current process in the host's namespace.
#[inline(always)]
pub fn pid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// Whether it is the agent itself.
#[inline(always)]
pub fn is_agent(pid: u32) -> bool {
    pid == global!(SETTINGS.agent_pid)
}

/// Whether the current process is in the part of the cgroup tree that the policy is for.
#[inline(always)]
pub fn in_scope() -> bool {
    let level = global!(SETTINGS.scope_level);
    if level == 0 {
        return true;
    }
    // SAFETY: a helper without pointers.
    let ancestor = unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) };
    ancestor == global!(SETTINGS.scope_cgroup)
}

/// What is remembered of a process.
#[inline(always)]
pub fn known(pid: u32) -> Process {
    // SAFETY: the value may be changed by the process itself only, in its own fork or exec.
    match unsafe { PROCESSES.get(pid) } {
        Some(process) => *process,
        None => {
            stat(Stat::UnknownProcess);
            Process { exe: ExeId::NONE, workloads: WorkloadSet::EMPTY, start_ns: 0, ppid: 0, flags: 0 }
        }
    }
}

/// The current process as records describe it.
#[inline(always)]
pub fn actor(pid: u32, process: &Process) -> Actor {
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
