//! Exec, fork and exit: keeps the table of processes, judges execs where no LSM program does, and reports.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_send_signal},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use aya_log_ebpf::{debug, warn};
use monitor_common::{
    count::{Count, Stat},
    event::exec::flags,
    event::{Kind, exit::Exit, fork::Fork},
    identity::{LOADER, Process, UNSURE},
    policy::{Decision, Mode, RuleKind, verdict},
};

use crate::{
    emit::{self, count, emit, header, stat},
    executable::{self, Buffer, Scratch, Script},
    field, follow, global,
    kernel::Object,
    maps::{EXEC_RULES, PROCESSES, SCRIPTS},
    path::{note, noted},
    policy,
    subject::{
        KinTable, Known, actor, bring_up_to_date, entry, in_scope, is_agent, is_gone, judges, known,
        known_of, masks,
    },
};

const SIGKILL: u32 = 9;

/// A program is about to run: `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`.
///
/// Runs after the point of no return and before the first instruction of the new program. On kernels without
/// real-time preemption a signal sent here arrives before that instruction, too.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn exec(context: BtfTracePointContext) -> i32 {
    stat(Stat::ExecHookRuns);
    try_exec(&context, Object::new(context.arg(0)), Object::new(context.arg(2)));
    0
}

#[inline(always)]
fn try_exec(context: &BtfTracePointContext, task: Object, bprm: Object) {
    let pid: u32 = field!(task, task_tgid);
    let file = follow!(bprm, bprm_file);
    let parent = follow!(task, task_real_parent);
    let ppid: u32 = field!(parent, task_tgid);
    if is_canary(ppid, file) && judges() {
        kill();
        count(Kind::Exec, Count::Seen);
        count(Kind::Exec, Count::Canary);
        return;
    }
    let Some(mut buffer) = Buffer::take() else {
        return without_buffer(context, pid, file);
    };
    let scratch = buffer.scratch();
    executable::gather(file, scratch);
    take_script(scratch, u64::from(pid));
    if is_exempt(pid, parent) {
        note(scratch, flags::KERNEL);
    }
    recall(pid, scratch);
    scratch.process.start_ns = field!(task, task_start_boottime);
    scratch.process.ppid = ppid;
    let before = Known::of(&scratch.process);
    scratch.record.actor = actor(pid, &before);
    become_the_program(scratch);
    remember(context, pid, scratch);
    if !in_scope() {
        return;
    }
    debug!(context, "exec of process {}: inode {}, flags {}", pid, scratch.record.file.ino, noted(scratch));
    count(Kind::Exec, Count::Seen);
    executable::keep_script(bprm, scratch);
    executable::keep_args(task, scratch);
    let decision = stop(judge(scratch, &before), noted(scratch));
    emit::decided(RuleKind::Exec, &decision);
    let noted = noted(scratch);
    scratch.record.header = header(Kind::Exec, &decision, noted);
    submit(&buffer, &decision);
}

/// Without a buffer the path isn't known; the identity is.
#[inline(always)]
fn without_buffer(context: &BtfTracePointContext, pid: u32, file: Object) {
    warn!(context, "exec of process {}: all scratch buffers are in use", pid);
    if let (Some(process), Some(masks)) = (entry(pid), masks()) {
        process.becomes(executable::identity(file), &NO_WORKLOAD, masks, &KinTable);
    }
    if in_scope() {
        count(Kind::Exec, Count::Seen);
        count(Kind::Exec, Count::NoScratch);
    }
}

/// Keeps what policy says of the gathered script for [`take_script`], with what it says of scripts before.
#[inline(always)]
pub fn add_script(scratch: &Scratch, key: u64) {
    let Some(masks) = masks() else { return };
    let mut script = Script {
        file: scratch.record.file,
        candidates: masks.exec_candidates(&scratch.member.rules),
        workloads: scratch.member.workloads,
    };
    // SAFETY: the entry belongs to this process.
    if let Some(before) = unsafe { SCRIPTS.get(key) } {
        script.file = before.file;
        script.candidates.add(&before.candidates);
        script.workloads.add(&before.workloads);
    }
    let _ = SCRIPTS.insert(key, script, 0);
}

