//! Processes that are older than the agent.

use std::fs;

use bytes::Bytes;
use monitor_common::identity::{Process, SCANNED};
use procfs::process::Process as Proc;

use super::file::Tree;
use crate::event::{Program, Text};

/// A process as `/proc` shows it.
pub struct Found {
    /// Its id.
    pub pid: u32,
    /// For the kernel's table; what policy says of it isn't in it yet.
    pub process: Process,
    /// Real user and group.
    pub ids: (u32, u32),
    /// Path of its cgroup below the mount of the version 2 tree.
    pub cgroup: Vec<u8>,
    /// What it runs.
    pub program: Program,
    /// Path of the executable in the host's tree, for globs; none if it lies elsewhere.
    pub host_path: Option<Vec<u8>>,
}

/// Ids of all processes.
pub fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// What `/proc` says of a process; none if it is gone or a thread of the kernel (which runs no file).
pub fn read(tree: &Tree, pid: u32) -> Option<Found> {
    let proc = Proc::new(pid as i32).ok()?;
    let stat = proc.stat().ok()?;
    let (exe, mut path) = tree.running(pid).ok()?;
    let mut notes = Vec::new();
    const DELETED: &[u8] = b" (deleted)";
    if path.ends_with(DELETED) {
        path.truncate(path.len() - DELETED.len());
        notes.push(if path.starts_with(b"/memfd:") { "memfd" } else { "deleted" });
    }
    // Whoever sees other mounts than the host may call any file by any path.
    let placed = notes.is_empty() && same_mounts(pid);
    if !placed && notes.is_empty() {
        notes.push("unplaced");
    }
    let args = arguments(pid);
    let status = proc.status().ok()?;
    Some(Found {
        pid,
        host_path: placed.then(|| path.clone()),
        ids: (status.ruid, status.rgid),
        cgroup: cgroup(pid).unwrap_or_else(|| b"/".to_vec()),
        process: Process {
            exe,
            start_ns: stat.starttime * tick_ns(),
            ppid: stat.ppid as u32,
            flags: SCANNED,
            ..Process::NONE
        },
        program: Program { path: Text::new(path), args: args.0, args_truncated: args.1, script: None, notes },
    })
}

/// Start time of a process in nanoseconds since boot, in steps of a clock tick; none if it is gone.
pub fn start_ns(pid: u32) -> Option<u64> {
    let stat = Proc::new(pid as i32).ok()?.stat().ok()?;
    Some(stat.starttime * tick_ns())
}

/// The steps of start times in `/proc`, nanoseconds.
#[must_use]
pub fn tick_ns() -> u64 {
    1_000_000_000 / procfs::ticks_per_second().max(1)
}

/// Whether a process is in a cgroup, given by its path below the mount, or below it.
#[must_use]
pub fn is_below(pid: u32, scope: &str) -> bool {
    let scope = scope.trim_end_matches('/').as_bytes();
    cgroup(pid)
        .is_some_and(|path| path.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest[0] == b'/'))
}

/// The name of a process' first thread, padded with zero bytes; zeros if it is gone.
#[must_use]
pub fn comm(pid: u32) -> [u8; 16] {
    let mut comm = [0; 16];
    let read = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = read.strip_suffix(b"\n").unwrap_or(&read);
    comm.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
    comm
}

/// The path of a process' cgroup in the version 2 tree, which is the hierarchy with the number 0.
fn cgroup(pid: u32) -> Option<Vec<u8>> {
    let groups = fs::read(format!("/proc/{pid}/cgroup")).ok()?;
    let line = groups.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::"))?;
    Some(line.to_vec())
}

fn same_mounts(pid: u32) -> bool {
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let host = of("1").or_else(|| of("self"));
    host.is_some() && of(&pid.to_string()) == host
}

/// Arguments as they are now, bounded as those of an exec are.
fn arguments(pid: u32) -> (Vec<Text>, bool) {
    let mut bytes = Bytes::from(fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default());
    let cut = bytes.len() > monitor_common::limits::ARGS;
    bytes.truncate(monitor_common::limits::ARGS);
    (split(&bytes), cut)
}

/// Splits arguments that are each ended by a zero byte; they share the memory.
#[must_use]
pub fn split(bytes: &Bytes) -> Vec<Text> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let whole = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    whole.split(|byte| *byte == 0).map(|argument| bytes.slice_ref(argument).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_split_at_zero_bytes() {
        assert_eq!(
            split(&Bytes::from_static(b"a\0b c\0\0")),
            [Text::from("a"), Text::from("b c"), Text::from("")]
        );
        assert_eq!(split(&Bytes::new()), Vec::<Text>::new());
        assert_eq!(split(&Bytes::from_static(b"cut off")), [Text::from("cut off")]);
    }

    #[test]
    fn this_process_is_found_as_it_is() {
        let tree = Tree::open().unwrap();
        let pid = std::process::id();
        let found = read(&tree, pid).unwrap();
        assert_eq!(
            found.process.exe.ino,
            std::os::unix::fs::MetadataExt::ino(&fs::metadata("/proc/self/exe").unwrap())
        );
        assert!(pids().contains(&pid));
        assert_eq!(start_ns(pid), Some(found.process.start_ns));
    }
}
