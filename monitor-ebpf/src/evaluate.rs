//! Answers questions: the decisions of the hooks, over requests that nobody made.
//!
//! Attached nowhere. `monitor explain --kernel` runs them (`BPF_PROG_TEST_RUN`) with a [`Question`] as the packet, over which it
//! writes the [`Answer`]. Everything that a hook asks the kernel is in the question; from there on it is the code of the hooks.

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_PASS},
    helpers::generated::{bpf_probe_read_kernel, bpf_xdp_load_bytes, bpf_xdp_store_bytes},
    macros::xdp,
    programs::XdpContext,
};
use monitor_common::{
    event::exec::flags,
    identity::ExeId,
    limits,
    policy::{Decision, Membership, WorkloadSet, masks::Direction},
    question::{Answer, Question, kind},
    settings::tag,
};

use crate::{
    cgroup, database,
    executable::{Buffer, Scratch, weigh},
    global,
    maps::{DATABASE_PORTS, QUESTION, SCRIPTS},
    path::add_globs,
    policy::{self, by_port},
    process::{add_script, become_the_program, judge, judge_file, take_script},
    raw,
    subject::{KinTable, Known, masks, put},
    unix,
};

/// A question and its answer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Asked {
    question: Question,
    answer: Answer,
}

/// In place of a process' number in [`SCRIPTS`]: this one executes nothing.
const NO_PROCESS: u64 = 0;

/// Answers a question about a database.
///
/// VERIFIER: a program of its own, because it walks each way of deciding on its own, and those of all questions together come
/// near to what it is willing to walk.
#[xdp]
pub fn ask_database(context: XdpContext) -> u32 {
    evaluate(&context, |question, scratch| match question.kind {
        kind::SOURCE => of_packet(question),
        _ => of_process(question, scratch, |by, scratch| of_database(question, scratch, &by.workloads)),
    })
}

/// Answers any other question.
#[xdp]
pub fn ask(context: XdpContext) -> u32 {
    evaluate(&context, |question, scratch| {
        if question.kind == kind::CGROUP_MADE {
            copy(&question.path, &mut scratch.path);
            cgroup::enter(scratch, question.path_from as usize, question.cgroups[0]);
            return Decision::NONE;
        }
        of_process(question, scratch, |by, scratch| match question.kind {
            kind::EXEC | kind::FILE => of_exec(question, scratch, by),
            _ => raw::decide(&by.workloads),
        })
    })
}

#[inline(always)]
fn evaluate(context: &XdpContext, decide: impl FnOnce(&Question, &mut Scratch) -> Decision) -> u32 {
    let Some(asked) = QUESTION.get_ptr_mut(0) else { return XDP_ABORTED };
    // SAFETY: a live map value of this CPU, which nothing else uses before the program has ended; the helpers check the rest.
    let asked = unsafe {
        let to = (&raw mut (*asked).question).cast();
        if bpf_xdp_load_bytes(context.ctx, 0, to, size_of::<Question>() as u32) != 0 {
            return XDP_ABORTED;
        }
        &mut *asked
    };
    let Some(mut buffer) = Buffer::take() else { return XDP_ABORTED };
    let decision = decide(&asked.question, buffer.scratch());
    asked.answer = Answer {
        workloads: buffer.scratch().process.workloads,
        rule: decision.rule,
        verdict: decision.verdict,
        mode: decision.mode,
        done: 1,
    };
    // SAFETY: as above.
    let code = unsafe {
        let from = (&raw mut asked.answer).cast();
        bpf_xdp_store_bytes(context.ctx, 0, from, size_of::<Answer>() as u32)
    };
    if code == 0 { XDP_PASS } else { XDP_ABORTED }
}

