//! Refuses execs before they happen, where the kernel runs BPF LSM programs.

use aya_ebpf::{helpers::bpf_get_current_task_btf, macros::lsm, programs::LsmContext};
use monitor_common::{
    count::{Count, Stat},
    event::{Kind, exec::flags},
    policy::{RuleKind, verdict},
};

use crate::{
    emit::{self, count, header, stat},
    executable::{self, Buffer},
    field, follow, global,
    kernel::Object,
    maps::EXEC_RULES,
    policy,
    process::{is_canary, submit},
    subject::{actor, in_scope, known, pid},
};

const EPERM: i32 = 1;

/// A file is about to be executed, before the point of no return; once for a script and again for its interpreter:
/// `bprm_check_security(struct linux_binprm *bprm)`.
#[lsm(hook = "bprm_check_security")]
pub fn exec_check(context: LsmContext) -> i32 {
    stat(Stat::LsmHookRuns);
    let before: i32 = context.arg(1);
    // VERIFIER: from 6.12 the return value must provably lie in [-4095, 0].
    if before != 0 || refuses(Object::new(context.arg(0))) { -EPERM } else { 0 }
}

#[inline(always)]
fn refuses(bprm: Object) -> bool {
    let file = follow!(bprm, bprm_file);
    // SAFETY: a helper without arguments.
    let task = Object::new(unsafe { bpf_get_current_task_btf() }.cast());
    let parent: u32 = field!(follow!(task, task_real_parent), task_tgid);
    if is_canary(parent, file) {
        count(Kind::Exec, Count::Seen);
        count(Kind::Exec, Count::Canary);
        return true;
    }
    if global!(SETTINGS.exec_lsm) != 1 || !in_scope() {
        return false;
    }
    let Some(mut buffer) = Buffer::take() else { return false };
    let scratch = buffer.scratch();
    let member = executable::gather(file, scratch);
    let pid = pid();
    let mut before = known(pid);
    before.ppid = parent;
    let decision = policy::decide(&EXEC_RULES, &member.exec_rules, &before.workloads);
    if !decision.enforces(verdict::DENY) {
        return false;
    }
    count(Kind::Exec, Count::Seen);
    emit::decided(RuleKind::Exec, &decision);
    let noted = scratch.record.header.flags | flags::NO_ARGS;
    scratch.record.header = header(Kind::Exec, &decision, noted);
    scratch.record.actor = actor(pid, &before);
    scratch.record.workloads = member.workloads;
    executable::keep_script(bprm, scratch);
    submit(&buffer);
    true
}
