//! The memory of other processes: who may trace them, read it and write it.
//!
//! One check of the kernel's is in front of `ptrace` (attach, seize), `process_vm_readv` and its like, `/proc/PID/mem` and
//! `pidfd_getfd`. It comes after the kernel's own rules (same user, or privileged), and never for the process itself.

use aya_ebpf::{
    macros::{fentry, lsm},
    programs::{FEntryContext, LsmContext},
};
use monitor_common::{
    count::Count,
    event::{Kind, memory::Memory},
    policy::{RuleKind, RuleSet, verdict},
};

use crate::{
    emit::{self, count, emit, header},
    field,
    kernel::Object,
    lsm::EPERM,
    maps::MEMORY_RULES,
    policy,
    subject::{actor, in_scope, in_scope_still, is_agent, known, pid},
};

/// To look at a process takes less (`PTRACE_MODE_READ`), as `ps` does; this is to do with it as with one's own.
const PTRACE_MODE_ATTACH: u32 = 2;

/// `ptrace_access_check(struct task_struct *child, unsigned int mode)`.
#[lsm(hook = "ptrace_access_check")]
pub fn memory_check(context: LsmContext) -> i32 {
    let mode: u32 = context.arg(1);
    // VERIFIER: from 6.12 the return value must provably lie in [-4095, 0].
    let refused = mode & PTRACE_MODE_ATTACH != 0 && in_scope_still() && asked(Object::new(context.arg(0)));
    if refused { -EPERM } else { 0 }
}

/// Where no security hook runs, the function that asks them:
/// `security_ptrace_access_check(struct task_struct *child, unsigned int mode)`.
#[fentry(function = "security_ptrace_access_check")]
pub fn memory_seen(context: FEntryContext) -> i32 {
    let mode: u32 = context.arg(1);
    if mode & PTRACE_MODE_ATTACH != 0 && in_scope() {
        asked(Object::new(context.arg(0)));
    }
    0
}

/// Whether the current process must not get at the memory of another.
#[inline(always)]
fn asked(target: Object) -> bool {
    let pid = pid();
    count(Kind::Memory, Count::Seen);
    if is_agent(pid) {
        count(Kind::Memory, Count::OwnDoing);
        return false;
    }
    let process = known(pid);
    let only = RuleSet { bits: [1, 0, 0, 0] };
    let decision = policy::decide_plainly(&MEMORY_RULES, &only, &process.workloads);
    emit::decided(RuleKind::ProcessMemory, &decision);
    let record = Memory {
        header: header(Kind::Memory, &decision, 0),
        actor: actor(pid, &process),
        target_start_ns: field!(target, task_start_boottime),
        target_pid: field!(target, task_tgid),
        zero: 0,
    };
    emit(Kind::Memory, &decision, &record);
    decision.enforces(verdict::DENY)
}
