//! Unix sockets of databases, known by the file of the socket that listens, not by what a client calls it.

use aya_ebpf::{helpers::bpf_skc_to_unix_sock, macros::lsm, programs::LsmContext};
use monitor_common::{
    count::Count,
    event::{Kind, unix::Unix},
    identity::ExeId,
    limits,
    policy::{Decision, Membership, NO_RULE, RuleKind, RuleSet, masks::Direction, verdict},
    settings::tag,
};

use crate::{
    database::rules_for,
    emit::{self, count, emit, header},
    executable::{Buffer, Scratch},
    field, follow,
    kernel::Object,
    lsm::EPERM,
    path::{add_globs, keep_path, locate, noted},
    policy,
    subject::{Known, actor, in_scope_still, is_agent, known, masks, pid},
};

/// A stream socket is about to be connected:
/// `unix_stream_connect(struct sock *sock, struct sock *other, struct sock *newsk)`.
#[lsm(hook = "unix_stream_connect")]
pub fn unix_connect(context: LsmContext) -> i32 {
    // VERIFIER: from 6.12 the return value must provably lie in [-4095, 0].
    if refuses_peer(context.arg(1)) { -EPERM } else { 0 }
}

/// A datagram is about to be sent: `unix_may_send(struct socket *sock, struct socket *other)`.
#[lsm(hook = "unix_may_send")]
pub fn unix_send(context: LsmContext) -> i32 {
    let other = follow!(Object::new(context.arg(1)), socket_sk).pointer();
    // VERIFIER: since 6.10 this pointer may be null for what it knows, and no helper takes it before it was compared.
    if !other.is_null() && refuses_peer(other) { -EPERM } else { 0 }
}

/// A file that isn't a regular one is about to be made, a socket's for one:
/// `inode_mknod(struct inode *dir, struct dentry *dentry, umode_t mode, dev_t dev)`.
#[lsm(hook = "inode_mknod")]
pub fn unix_bind(context: LsmContext) -> i32 {
    const S_IFMT: u64 = 0o170_000;
    const S_IFSOCK: u64 = 0o140_000;
    let mode: u64 = context.arg(2);
    if mode & S_IFMT != S_IFSOCK {
        return 0;
    }
    let dir = Object::new(context.arg(0));
    let dev: u32 = field!(follow!(dir, inode_sb), sb_dev);
    if refuses(Object::new(context.arg(1)), dev, Direction::Server) { -EPERM } else { 0 }
}

#[inline(always)]
fn refuses_peer(other: *const u8) -> bool {
    // SAFETY: an argument of the hook; the helper checks what it is.
    let unix = unsafe { bpf_skc_to_unix_sock(other.cast_mut().cast()) };
    if unix.is_null() {
        return false;
    }
    let dentry = follow!(Object::new(unix.cast_const().cast()), unix_dentry);
    if dentry.pointer().is_null() {
        // Without a name, or with one that is no file.
        return false;
    }
    let dev: u32 = field!(follow!(follow!(dentry, dentry_inode), inode_sb), sb_dev);
    refuses(dentry, dev, Direction::Client)
}

#[inline(always)]
fn refuses(dentry: Object, dev: u32, direction: Direction) -> bool {
    let pid = pid();
    if is_agent(pid) || !in_scope_still() {
        return false;
    }
    let Some(mut buffer) = Buffer::take() else { return false };
    let scratch = buffer.scratch();
    scratch.from = limits::PATH as u64;
    locate(dentry, dev, scratch);
    scratch.member = Membership::NONE;
    if noted(scratch) == 0 {
        add_globs(scratch, Some(tag::SOCKET));
    }
    let candidates = candidates(direction, &scratch.member.rules);
    if candidates.is_empty() {
        return false;
    }
    count(Kind::Unix, Count::Seen);
    keep_path(scratch);
    let process = known(pid);
    let decision = policy::decide(rules_for(direction), &candidates, &process.workloads);
    if decision.rule != NO_RULE {
        emit::decided(RuleKind::Database, &decision);
        emit::database(direction, &decision, process.workloads.first());
    }
    tell(scratch, direction, &decision, pid, &process);
    decision.enforces(verdict::DENY)
}

/// The database rules that speak of a socket which `named` name.
#[inline(always)]
pub fn candidates(direction: Direction, named: &RuleSet) -> RuleSet {
    let Some(masks) = masks() else { return RuleSet::EMPTY };
    // Sockets have no address.
    let all = RuleSet { bits: [u64::MAX; limits::RULES / 64] };
    masks.database_candidates(direction, named, &all)
}

/// Puts a record of it on the ring: it is written over the end of the buffer's own, just in front of the path.
#[inline(always)]
fn tell(scratch: &mut Scratch, direction: Direction, decision: &Decision, pid: u32, process: &Known) {
    const BEFORE: usize = size_of::<monitor_common::event::exec::Exec>() - size_of::<Unix>();
    let path_len = scratch.record.path_len;
    let record = Unix {
        header: header(Kind::Unix, decision, 0),
        actor: actor(pid, process),
        direction: direction as u16,
        path_len,
        zero: 0,
    };
    scratch.record.file = ExeId::NONE;
    // SAFETY: the buffer's record is larger than this one, and the tail follows it, which holds the masked number of
    // bytes.
    let bytes = unsafe {
        let at = (&raw mut scratch.record).cast::<u8>().add(BEFORE);
        at.cast::<Unix>().write_unaligned(record);
        core::slice::from_raw_parts(at, size_of::<Unix>() + (path_len as usize & 0x7ff))
    };
    emit(Kind::Unix, decision, bytes);
}
