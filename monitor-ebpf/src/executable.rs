//! The file that is being executed: its identity, where it really lies, and what policy says of it.

use aya_ebpf::helpers::{
    bpf_get_smp_processor_id,
    generated::{bpf_probe_read_kernel_str, bpf_probe_read_user},
};
use core::intrinsics::{AtomicOrdering, atomic_cxchg};
use monitor_common::{
    count::Stat,
    event::exec::{Exec, flags},
    glob::START,
    identity::{ExeId, Process},
    limits,
    policy::{Membership, RuleSet, WorkloadSet},
    settings::{class, tag},
    verifier::opaque,
};

use crate::{
    emit::stat,
    field, follow,
    kernel::Object,
    maps::{CLASSES, FILES, SCRATCH},
    path::{add_globs, end_of, globs, keep_path, locate, note, noted, walk},
};

/// Bytes behind the usable part of a buffer, so that a masked offset plus a masked length stays inside.
const SLACK: usize = 256;
/// Masks an offset into the path buffer.
pub const PATH_MASK: usize = limits::PATH - 1;
/// Room for path, script and arguments, and slack for masked offsets (2047) and lengths (2047).
const TAIL: usize = 4096;
pub const TAIL_MASK: usize = 2047;
/// Longest name of a directory entry.
pub const NAME: usize = 255;

/// Where an exec is gathered. It belongs to whoever took it: another that pre-empts it in the middle of the program
/// takes the next one of its CPU.
#[repr(C)]
pub struct Scratch {
    /// 1 while somebody has it.
    taken: u64,
    /// The record as it goes to the ring, up to `tail`.
    pub record: Exec,
    /// Path, script and arguments, one behind the other.
    pub tail: [u8; TAIL],
    /// What policy says of the file.
    pub member: Membership,
    /// What policy says of the script that the file interprets.
    pub script: Script,
    /// Exec rules whose condition on arguments was seen to hold.
    pub met: RuleSet,
    /// The process as it will be remembered.
    pub process: Process,
    /// Where the path begins.
    pub from: u64,
    /// The path as it grows, from the end towards the beginning.
    pub path: [u8; limits::PATH + SLACK],
}

/// The scripts that lead to a program, as security hooks saw them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Script {
    /// The file of the first one; [`ExeId::NONE`] if there is none.
    pub file: ExeId,
    /// The exec rules that speak of one of them.
    pub candidates: RuleSet,
    /// The workloads that name one of them.
    pub workloads: WorkloadSet,
}

impl Script {
    /// No script.
    pub const NONE: Self =
        Self { file: ExeId::NONE, candidates: RuleSet::EMPTY, workloads: WorkloadSet::EMPTY };
}

/// A scratch buffer that is given back when it goes out of scope.
pub struct Buffer {
    scratch: *mut Scratch,
}

impl Buffer {
    /// One of the current CPU's buffers, blank but for the bytes behind the record; `None` if all are in use.
    #[inline(always)]
    pub fn take() -> Option<Self> {
        // SAFETY: a helper without arguments.
        let first = unsafe { bpf_get_smp_processor_id() } * limits::SCRATCH_PER_CPU;
        let mut next = 0;
        while next < limits::SCRATCH_PER_CPU {
            let scratch = SCRATCH.get_ptr_mut(first + next)?;
            // SAFETY: a live map value. SeqCst, because a weaker order gives a wrong result on this target.
            let (_, done) = unsafe {
                atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
                    &raw mut (*scratch).taken,
                    0,
                    1,
                )
            };
            if done {
                let mut buffer = Self { scratch };
                buffer.clear();
                return Some(buffer);
            }
            next += 1;
        }
        None
    }

    #[inline(always)]
    fn clear(&mut self) {
        let scratch = self.scratch();
        // SAFETY: integers and byte arrays, of which zero is one.
        scratch.record = unsafe { core::mem::zeroed() };
        scratch.member = Membership::NONE;
        scratch.script = Script::NONE;
        scratch.met = RuleSet::EMPTY;
        scratch.process = Process::NONE;
    }

    /// Its content.
    #[inline(always)]
    pub fn scratch(&mut self) -> &mut Scratch {
        // SAFETY: a live map value that nobody else uses until it is given back on drop.
        unsafe { &mut *self.scratch }
    }

    /// The record as gathered so far.
    #[inline(always)]
    pub fn record(&self) -> &Exec {
        // SAFETY: as in `scratch`.
        unsafe { &(*self.scratch).record }
    }

    /// The record with `extra` bytes of tail, as they go to the ring.
    #[inline(always)]
    pub fn bytes(&self, extra: usize) -> &[u8] {
        // SAFETY: the record is followed by the tail, which holds the masked number of bytes.
        unsafe {
            let record = &raw const (*self.scratch).record;
            core::slice::from_raw_parts(record.cast(), size_of::<Exec>() + (extra & 0xfff))
        }
    }
}

impl Drop for Buffer {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: a live map value that is ours.
        unsafe { (&raw mut (*self.scratch).taken).write_volatile(0) };
    }
}

/// The identity of an open file.
#[inline(always)]
pub fn identity(file: Object) -> ExeId {
    let inode = follow!(file, file_inode);
    // From 6.13 the kernel keeps a mark of its own above the nanoseconds (I_CTIME_QUERIED, include/linux/fs.h).
    let ctime_ns: u32 = field!(inode, inode_ctime_ns);
    ExeId {
        ino: field!(inode, inode_ino),
        size: field!(inode, inode_size),
        ctime_s: field!(inode, inode_ctime_s),
        ctime_ns: ctime_ns & 0x3fff_ffff,
        dev: field!(follow!(inode, inode_sb), sb_dev),
    }
}

