//! Refuses execs before they happen, where the kernel runs BPF LSM programs.
//!
//! What an earlier program of a hook returned (the argument after the last) is never read: the first that refuses ends the
//! chain, so it is always 0. And the verifier of 6.18.15 takes it for never 0, and had every exec refused.

use aya_ebpf::{helpers::bpf_get_current_task_btf, macros::lsm, programs::LsmContext};
use monitor_common::{
    count::{Count, Stat},
    event::{Kind, exec::flags},
    identity::{ExeId, LOADER},
    policy::{Decision, RuleKind, verdict},
};

use crate::{
    emit::{self, count, header, stat},
    executable::{self, Buffer},
    field, follow, global,
    kernel::Object,
    maps::{EXEC_RULES, SCRIPTS},
    path::{note, noted},
    policy,
    process::{add_script, is_canary, is_exempt, judge_file, submit},
    subject::{actor, in_scope_still, judges_still, known, masks, pid},
};

pub const EPERM: i32 = 1;

/// A file is about to be executed, before the point of no return; once for a script and again for its interpreter:
/// `bprm_check_security(struct linux_binprm *bprm)`.
#[lsm(hook = "bprm_check_security")]
pub fn exec_check(context: LsmContext) -> i32 {
    stat(Stat::LsmHookRuns);
    // VERIFIER: from 6.12 the return value must provably lie in [-4095, 0].
    if refuses(Object::new(context.arg(0))) { -EPERM } else { 0 }
}

#[inline(always)]
fn refuses(bprm: Object) -> bool {
    let file = follow!(bprm, bprm_file);
    // SAFETY: a helper without arguments.
    let task = Object::new(unsafe { bpf_get_current_task_btf() }.cast());
    let parent = follow!(task, task_real_parent);
    let ppid: u32 = field!(parent, task_tgid);
    if is_canary(ppid, file) && judges_still() {
        count(Kind::Exec, Count::Seen);
        count(Kind::Exec, Count::Canary);
        return true;
    }
    if global!(SETTINGS.exec_lsm) != 1 {
        return false;
    }
    let (filename, interp): (u64, u64) = (field!(bprm, bprm_filename), field!(bprm, bprm_interp));
    if filename == interp {
        // The first file of this exec. One that failed behind this hook must not leave its script to the next.
        let _ = SCRIPTS.remove(u64::from(pid()));
    }
    let Some(mut buffer) = Buffer::take() else { return false };
    let scratch = buffer.scratch();
    executable::gather(file, scratch);
    let start: u16 = field!(bprm, bprm_buf);
    if start == u16::from_ne_bytes(*b"#!") {
        add_script(scratch, u64::from(pid()));
    }
    let pid = pid();
    if !in_scope_still() || is_exempt(pid, parent) {
        return false;
    }
    let mut by = known(pid);
    by.ppid = ppid;
    // The arguments aren't where they can be read yet.
    let decision = judge_file(scratch, &by);
    if !decision.enforces(verdict::DENY) {
        return false;
    }
    count(Kind::Exec, Count::Seen);
    emit::decided(RuleKind::Exec, &decision);
    let noted = noted(scratch) | flags::NO_ARGS;
    scratch.record.header = header(Kind::Exec, &decision, noted);
    scratch.record.actor = actor(pid, &by);
    scratch.record.workloads = scratch.member.workloads;
    executable::keep_script(bprm, scratch);
    submit(&buffer, &decision);
    true
}

/// A file is about to be mapped:
/// `mmap_file(struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags)`.
///
/// Only a dynamic loader that was started by hand is asked: what it maps to be executed is the program. Its libraries
/// are on no allow-list, so allow-lists are left out.
#[lsm(hook = "mmap_file")]
pub fn exec_map(context: LsmContext) -> i32 {
    const PROT_EXEC: u64 = 4;
    let file: *const u8 = context.arg(0);
    let prot: u64 = context.arg(2);
    // VERIFIER: as above.
    if prot & PROT_EXEC != 0 && !file.is_null() && refuses_map(Object::new(file)) { -EPERM } else { 0 }
}

#[inline(always)]
fn refuses_map(file: Object) -> bool {
    let pid = pid();
    let by = known(pid);
    if by.flags & LOADER == 0 || global!(SETTINGS.exec_lsm) != 1 || !in_scope_still() {
        return false;
    }
    let Some(mut buffer) = Buffer::take() else { return false };
    let scratch = buffer.scratch();
    executable::gather(file, scratch);
    let Some(masks) = masks() else { return false };
    let candidates = scratch.member.rules.without(&masks.exec_allow).without(&masks.exec_args);
    let decision: Decision = policy::decide_plainly(&EXEC_RULES, &candidates, &by.workloads);
    if !decision.enforces(verdict::DENY) {
        return false;
    }
    count(Kind::Exec, Count::Seen);
    emit::decided(RuleKind::Exec, &decision);
    note(scratch, flags::NO_ARGS | flags::MAPPED);
    let noted = noted(scratch);
    scratch.record.header = header(Kind::Exec, &decision, noted);
    scratch.record.actor = actor(pid, &by);
    scratch.record.script = ExeId::NONE;
    scratch.record.workloads = by.workloads;
    submit(&buffer, &decision);
    true
}