/// Decides about what a process asks for, if the policy speaks of it.
#[inline(always)]
fn of_process(
    question: &Question,
    scratch: &mut Scratch,
    decide: impl FnOnce(&Known, &mut Scratch) -> Decision,
) -> Decision {
    subject(question, scratch);
    let by = Known::of(&scratch.process);
    if !question.is_in_scope(global!(SETTINGS.scope_cgroup), global!(SETTINGS.scope_level)) {
        return Decision::NONE;
    }
    decide(&by, scratch)
}

#[inline(always)]
fn of_packet(question: &Question) -> Decision {
    let Some(masks) = masks() else { return Decision::NONE };
    let by_port = by_port(&DATABASE_PORTS, question.to.protocol, question.to.port);
    let to = (question.has_address != 0).then_some(question.to.addr);
    database::decide_source(masks, &by_port, to, question.from)
}

/// The process that asks, into the buffer.
#[inline(always)]
fn subject(question: &Question, scratch: &mut Scratch) {
    const LAST: usize = limits::CGROUP_DEPTH as usize - 1;
    let Some(masks) = masks() else { return };
    question.beget(&mut scratch.process, masks, &KinTable);
    file(scratch, &question.exe, question.exe_notes, question.exe_from, &question.exe_path);
    become_the_program(scratch);
    put(&mut scratch.process, question.uid, question.gid, |level| question.cgroups[level as usize & LAST]);
}

/// What policy says of a file, into the buffer.
#[inline(always)]
fn file(scratch: &mut Scratch, id: &ExeId, notes: u16, from: u16, path: &[u8; limits::PATH]) {
    copy(path, &mut scratch.path);
    scratch.from = u64::from(from);
    scratch.record.file = *id;
    scratch.record.header.flags = notes;
    weigh(scratch, id, || notes & flags::DELETED != 0);
}

#[inline(always)]
fn of_exec(question: &Question, scratch: &mut Scratch, by: &Known) -> Decision {
    let cut = if question.args_cut != 0 { flags::ARGS_TRUNCATED } else { 0 };
    file(scratch, &question.file, question.file_notes | cut, question.path_from, &question.path);
    if question.kind == kind::FILE {
        if question.has_script == 0 {
            let _ = SCRIPTS.remove(NO_PROCESS);
        }
        add_script(scratch, NO_PROCESS);
        return judge_file(scratch, by);
    }
    if question.has_script == 1 {
        take_script(scratch, NO_PROCESS);
    }
    copy(&question.args, &mut scratch.tail);
    scratch.record.args_len = question.args_len;
    judge(scratch, by)
}

#[inline(always)]
fn of_database(question: &Question, scratch: &mut Scratch, workloads: &WorkloadSet) -> Decision {
    let serves = matches!(question.kind, kind::BIND | kind::UNIX_BIND);
    let direction = if serves { Direction::Server } else { Direction::Client };
    let candidates = if matches!(question.kind, kind::UNIX_CONNECT | kind::UNIX_BIND) {
        copy(&question.path, &mut scratch.path);
        scratch.from = u64::from(question.path_from);
        scratch.member = Membership::NONE;
        add_globs(scratch, Some(tag::SOCKET));
        unix::candidates(direction, &scratch.member.rules)
    } else {
        database::candidates(direction, &question.to, &database::with_port(direction, &question.to))
    };
    // VERIFIER: the candidates go through the buffer, so that there is one state to decide from, whichever they are.
    // SAFETY: a field of a live reference; volatile, so that it is written and read.
    let candidates = unsafe {
        (&raw mut scratch.met).write_volatile(candidates);
        (&raw const scratch.met).read_volatile()
    };
    policy::decide(database::rules_for(direction), &candidates, workloads)
}

/// Copies a text to the beginning of a buffer.
#[inline(always)]
fn copy<const N: usize, const M: usize>(from: &[u8; N], to: &mut [u8; M]) {
    const { assert!(N <= M) };
    // SAFETY: both are live, and the target is the larger one. A loop would be walked by the verifier, byte by byte.
    unsafe { bpf_probe_read_kernel(to.as_mut_ptr().cast(), N as u32, from.as_ptr().cast()) };
}
