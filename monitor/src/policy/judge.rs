//! Who a process is that was not seen to start.

use std::collections::HashMap;

use monitor_common::{
    identity::{FileEntry, FileKey, LOADER, Process},
    policy::{Membership, WorkloadSet},
};

use super::Compiled;
use crate::host::{file::Tree, processes::Found};

impl Compiled {
    /// The files that the policy names, as they are on the host, whatever their content.
    #[must_use]
    pub fn files_on(&self, tree: &Tree) -> HashMap<FileKey, FileEntry> {
        let mut files = HashMap::new();
        for named in self.files() {
            let Ok(found) = tree.resolve(&named.path) else { continue };
            let fresh =
                FileEntry { exe: found.exe, member: Membership::NONE, unverified: WorkloadSet::EMPTY };
            files.entry(found.exe.key()).or_insert(fresh).member.add(&named.member);
        }
        files
    }

    /// What is to be known of a process that `/proc` shows, given what is known of the one that made it and the files
    /// that the policy names. What it ran between its fork and now can't be known.
    #[must_use]
    pub fn judge(
        &self,
        found: &Found,
        parent: Option<Process>,
        files: &HashMap<FileKey, FileEntry>,
    ) -> Process {
        let (masks, kin) = (&self.masks, &&self.kin[..]);
        let read = found.process;
        let member = self.file(files, &read.exe, found.host_path.as_deref());
        let mut process = parent.unwrap_or(Process::stranger(masks));
        (process.start_ns, process.ppid, process.flags) = (read.start_ns, read.ppid, read.flags);
        if parent.is_some() {
            process.is_begotten(masks, kin);
            process.workloads = process.kept;
        }
        if member.flags & Membership::LOADER != 0 {
            process.flags |= LOADER;
        }
        process.becomes(read.exe, &member.workloads, masks, kin);
        let (uid, gid) = found.ids;
        let of =
            |table: &HashMap<u32, WorkloadSet>, id| table.get(&id).copied().unwrap_or(WorkloadSet::EMPTY);
        let (user, group) = (of(&self.users, uid), of(&self.groups, gid));
        process.place(masks, &self.cgroup(&found.cgroup), &user, &group);
        process
    }
}
