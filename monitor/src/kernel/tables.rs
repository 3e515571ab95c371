//! The kernel's tables that follow the host while the agent runs.

use std::{
    collections::{HashMap as StdHashMap, HashSet},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, MapData};
use monitor_common::{
    identity::{FileEntry, FileKey, Mount},
    limits,
    policy::WorkloadSet,
};

use super::load::Kernel;
use crate::host::{cgroup::Groups, file::Tree};

/// Keeps the map of files that policy names by path as the paths are now.
pub struct Files {
    map: HashMap<MapData, FileKey, FileEntry>,
    known: StdHashMap<FileKey, FileEntry>,
}

impl Files {
    /// Over the map of a kernel object.
    pub fn new(kernel: &mut Kernel) -> Result<Self> {
        Ok(Self { map: kernel.take("FILES")?.try_into()?, known: StdHashMap::new() })
    }

    /// Writes what changed.
    pub fn update(&mut self, files: StdHashMap<FileKey, FileEntry>) -> Result<()> {
        for (key, entry) in &files {
            if self.known.get(key) != Some(entry) {
                self.map.insert(key, entry, 0).context("can't write the map of files")?;
            }
        }
        // New ones first: a file that was replaced is never without an entry.
        for key in self.known.keys().filter(|key| !files.contains_key(key)) {
            let _ = self.map.remove(key);
        }
        self.known = files;
        Ok(())
    }

    /// The files as they were last written.
    #[must_use]
    pub fn known(&self) -> &StdHashMap<FileKey, FileEntry> {
        &self.known
    }
}

/// Keeps the map of mount points as the mounts are now.
pub struct Places {
    map: HashMap<MapData, FileKey, Mount>,
    known: StdHashMap<FileKey, Mount>,
}

impl Places {
    /// Over the map of a kernel object.
    pub fn new(kernel: &mut Kernel) -> Result<Self> {
        Ok(Self { map: kernel.take("MOUNTS")?.try_into()?, known: StdHashMap::new() })
    }

    /// Writes what changed; how many places could not be kept because the map is full or their path is too long.
    pub fn update(&mut self, tree: &Tree) -> usize {
        let mut left_out = 0;
        let mut places = StdHashMap::new();
        for (exe, path) in tree.places() {
            match mount(&path) {
                Some(mount) => drop(places.entry(exe.key()).or_insert(mount)),
                None => left_out += 1,
            }
        }
        for (key, mount) in &places {
            if self.known.get(key) != Some(mount) && self.map.insert(key, mount, 0).is_err() {
                left_out += 1;
            }
        }
        for key in self.known.keys().filter(|key| !places.contains_key(key)) {
            let _ = self.map.remove(key);
        }
        self.known = places;
        left_out
    }
}

fn mount(point: &Path) -> Option<Mount> {
    let bytes = point.as_os_str().as_bytes();
    let bytes = if bytes == b"/" { &[] } else { bytes };
    let mut mount = Mount { len: bytes.len() as u32, path: [0; limits::MOUNT_PATH] };
    mount.path.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(mount)
}

/// Keeps the map of cgroups that policy names as the groups are now. New ones are entered by a kernel program before
/// anybody can be in them.
pub struct Cgroups {
    map: HashMap<MapData, u64, WorkloadSet>,
}

impl Cgroups {
    /// Over the map of a kernel object.
    pub fn new(kernel: &mut Kernel) -> Result<Self> {
        Ok(Self { map: kernel.take("CGROUPS")?.try_into()? })
    }

    /// Enters the groups that there are, and takes out those that are gone; how many could not be entered.
    pub fn update(&mut self, groups: &Groups, named: impl Fn(&[u8]) -> WorkloadSet) -> Result<u64> {
        // Read before the walk: what is entered meanwhile is there.
        let mut gone: HashSet<u64> = self.map.keys().flatten().collect();
        let walk = groups.walk()?;
        let mut left_out = 0;
        for group in &walk.groups {
            let workloads = named(&group.path);
            if workloads.is_empty() {
                continue;
            }
            gone.remove(&group.id);
            if self.map.insert(group.id, workloads, 0).is_err() {
                left_out += 1;
            }
        }
        for id in gone {
            let _ = self.map.remove(&id);
        }
        Ok(left_out)
    }
}

/// The agent's table of processes in the kernel.
pub type Processes = HashMap<MapData, u32, monitor_common::identity::Process>;
