//! The files that the policy names by path, and what is in them.

use std::{
    collections::HashMap,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Result;
use monitor_common::{
    identity::{FileEntry, FileKey},
    policy::{Membership, WorkloadSet},
};

use super::Watcher;
use crate::{event::Text, host::content::Content};

/// How long the start waits for files to be read whose content the policy gives.
const READ_AT_START: Duration = Duration::from_secs(60);

/// The files that the policy names by path.
#[derive(Default)]
pub(super) struct Named {
    pub(super) files: HashMap<FileKey, FileEntry>,
    /// Files whose content isn't the one that the policy gives, or not known to be.
    pub(super) unverified: Vec<(PathBuf, Content)>,
    /// How many of them are not read yet.
    pub(super) pending: u64,
    /// How many paths lead to another file than at the last look.
    pub(super) replaced: u64,
}

impl Watcher {
    /// Enters the files for the first time; those whose content policy gives are read before.
    pub(super) fn read_files(&mut self) -> Result<()> {
        let begun = Instant::now();
        let mut told = false;
        loop {
            let Named { files, pending, .. } = self.named_files();
            if pending == 0 || begun.elapsed() > READ_AT_START {
                self.files.update(files)?;
                return Ok(());
            }
            if !told && begun.elapsed() > Duration::from_secs(1) {
                tracing::info!("reading the files whose SHA-256 the policy gives");
                told = true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The files that the policy names by path, as they are now. When a path leads nowhere any more, its file is still
    /// the one it led to last, wherever that was moved; until it is gone, or the path leads to another.
    pub(super) fn named_files(&mut self) -> Named {
        let mut found = Named::default();
        let last = self.handles.iter_mut().zip(&mut self.exes);
        for (named, (handle, last)) in self.policy.files().iter().zip(last) {
            let exe = match self.tree.resolve(&named.path) {
                Ok(found) => {
                    *handle = found.handle;
                    Some(found.exe)
                }
                Err(_) => handle.as_ref().and_then(|handle| self.tree.again(handle)),
            };
            let Some(exe) = exe else { continue };
            found.replaced += u64::from(last.replace(exe).is_some_and(|last| last.key() != exe.key()));
            let fresh = FileEntry { exe, member: Membership::NONE, unverified: WorkloadSet::EMPTY };
            let entry = found.files.entry(exe.key()).or_insert(fresh);
            let mut member = named.member;
            if !named.sha256.is_empty() {
                match self.contents.look(&self.tree, &named.path, &named.sha256) {
                    Content::Verified(version) if version.same(&exe) => {}
                    other => {
                        entry.unverified.add(&member.workloads);
                        member.workloads = WorkloadSet::EMPTY;
                        found.pending += u64::from(matches!(other, Content::Reading(..) | Content::TooFresh));
                        found.unverified.push((named.path.clone(), other));
                    }
                }
            }
            entry.member.add(&member);
        }
        found
    }

    /// Says once of each file why it isn't believed.
    pub(super) fn tell_unverified(&mut self, unverified: Vec<(PathBuf, Content)>) {
        for (path, why) in &unverified {
            let known = self.told.iter().any(|(told, before)| told == path && before == why);
            if !known && !matches!(why, Content::Reading(..) | Content::TooFresh) {
                tracing::warn!(
                    "{} counts for no workload with a `sha256`: {why}",
                    Text::new(path.as_os_str().as_bytes()).quoted()
                );
            }
        }
        self.told = unverified;
    }
}
