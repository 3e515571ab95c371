//! Whether every change of a file from now on will show in its identity.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use monitor_common::identity::ExeId;
use rustix::{io::Errno, time::ClockId};

use super::{Content, Reason};

/// How far a file system can be relied on to move the change time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// With every write and with the first store into each page that is mapped for writing; or it is never written to.
    Full,
    /// With every write, but not with every store into a mapping.
    Writes,
    /// Not at all.
    None,
}

/// By the number of the kind of file system (the kernel's `include/uapi/linux/magic.h`, and the sources of those outside).
const KINDS: [(u32, Trust); 12] = [
    (0xef53, Trust::Full),        // ext2, ext3, ext4
    (0x5846_5342, Trust::Full),   // XFS
    (0x9123_683e, Trust::Full),   // Btrfs
    (0xf2f5_2010, Trust::Full),   // F2FS
    (0x7371_7368, Trust::Full),   // SquashFS: read only
    (0xe0f5_e1e2, Trust::Full),   // EROFS: read only
    (0x9660, Trust::Full),        // ISO 9660: read only
    (0x0102_1994, Trust::Writes), // tmpfs
    (0x8584_58f6, Trust::Writes), // ramfs
    (0x794c_7630, Trust::Writes), // overlay
    (0x2fc1_2fc1, Trust::Writes), // ZFS: with the write-back of a mapping, later
    (0xca45_1a4e, Trust::Writes), // bcachefs
];

/// `F_SETSIG` in the kernel's `include/uapi/asm-generic/fcntl.h`; libc doesn't have it.
const F_SETSIG: libc::c_int = 10;

pub(super) fn trust(kind: u32) -> Trust {
    KINDS.iter().find(|(known, _)| *known == kind).map_or(Trust::None, |(_, trust)| *trust)
}

/// Makes sure that who changes the file moves its change time, or says why not.
pub(super) fn changes_will_show(file: BorrowedFd<'_>, exe: &ExeId) -> Result<(), Content> {
    let kind = rustix::fs::fstatfs(file).map_err(Content::Failed)?.f_type as u32;
    match trust(kind) {
        Trust::Full => {}
        Trust::Writes => {
            let stat = rustix::fs::fstat(file).map_err(Content::Failed)?;
            // Of an access list, these bits are the most that it can grant.
            if stat.st_uid != 0 || stat.st_mode & 0o022 != 0 {
                return Err(Content::Never(Reason::Writable));
            }
        }
        Trust::None => return Err(Content::Never(Reason::FileSystem)),
    }
    // The clock that change times are taken from; it advances with the timer's tick.
    let now = rustix::time::clock_gettime(ClockId::RealtimeCoarse);
    if !is_settled(exe, now.tv_sec, now.tv_nsec) {
        return Err(Content::TooFresh);
    }
    nobody_writes(file)
}

/// Whether a change at this time, or later, gets another change time than the file has.
pub(super) fn is_settled(exe: &ExeId, now_s: i64, now_ns: i64) -> bool {
    // Old ext4 file systems with small inodes keep whole seconds. A tick takes at most 10 ms; the rest is slack.
    let margin_ns: i128 = if exe.ctime_ns == 0 { 2_000_000_000 } else { 50_000_000 };
    let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
    ns(now_s, now_ns) - ns(exe.ctime_s, i64::from(exe.ctime_ns)) >= margin_ns
}

/// Asks for a read lease and gives it back: the kernel grants it only if nobody has the file open for writing, which a
/// mapping for writing counts as.
fn nobody_writes(file: BorrowedFd<'_>) -> Result<(), Content> {
    let set = |command, argument: libc::c_int| {
        // SAFETY: an open descriptor, and commands that take an integer.
        let code = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
        if code < 0 { Err(Errno::from_io_error(&std::io::Error::last_os_error())) } else { Ok(()) }
    };
    // Should somebody open the file for writing in between, the kernel tells us by a signal: one that is ignored, instead
    // of the usual one, which ends the process.
    let leased = set(F_SETSIG, libc::SIGURG).and_then(|()| set(libc::F_SETLEASE, libc::F_RDLCK));
    // The lease also ends with the descriptor.
    let given_back = leased.and_then(|()| set(libc::F_SETLEASE, libc::F_UNLCK));
    match given_back {
        Ok(()) => Ok(()),
        Err(Some(Errno::AGAIN)) => Err(Content::Busy),
        Err(_) => Err(Content::Never(Reason::Lease)),
    }
}
