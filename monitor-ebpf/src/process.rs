//! Exec, fork and exit: keeps the table of processes, judges execs where no LSM program does, and reports.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_send_signal},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use aya_log_ebpf::{debug, warn};
use monitor_common::{
    count::{Count, Stat},
    event::{Kind, exit::Exit, fork::Fork},
    identity::Process,
    policy::{Decision, Mode, RuleKind, verdict},
};

use crate::{
    emit::{self, count, emit, header, stat},
    executable::{self, Buffer},
    field, follow, global,
    kernel::Object,
    maps::{EVENTS, EXEC_RULES, PROCESSES},
    policy,
    subject::{actor, in_scope, is_agent, known},
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
    let parent: u32 = field!(follow!(task, task_real_parent), task_tgid);
    if is_canary(parent, file) {
        kill();
        count(Kind::Exec, Count::Seen);
        count(Kind::Exec, Count::Canary);
        return;
    }
    let mut before = known(pid);
    before.start_ns = field!(task, task_start_boottime);
    before.ppid = parent;
    let Some(mut buffer) = Buffer::take() else {
        // Without a buffer the path is unknown; the identity isn't.
        warn!(context, "exec of process {}: all scratch buffers are in use", pid);
        remember(
            context,
            pid,
            &Process { exe: executable::identity(file), workloads: NOBODY, flags: 0, ..before },
        );
        if in_scope() {
            count(Kind::Exec, Count::Seen);
            count(Kind::Exec, Count::NoScratch);
        }
        return;
    };
    let scratch = buffer.scratch();
    let member = executable::gather(file, scratch);
    remember(
        context,
        pid,
        &Process { exe: scratch.record.file, workloads: member.workloads, flags: 0, ..before },
    );
    if !in_scope() {
        return;
    }
    debug!(
        context,
        "exec of process {}: inode {}, flags {}", pid, scratch.record.file.ino, scratch.record.header.flags
    );
    count(Kind::Exec, Count::Seen);
    let decision = stop(policy::decide(&EXEC_RULES, &member.exec_rules, &before.workloads));
    emit::decided(RuleKind::Exec, &decision);
    let noted = scratch.record.header.flags;
    scratch.record.header = header(Kind::Exec, &decision, noted);
    scratch.record.actor = actor(pid, &before);
    scratch.record.workloads = member.workloads;
    executable::keep_script(bprm, scratch);
    executable::keep_args(task, scratch);
    submit(&buffer);
}

const NOBODY: monitor_common::policy::WorkloadSet = monitor_common::policy::WorkloadSet::EMPTY;

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
fn stop(mut decision: Decision) -> Decision {
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

/// Puts a gathered exec on the ring.
#[inline(always)]
pub fn submit(buffer: &Buffer) {
    let record = buffer.record();
    let extra = record.path_len as usize + record.script_len as usize + record.args_len as usize;
    let done = EVENTS.output::<[u8]>(buffer.bytes(extra), 0).is_ok();
    emit::submitted(Kind::Exec, done);
}

#[inline(always)]
fn remember(context: &BtfTracePointContext, pid: u32, process: &Process) {
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
    let maker = known(pid);
    let process = Process {
        start_ns: field!(child, task_start_boottime),
        ppid: field!(follow!(child, task_real_parent), task_tgid),
        ..maker
    };
    // A child of a process that isn't known isn't known either: the scan at start must find it.
    if maker.exe.ino != 0 {
        remember(context, child_pid, &process);
    }
    if !in_scope() {
        return;
    }
    count(Kind::Fork, Count::Seen);
    if is_agent(pid) {
        return count(Kind::Fork, Count::OwnDoing);
    }
    emit(
        Kind::Fork,
        &Fork {
            header: header(Kind::Fork, &Decision::NONE, 0),
            actor: actor(pid, &maker),
            child_start_ns: process.start_ns,
            child_pid,
            child_ppid: process.ppid,
        },
    );
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
        &Exit {
            header: header(Kind::Exit, &Decision::NONE, 0),
            actor: actor(pid, &process),
            status: field!(task, task_exit_code),
            zero: 0,
        },
    );
}
