//! What an executable holds, by SHA-256, such that the answer is true of exactly one version of the file.
//!
//! A version is an [`ExeId`], and the change time in it is what tells versions apart. So a hash belongs to a version only
//! if nothing can change the bytes without moving the change time. What is done for that, in this order:
//!
//! 1. The file's change time is older than the clock it is taken from: a write from now on gives it another one.
//! 2. Nobody has the file open for writing, or mapped for writing (whose later stores would move nothing): the kernel
//!    grants a read lease only then. It is given back at once; who opens the file afterwards moves the change time with
//!    the first write.
//! 3. The file is read, and is still the same version at the end.
//!
//! On some file systems a store through a mapping moves no change time at all (measured: tmpfs), and on overlays the
//! lease doesn't see mappings (measured: Linux 6.18). There a file is believed only if nobody but root may write it. What
//! a server or a process in user space provides is never believed.

mod guard;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::Read as _,
    os::fd::AsFd as _,
    path::Path,
    time::{Duration, Instant},
};

use monitor_common::identity::{ExeId, FileKey};
use sha2::{Digest as _, Sha256};

use super::file::Tree;

/// A SHA-256.
pub type Hash = [u8; 32];

/// Largest file that is read, in bytes.
pub const MAX_SIZE: u64 = 4 << 30;
/// Bytes that one look reads at most, so that other files are looked at, too.
const PER_LOOK: u64 = 64 << 20;
/// Bytes that are read at a time.
const CHUNK: usize = 1 << 20;
/// Most versions whose hashes are remembered.
const KNOWN: usize = 4096;
/// Most files that are being read at a time; each is held open.
const READING: usize = 64;
/// After this time without a look at it, a file that is being read is closed.
const FORGET_AFTER: Duration = Duration::from_secs(30);

/// What is known of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// This version of the file has one of the expected hashes.
    Verified(ExeId),
    /// This version has another one.
    Other(ExeId, Hash),
    /// Not known yet: so many bytes of so many are read. Ask again.
    Reading(u64, u64),
    /// It changed less than a moment ago, or in the future. Ask again.
    TooFresh,
    /// Somebody has it open or mapped for writing. Ask again.
    Busy,
    /// It changed while it was read. Ask again.
    Changed,
    /// It can't be known, for this reason.
    Never(Reason),
    /// It could not be read.
    Failed(rustix::io::Errno),
}

/// Why the content of a file can't be pinned to its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not a regular file.
    Kind,
    /// Larger than [`MAX_SIZE`].
    Size,
    /// A file system whose files change without notice.
    FileSystem,
    /// A file system that gives notice only of some changes, and others than root may write the file.
    Writable,
    /// No leases, so writers can't be found: the file system has none, or `CAP_LEASE` is missing.
    Lease,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verified(_) => f.write_str("its content is the expected one"),
            Self::Other(_, hash) => {
                f.write_str("its SHA-256 is ")?;
                hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str(", not an expected one: restore the file, or put this hash into the policy")
            }
            Self::Reading(read, size) => write!(f, "it is being read ({read} of {size} bytes)"),
            Self::TooFresh => f.write_str(
                "it changed just now, or in the future by this host's clock; it is tried again until that has passed",
            ),
            Self::Busy => {
                f.write_str("somebody has it open or mapped for writing; it is tried again until they let go")
            }
            Self::Changed => f.write_str("it changed while it was read; it is tried again"),
            Self::Never(reason) => reason.fmt(f),
            Self::Failed(error) => write!(f, "it can't be read: {error}"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kind => "it is not a regular file: name an executable",
            Self::Size => "it is larger than 4 GiB, the most that is read: leave out its `sha256`",
            Self::FileSystem => {
                "its file system can change files without notice (it is a network's, or a process provides it), so a \
                 hash says nothing: move the file to a local disk, or leave out its `sha256`"
            }
            Self::Writable => {
                "its file system gives no notice of writes through mappings, and others than root may write the file: \
                 make it root's own (`chown root`, `chmod go-w`), or move it to ext4, XFS, Btrfs or F2FS"
            }
            Self::Lease => {
                "the kernel gives no lease on it, so it can't be told whether somebody is writing it: move the file to \
                 ext4, XFS, Btrfs or F2FS, and give the agent CAP_LEASE"
            }
        })
    }
}

