//! Which processes hold a socket.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
};

use crate::host::processes;

/// Most descriptors that one search looks at: some seconds of work.
const DESCRIPTORS: usize = 1_000_000;

/// Who holds which socket.
#[derive(Clone, Debug, Default)]
pub struct Holders {
    /// By inode, the ids of its processes; several where a socket was inherited or handed over. One that is missing here is
    /// held by nobody's descriptor: it is on its way in a message, or in the kernel (io_uring), or gone.
    pub by_inode: HashMap<u64, Vec<u32>>,
    /// Whether all descriptors were looked at: there is a bound to the work, and processes may refuse to be looked at.
    pub whole: bool,
}

/// Finds who holds the wanted sockets, with one search of all processes; without any if nothing is wanted. A process that
/// starts meanwhile, or to which a socket is handed over, may be missed.
#[must_use]
pub fn holders(wanted: &HashSet<u64>) -> Holders {
    let mut search = Search { wanted, found: HashMap::new(), left: DESCRIPTORS, refused: false };
    if !wanted.is_empty() && wanted.iter().any(|inode| *inode != 0) {
        let pids = processes::pids();
        for pid in &pids {
            search.descriptors(*pid, Path::new(&format!("/proc/{pid}/fd")));
        }
        // Threads share their descriptors unless they were made not to; the first thread may even have ended.
        if wanted.iter().any(|inode| *inode != 0 && !search.found.contains_key(inode)) {
            pids.iter().for_each(|pid| search.threads(*pid));
        }
    }
    let by_inode = search.found.into_iter().map(|(inode, pids)| (inode, pids.into_iter().collect()));
    Holders { by_inode: by_inode.collect(), whole: search.left > 0 && !search.refused }
}

struct Search<'a> {
    wanted: &'a HashSet<u64>,
    found: HashMap<u64, std::collections::BTreeSet<u32>>,
    left: usize,
    refused: bool,
}

impl Search<'_> {
    fn threads(&mut self, pid: u32) {
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            if thread.file_name().to_str() != Some(&pid.to_string()) {
                self.descriptors(pid, &thread.path().join("fd"));
            }
        }
    }

    fn descriptors(&mut self, pid: u32, dir: &Path) {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) => {
                self.refused |= error.kind() == std::io::ErrorKind::PermissionDenied;
                return;
            }
        };
        for entry in entries.flatten() {
            let Some(left) = self.left.checked_sub(1) else { return };
            self.left = left;
            let target = fs::read_link(entry.path());
            let inode = target.ok().and_then(|target| socket(target.to_str()?));
            if let Some(inode) = inode.filter(|inode| self.wanted.contains(inode)) {
                self.found.entry(inode).or_default().insert(pid);
            }
        }
    }
}

/// The inode in `socket:[12345]`.
fn socket(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_sockets_are_sockets() {
        assert_eq!(super::socket("socket:[123]"), Some(123));
        for other in ["pipe:[123]", "socket:[]", "/tmp/socket:[1]", "socket:[1] (deleted)", "socket:[-1]"] {
            assert_eq!(super::socket(other), None, "{other}");
        }
    }
}
