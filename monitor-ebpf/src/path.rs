//! Where the file that is being executed really lies: its path in the host's tree, and the globs that match it.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use monitor_common::{
    event::exec::flags,
    glob::{Automaton, DEAD, START},
    identity::FileKey,
    limits,
    policy::Membership,
    verifier::opaque,
};

use crate::{
    executable::{NAME, PATH_MASK, Scratch, TAIL_MASK},
    field, follow,
    kernel::Object,
    maps::{GLOB_ENDS, GLOBS, MOUNTS},
};

/// Flags of the file so far.
#[inline(always)]
pub fn noted(scratch: &Scratch) -> u16 {
    // SAFETY: a field of a live reference; volatile, so that it is read from memory.
    unsafe { core::ptr::read_volatile(&raw const scratch.record.header.flags) }
}

#[inline(always)]
pub fn note(scratch: &mut Scratch, flag: u16) {
    let flags = noted(scratch) | flag;
    // SAFETY: as in `noted`.
    unsafe { core::ptr::write_volatile(&raw mut scratch.record.header.flags, flags) };
}

/// Where the path begins in the path buffer.
#[inline(always)]
fn from(scratch: &Scratch) -> usize {
    // SAFETY: as in `noted`.
    unsafe { core::ptr::read_volatile(&raw const scratch.from) as usize }
}

/// Writes the path of a directory entry in the host's tree to the end of the path buffer. `dev` is the device of its
/// file system.
///
/// Goes up directory entries only, never mounts: what somebody mounts over a path doesn't move the file. At the root
/// of a file system that the host's tree has, its mount point is put in front.
#[inline(always)]
pub fn locate(mut dentry: Object, dev: u32, scratch: &mut Scratch) {
    let mut depth = 0;
    while depth < limits::PATH_DEPTH {
        let inode = follow!(dentry, dentry_inode);
        // VERIFIER: since 6.18 it may be null for what it knows. It is, for an entry that is about to be made.
        let ino = if inode.pointer().is_null() { 0 } else { field!(inode, inode_ino) };
        let key = FileKey { ino, dev, zero: 0 };
        // SAFETY: entries change as a whole, by the agent.
        if let Some(mount) = unsafe { MOUNTS.get(key) } {
            if !prepend(scratch, mount.path.as_ptr(), mount.len as usize & NAME) {
                break;
            }
            return;
        }
        let parent = follow!(dentry, dentry_parent);
        let len: u32 = field!(dentry, dentry_name_len);
        let name: *const u8 = field!(dentry, dentry_name);
        if parent.pointer() == dentry.pointer() {
            if depth > 0 {
                return note(scratch, flags::UNPLACED);
            }
            // In no directory at all: one of `memfd_create`. It has a name all the same.
            note(scratch, flags::MEMFD);
            prepend(scratch, name, len as usize & NAME);
            return;
        }
        if !prepend(scratch, name, len as usize & NAME) || !prepend_slash(scratch) {
            break;
        }
        dentry = parent;
        depth += 1;
    }
    note(scratch, flags::PATH_TRUNCATED);
}

/// Puts `len` bytes in front of the path; false when there is no room.
#[inline(always)]
fn prepend(scratch: &mut Scratch, bytes: *const u8, len: usize) -> bool {
    let at = from(scratch);
    if len > at {
        return false;
    }
    let start = at - len;
    // SAFETY: the masked start plus the masked length is within the buffer and its slack.
    let code = unsafe {
        core::ptr::write_volatile(&raw mut scratch.from, start as u64);
        let to = scratch.path.as_mut_ptr().add(opaque(start) & PATH_MASK);
        bpf_probe_read_kernel(to.cast(), (len & NAME) as u32, bytes.cast())
    };
    code == 0
}

/// Puts a slash in front of the path; false when there is no room.
#[inline(always)]
fn prepend_slash(scratch: &mut Scratch) -> bool {
    let at = from(scratch);
    if at == 0 {
        return false;
    }
    let start = at - 1;
    // SAFETY: as in `noted`.
    unsafe { core::ptr::write_volatile(&raw mut scratch.from, start as u64) };
    scratch.path[opaque(start) & PATH_MASK] = b'/';
    true
}

/// The automaton of all globs, if the policy has any.
#[inline(always)]
pub fn globs() -> Option<&'static Automaton> {
    GLOBS.get(0).filter(|globs| globs.states != 0)
}

/// What a text stands for that ends in a state of the automaton.
#[inline(always)]
pub fn end_of(state: u16) -> Option<&'static Membership> {
    GLOB_ENDS.get(u32::from(state))
}

/// Walks the automaton along `byte(0)`, `byte(1)` and so on to the first none.
#[inline(always)]
pub fn walk(globs: &Automaton, mut state: u16, most: usize, byte: impl Fn(usize) -> Option<u8>) -> u16 {
    let mut step = 0;
    while step < most {
        if state == DEAD {
            break;
        }
        let Some(byte) = byte(step) else { break };
        state = globs.step(state, byte);
        step += 1;
    }
    state
}

/// What the globs of the policy say of the path, as the path of what `tag` says; without, of a file.
#[inline(always)]
pub fn add_globs(scratch: &mut Scratch, tag: Option<u8>) {
    let Some(globs) = globs() else { return };
    let from = from(scratch);
    let start = match tag {
        Some(tag) => globs.step(START, tag),
        None => START,
    };
    let state = walk(globs, start, limits::PATH, |step| {
        let index = from + step;
        (index < limits::PATH).then(|| scratch.path[opaque(index) & PATH_MASK])
    });
    if let Some(end) = end_of(state) {
        scratch.member.add(end);
    }
}

/// Copies the path to the tail of the record.
#[inline(always)]
pub fn keep_path(scratch: &mut Scratch) {
    let from = from(scratch);
    let len = (limits::PATH.wrapping_sub(from)) & TAIL_MASK;
    if len == 0 || len > limits::PATH {
        return;
    }
    // SAFETY: `len` bytes from `from` are inside the buffer: the kernel checks it as memory of its own.
    let code = unsafe {
        let path = scratch.path.as_ptr().add(opaque(from) & PATH_MASK);
        bpf_probe_read_kernel(scratch.tail.as_mut_ptr().cast(), len as u32, path.cast())
    };
    if code == 0 {
        scratch.record.path_len = len as u16;
    }
}