/// What security hooks saw of scripts, if this is one: under the number of the process. By now the thread has another number
/// than when they ran, if it wasn't the first; and the kernel lets one thread of a process at a time be in an exec.
#[inline(always)]
pub fn take_script(scratch: &mut Scratch, key: u64) {
    // SAFETY: the entry belongs to this process.
    if let Some(script) = unsafe { SCRIPTS.get(key) } {
        scratch.script = *script;
        scratch.record.script = script.file;
        scratch.member.workloads.add(&script.workloads);
        let _ = SCRIPTS.remove(key);
    }
}

/// Process 1, or a helper that the kernel starts itself (core dumps, module loading): its parent is a thread of the
/// kernel. Nobody can make one their parent.
#[inline(always)]
pub fn is_exempt(pid: u32, parent: Object) -> bool {
    /// `include/linux/sched.h`
    const PF_KTHREAD: u32 = 0x0020_0000;
    let flags: u32 = field!(parent, task_flags);
    pid == 1 || flags & PF_KTHREAD != 0
}

/// Copies what is remembered of the current process to the buffer.
#[inline(always)]
fn recall(pid: u32, scratch: &mut Scratch) {
    // SAFETY: as in `subject::entry`.
    if let Some(process) = unsafe { PROCESSES.get(pid) } {
        scratch.process = *process;
    } else {
        if in_scope() {
            stat(Stat::UnknownProcess);
        }
        if let Some(masks) = masks() {
            scratch.process.of_exe = masks.any_exe;
            scratch.process.of_parent = masks.any_parent;
            scratch.process.of_ancestor = masks.any_ancestor;
        }
    }
    bring_up_to_date(&mut scratch.process);
}

/// Has the process be the gathered program from now on.
#[inline(always)]
pub fn become_the_program(scratch: &mut Scratch) {
    let noted = noted(scratch);
    let Some(masks) = masks() else { return };
    let (exe, of_exe) = (scratch.record.file, scratch.member.workloads);
    scratch.process.becomes(exe, &of_exe, masks, &KinTable);
    let unsure = noted & (flags::STALE | flags::UNVERIFIED) != 0;
    scratch.process.flags =
        if noted & flags::LOADER != 0 { LOADER } else { 0 } | if unsure { UNSURE } else { 0 };
    scratch.record.workloads = scratch.process.workloads;
}

/// What the rules say of the gathered file before there are arguments, if that is to refuse it.
#[inline(always)]
pub fn judge_file(scratch: &Scratch, by: &Known) -> Decision {
    let Some(masks) = masks() else { return Decision::NONE };
    let candidates = masks.exec_candidates(&scratch.member.rules);
    masks.refusal(policy::decide_plainly(&EXEC_RULES, &candidates, &by.workloads))
}

/// What the rules say of the gathered exec, arguments included.
#[inline(always)]
pub fn judge(scratch: &mut Scratch, by: &Known) -> Decision {
    let Some(masks) = masks() else { return Decision::NONE };
    let mut candidates = masks.exec_candidates(&scratch.member.rules);
    if scratch.script.file.ino != 0 {
        candidates.add(&scratch.script.candidates);
    }
    let asked = candidates.and(&masks.exec_args);
    if !asked.is_empty() {
        executable::judge_args(scratch);
        let cut = noted(scratch) & flags::ARGS_TRUNCATED != 0;
        candidates = masks.with_arguments(&candidates, &scratch.met, cut);
    }
    policy::decide_plainly(&EXEC_RULES, &candidates, &by.workloads)
}

const NO_WORKLOAD: monitor_common::policy::WorkloadSet = monitor_common::policy::WorkloadSet::EMPTY;

#[inline(always)]
fn agent_exe() -> monitor_common::identity::FileKey {
    monitor_common::identity::FileKey {
        ino: global!(SETTINGS.agent_exe.ino),
        dev: global!(SETTINGS.agent_exe.dev),
        zero: 0,
    }
}

/// Whether this exec is the agent's own attempt to be refused.
#[inline(always)]
pub fn is_canary(parent: u32, file: Object) -> bool {
    is_agent(parent) && executable::identity(file).key() == agent_exe()
}

/// Carries out what is left to do this late, and says what it was.
#[inline(always)]
fn stop(mut decision: Decision, noted: u16) -> Decision {
    if noted & flags::KERNEL != 0 {
        decision.mode = Mode::Observe as u8;
    }
    let observed = decision.mode == Mode::Observe as u8;
    if decision.verdict == verdict::DENY && !(observed && global!(SETTINGS.exec_lsm) == 1) {
        // Nothing refused it, or nothing could have.
        decision.verdict = verdict::KILL;
    }
    if decision.enforces(verdict::KILL) {
        kill();
    }
    decision
}