/// Contents of files, each read once per version.
#[derive(Default)]
pub struct Contents {
    known: HashMap<FileKey, (ExeId, Hash)>,
    reading: HashMap<FileKey, Reading>,
}

/// A file that is being read.
struct Reading {
    exe: ExeId,
    file: File,
    hasher: Sha256,
    read: u64,
    asked: Instant,
}

impl Contents {
    /// Looks at the file that a path leads to. Costs as much as finding the file when its version is known already;
    /// otherwise reads a part of it, or the rest.
    pub fn look(&mut self, tree: &Tree, path: &Path, expected: &[Hash]) -> Content {
        self.reading.retain(|_, reading| reading.asked.elapsed() < FORGET_AFTER);
        let exe = match tree.resolve(path) {
            Ok(found) => found.exe,
            Err(error) => return Content::Failed(error),
        };
        let known = self.known.get(&exe.key()).filter(|(version, _)| version.same(&exe));
        match known.map(|(_, hash)| *hash) {
            Some(hash) => judge(exe, hash, expected),
            None => self.read(tree, path, exe).map_or_else(|why| why, |hash| judge(exe, hash, expected)),
        }
    }

    /// Reads on; the hash once all is read.
    fn read(&mut self, tree: &Tree, path: &Path, exe: ExeId) -> Result<Hash, Content> {
        let key = exe.key();
        let mut reading = match self.reading.remove(&key).filter(|reading| reading.exe.same(&exe)) {
            Some(reading) => reading,
            None if self.reading.len() >= READING => return Err(Content::Reading(0, exe.size)),
            None => Reading::start(tree, path, exe)?,
        };
        if !reading.go_on().map_err(failed)? {
            reading.asked = Instant::now();
            let so_far = Content::Reading(reading.read, exe.size);
            self.reading.insert(key, reading);
            return Err(so_far);
        }
        let now = tree.identify(reading.file.as_fd()).map_err(Content::Failed)?.0;
        if !now.same(&exe) || reading.read != exe.size {
            return Err(Content::Changed);
        }
        if self.known.len() >= KNOWN {
            self.known.clear();
        }
        let hash = reading.hasher.finalize().into();
        self.known.insert(key, (exe, hash));
        Ok(hash)
    }
}

impl Reading {
    /// Opens the file, and makes sure that changes of this version will be noticed.
    fn start(tree: &Tree, path: &Path, exe: ExeId) -> Result<Self, Content> {
        let file = match tree.open_regular(path) {
            Ok(Some(file)) => File::from(file),
            Ok(None) => return Err(Content::Never(Reason::Kind)),
            // A writer that holds a lease of its own.
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Content::Busy),
            Err(error) => return Err(Content::Failed(error)),
        };
        if !tree.identify(file.as_fd()).map_err(Content::Failed)?.0.same(&exe) {
            return Err(Content::Changed);
        }
        if exe.size > MAX_SIZE {
            return Err(Content::Never(Reason::Size));
        }
        guard::changes_will_show(file.as_fd(), &exe)?;
        Ok(Self { exe, file, hasher: Sha256::new(), read: 0, asked: Instant::now() })
    }

    /// Reads the next part; whether that was the last.
    fn go_on(&mut self) -> std::io::Result<bool> {
        let until = self.read + PER_LOOK;
        let mut chunk = vec![0; CHUNK];
        while self.read < until {
            let count = match self.file.read(&mut chunk) {
                Ok(0) => return Ok(true),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.hasher.update(&chunk[..count]);
            self.read += count as u64;
            // It grew: the version is another by now, which is found out at the end.
            if self.read > self.exe.size {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn judge(exe: ExeId, hash: Hash, expected: &[Hash]) -> Content {
    if expected.contains(&hash) { Content::Verified(exe) } else { Content::Other(exe, hash) }
}

fn failed(error: std::io::Error) -> Content {
    Content::Failed(rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))
}
