//! Where the file that is being executed really lies: its path in the host's tree, and the globs that match it.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use monitor_common::{
    event::exec::flags,
    glob::{DEAD, START},
    identity::FileKey,
    limits,
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

/// Writes the path of the file in the host's tree to the end of the path buffer.
///
/// Goes up directory entries only, never mounts: what somebody mounts over a path doesn't move the file. At the root
/// of a file system that the host's tree has, its mount point is put in front.
#[inline(always)]
pub fn locate(file: Object, dev: u32, scratch: &mut Scratch) {
    let mut dentry = follow!(file, file_dentry);
    let mut depth = 0;
    while depth < limits::PATH_DEPTH {
        let inode = follow!(dentry, dentry_inode);
        let key = FileKey { ino: field!(inode, inode_ino), dev, zero: 0 };
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
        if !prepend(scratch, name, len as usize & NAME) || !prepend(scratch, c"/".as_ptr().cast(), 1) {
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

/// Walks the automaton along the path.
#[inline(always)]
pub fn add_globs(scratch: &mut Scratch) {
    let Some(globs) = GLOBS.get(0) else { return };
    if globs.states == 0 {
        return;
    }
    let from = from(scratch);
    let mut state = START;
    let mut step = 0;
    while step < limits::PATH {
        let index = from + step;
        if index >= limits::PATH || state == DEAD {
            break;
        }
        state = globs.step(state, scratch.path[opaque(index) & PATH_MASK]);
        step += 1;
    }
    if let Some(end) = GLOB_ENDS.get(u32::from(state)) {
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