#[inline(always)]
fn kill() {
    // SAFETY: a helper without pointers; it signals the current process.
    unsafe { bpf_send_signal(SIGKILL) };
}

/// Puts a gathered exec on its ring.
#[inline(always)]
pub fn submit(buffer: &Buffer, decision: &Decision) {
    let record = buffer.record();
    let extra = record.path_len as usize + record.script_len as usize + record.args_len as usize;
    emit(Kind::Exec, decision, buffer.bytes(extra));
}

#[inline(always)]
fn remember(context: &BtfTracePointContext, pid: u32, scratch: &Scratch) {
    // By reference: it is large for the stack.
    let process: &Process = &scratch.process;
    if PROCESSES.insert(pid, process, 0).is_err() {
        warn!(context, "process {} can't be remembered: the table is full", pid);
        stat(Stat::ProcessTableFull);
    }
}

/// A task was made and has not run yet:
/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn fork(context: BtfTracePointContext) -> i32 {
    try_fork(&context, Object::new(context.arg(0)), Object::new(context.arg(1)));
    0
}

#[inline(always)]
fn try_fork(context: &BtfTracePointContext, parent: Object, child: Object) {
    let child_pid: u32 = field!(child, task_tgid);
    let thread: u32 = field!(child, task_pid);
    if thread != child_pid {
        return;
    }
    let pid: u32 = field!(parent, task_tgid);
    let child_start_ns: u64 = field!(child, task_start_boottime);
    let child_ppid: u32 = field!(follow!(child, task_real_parent), task_tgid);
    let maker = entry(pid);
    // A child of a process that isn't known isn't known either: the scan at start must find it.
    if let Some(maker) = &maker
        && maker.exe.ino != 0
        && !beget(maker, child_pid, child_start_ns, child_ppid)
    {
        warn!(context, "process {} can't be remembered: the table is full", child_pid);
        stat(Stat::ProcessTableFull);
    }
    let maker = known_of(maker.as_deref());
    if !in_scope() {
        return;
    }
    count(Kind::Fork, Count::Seen);
    if is_agent(pid) {
        return count(Kind::Fork, Count::OwnDoing);
    }
    emit(
        Kind::Fork,
        &Decision::NONE,
        &Fork {
            header: header(Kind::Fork, &Decision::NONE, 0),
            actor: actor(pid, &maker),
            child_start_ns,
            child_pid,
            child_ppid,
        },
    );
}

/// Enters a child as a copy of its maker; false if there is no room.
#[inline(always)]
fn beget(maker: &Process, child_pid: u32, start_ns: u64, ppid: u32) -> bool {
    if PROCESSES.insert(child_pid, maker, 0).is_err() {
        return false;
    }
    // SAFETY: a live map value; the child doesn't run yet.
    unsafe {
        let (Some(child), Some(masks)) = (PROCESSES.get_ptr_mut(child_pid), masks()) else { return true };
        (*child).is_begotten(masks, &KinTable);
        (*child).start_ns = start_ns;
        (*child).ppid = ppid;
    }
    true
}

/// A thread is ending: `sched_process_exit(struct task_struct *p)`, since 6.16 with `bool group_dead`.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn exit(context: BtfTracePointContext) -> i32 {
    try_exit(Object::new(context.arg(0)));
    0
}

#[inline(always)]
fn try_exit(task: Object) {
    let live: i32 = field!(follow!(task, task_signal), signal_live);
    if live != 0 {
        return;
    }
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    is_gone(pid);
    let process = known(pid);
    // Two last threads may both see that none is left: the one that takes the entry out speaks for both.
    if PROCESSES.remove(pid).is_err() || !in_scope() {
        return;
    }
    count(Kind::Exit, Count::Seen);
    let parent: u32 = field!(follow!(task, task_real_parent), task_tgid);
    if is_agent(parent) && process.exe.key() == agent_exe() {
        return count(Kind::Exit, Count::OwnDoing);
    }
    emit(
        Kind::Exit,
        &Decision::NONE,
        &Exit {
            header: header(Kind::Exit, &Decision::NONE, 0),
            actor: actor(pid, &process),
            status: field!(task, task_exit_code),
            zero: 0,
        },
    );
}