/// Whether the file has no name any more.
#[inline(always)]
fn is_deleted(file: Object) -> bool {
    let links: u32 = field!(follow!(file, file_inode), inode_nlink);
    links == 0
}

/// Gathers what there is to know of the file into the buffer, and what policy says of it into `member`.
///
/// VERIFIER: what one step finds out, the next reads from the buffer rather than from a register: memory of a map is
/// unknown to it, so all the ways through a step are one state after it.
#[inline(always)]
pub fn gather(file: Object, scratch: &mut Scratch) {
    let id = identity(file);
    scratch.record.file = id;
    scratch.from = limits::PATH as u64;
    locate(follow!(file, file_dentry), id.dev, scratch);
    weigh(scratch, &id, || is_deleted(file));
    keep_path(scratch);
}

/// Finds what policy says of a file with this identity, from its path and what was noted of it.
#[inline(always)]
pub fn weigh(scratch: &mut Scratch, id: &ExeId, is_deleted: impl FnOnce() -> bool) {
    scratch.member = Membership::NONE;
    let noted = noted(scratch);
    if noted & flags::PATH_TRUNCATED != 0 {
        add_class(class::OVERLONG, scratch);
    } else if noted & flags::MEMFD != 0 {
        add_class(class::MEMFD, scratch);
    } else if noted & flags::UNPLACED != 0 {
        add_class(class::UNPLACED, scratch);
    } else {
        add_globs(scratch, None);
    }
    if noted & flags::MEMFD == 0 && is_deleted() {
        note(scratch, flags::DELETED);
        add_class(class::DELETED, scratch);
    }
    // SAFETY: entries change as a whole, by the agent.
    if let Some(entry) = unsafe { FILES.get(id.key()) } {
        // A rule that names the file holds for every version of it; who belongs to a workload must be the very
        // version that was resolved.
        scratch.member.rules.add(&entry.member.rules);
        if entry.exe.same(id) {
            scratch.member.workloads.add(&entry.member.workloads);
            if !entry.unverified.is_empty() {
                note(scratch, flags::UNVERIFIED);
                stat(Stat::UnverifiedFile);
            }
        } else {
            note(scratch, flags::STALE);
            stat(Stat::StaleFile);
        }
    }
    if scratch.member.flags & Membership::LOADER != 0 {
        note(scratch, flags::LOADER);
    }
}

/// Finds the rules whose condition on arguments holds, with the arguments where [`keep_args`] put them.
#[inline(always)]
pub fn judge_args(scratch: &mut Scratch) {
    let Some(globs) = globs() else { return };
    let at = scratch.record.path_len as usize + scratch.record.script_len as usize;
    let len = scratch.record.args_len as usize;
    let start = globs.step(START, tag::ARGUMENTS);
    let state = walk(globs, start, limits::ARGS, |step| {
        (step < len).then(|| scratch.tail[opaque(at + step) & (TAIL - 1)])
    });
    if let Some(end) = end_of(state) {
        scratch.met = end.rules;
    }
}

#[inline(always)]
fn add_class(index: u32, scratch: &mut Scratch) {
    if let Some(class) = CLASSES.get(index) {
        scratch.member.add(class);
    }
}

/// Appends the name a script was started by, if it is one.
#[inline(always)]
pub fn keep_script(bprm: Object, scratch: &mut Scratch) {
    let filename: *const u8 = field!(bprm, bprm_filename);
    let interp: *const u8 = field!(bprm, bprm_interp);
    if filename == interp {
        return;
    }
    let at = scratch.record.path_len as usize & TAIL_MASK;
    // SAFETY: a masked offset plus the constant length is inside the tail.
    let len = unsafe {
        let to = scratch.tail.as_mut_ptr().add(at);
        bpf_probe_read_kernel_str(to.cast(), limits::SCRIPT as u32, filename.cast())
    };
    // The length counts the ending zero byte.
    if len > 1 && len as usize <= limits::SCRIPT {
        scratch.record.script_len = len as u16 - 1;
    }
}

/// Appends the arguments, which the kernel has just written to the new program's memory.
#[inline(always)]
pub fn keep_args(task: Object, scratch: &mut Scratch) {
    let mm = follow!(task, task_mm);
    let start: u64 = field!(mm, mm_arg_start);
    let end: u64 = field!(mm, mm_arg_end);
    let mut len = end.wrapping_sub(start) as usize;
    if end <= start {
        return;
    }
    if len > limits::ARGS {
        len = limits::ARGS;
        scratch.record.header.flags |= flags::ARGS_TRUNCATED;
    }
    let at = (scratch.record.path_len as usize + scratch.record.script_len as usize) & TAIL_MASK;
    // SAFETY: a masked offset plus a masked length is inside the tail.
    let code = unsafe {
        let to = scratch.tail.as_mut_ptr().add(at);
        bpf_probe_read_user(to.cast(), (len & TAIL_MASK) as u32, start as *const _)
    };
    if code == 0 {
        scratch.record.args_len = len as u16;
    } else {
        scratch.record.header.flags |= flags::NO_ARGS | flags::ARGS_TRUNCATED;
    }
}
