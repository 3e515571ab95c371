//! Every group of the cgroup v2 tree: its id, by which the kernel programs know it, and its path.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::{
        fd::AsFd as _,
        unix::{
            ffi::{OsStrExt as _, OsStringExt as _},
            fs::{DirEntryExt as _, MetadataExt as _},
        },
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::host::file::{Handle, own_link};

/// A control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its id: the inode number of its directory, never given to another group until the next boot.
    pub id: u64,
    /// Its path below the mount, beginning with `/`; the root is `/`. Whoever made the group chose it.
    pub path: Vec<u8>,
}

/// What a walk found.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    /// The groups, each after the one it lies in.
    pub groups: Vec<Group>,
    /// Groups whose insides could not be listed: too many groups, a path that is too long, or no permission. A group that
    /// vanished meanwhile is not counted.
    pub left_out: u64,
}

/// The tree of groups.
#[derive(Debug)]
pub struct Groups {
    point: PathBuf,
    root: File,
}

impl Groups {
    /// Most groups that a walk lists. A host with a thousand containers has some ten thousand.
    pub const MOST: usize = 131_072;

    /// Opens the tree.
    pub fn open() -> Result<Self> {
        Self::at(super::mount_point()?)
    }

    fn at(point: PathBuf) -> Result<Self> {
        let root = File::open(&point).with_context(|| format!("can't open {}", point.display()))?;
        Ok(Self { point, root })
    }

    /// Lists all groups there are. Groups that come or go meanwhile may or may not be among them.
    pub fn walk(&self) -> Result<Walk> {
        let id = self.root.metadata().with_context(|| format!("can't read {}", self.point.display()))?.ino();
        let mut walk = Walk { groups: vec![Group { id, path: b"/".to_vec() }], left_out: 0 };
        let mut next = 0;
        while let Some(group) = walk.groups.get(next) {
            let path = group.path.clone();
            let room = Self::MOST.saturating_sub(walk.groups.len());
            match self.children(&path, room) {
                Ok((children, whole)) => {
                    walk.groups.extend(children);
                    walk.left_out += u64::from(!whole);
                }
                Err(error) if is_gone(&error) => {}
                Err(_) => walk.left_out += 1,
            }
            next += 1;
        }
        Ok(walk)
    }

    /// The groups right below one, at most `room`, and whether those are all.
    fn children(&self, path: &[u8], room: usize) -> std::io::Result<(Vec<Group>, bool)> {
        let mut children = Vec::new();
        for entry in fs::read_dir(self.point.join(relative(path)))? {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if is_gone(&error) => break,
                Err(error) => return Err(error),
            };
            // The kernel gives the kind with the name; nothing is asked again, which could be another group by then.
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if children.len() >= room {
                return Ok((children, false));
            }
            let mut below = if path == b"/" { Vec::new() } else { path.to_vec() };
            below.push(b'/');
            below.extend(entry.file_name().into_vec());
            children.push(Group { id: entry.ino(), path: below });
        }
        Ok((children, true))
    }

    /// The path of a group by its id, without a walk; none if it is gone. Needs `CAP_DAC_READ_SEARCH`.
    #[must_use]
    pub fn path_of(&self, id: u64) -> Option<Vec<u8>> {
        let group = Handle::of_cgroup(id).open(self.root.as_fd())?;
        let path = rustix::fs::readlink(own_link(group.as_fd()), Vec::new()).ok()?.into_bytes();
        let below = Path::new(OsStr::from_bytes(&path)).strip_prefix(&self.point).ok()?;
        // The kernel says " (deleted)" behind the path of a group that is gone, and there may be a group of that name.
        let still = fs::symlink_metadata(self.point.join(below)).is_ok_and(|meta| meta.ino() == id);
        still.then(|| [b"/", below.as_os_str().as_bytes()].concat())
    }
}

fn relative(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)))
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering::Relaxed},
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn every_directory_of_a_tree_is_found_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a.slice/b.service/c")).unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/cgroup.procs"), "").unwrap();
        let walk = Groups::at(dir.path().to_owned()).unwrap().walk().unwrap();
        let mut paths: Vec<&str> =
            walk.groups.iter().map(|group| str::from_utf8(&group.path).unwrap()).collect();
        paths.sort_unstable();
        assert_eq!(paths, ["/", "/a.slice", "/a.slice/b.service", "/a.slice/b.service/c", "/d"]);
        assert_eq!(walk.left_out, 0);
        for group in &walk.groups {
            assert_eq!(group.id, fs::metadata(dir.path().join(relative(&group.path))).unwrap().ino());
        }
    }

    #[test]
    fn a_tree_that_changes_all_the_time_is_walked() {
        let dir = tempfile::tempdir().unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    fs::create_dir_all(dir.path().join("a/b/c/d")).unwrap();
                    fs::remove_dir_all(dir.path().join("a")).unwrap();
                }
            });
            let groups = Groups::at(dir.path().to_owned()).unwrap();
            let until = Instant::now() + Duration::from_millis(200);
            while Instant::now() < until {
                let walk = groups.walk().unwrap();
                assert_eq!(walk.left_out, 0);
                assert!((1..=5).contains(&walk.groups.len()));
            }
            stop.store(true, Relaxed);
        });
    }

    #[test]
    fn a_path_too_long_to_list_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut at = File::open(dir.path()).unwrap();
        let name = "n".repeat(250);
        for _ in 0..18 {
            rustix::fs::mkdirat(&at, &*name, rustix::fs::Mode::RWXU).unwrap();
            let flags = rustix::fs::OFlags::DIRECTORY;
            at = rustix::fs::openat(&at, &*name, flags, rustix::fs::Mode::empty()).unwrap().into();
        }
        let walk = Groups::at(dir.path().to_owned()).unwrap().walk().unwrap();
        assert_eq!(walk.left_out, 1);
    }

    /// Only root can open a group by its id, and make one in the real tree.
    #[test]
    fn a_group_is_found_by_its_id_until_it_is_gone() {
        if !rustix::process::geteuid().is_root() {
            let made = super::super::mount_point().map(|point| fs::create_dir(point.join("monitor-no")));
            assert!(!matches!(made, Ok(Ok(()))), "a group could be made after all");
            return;
        }
        let groups = Groups::open().unwrap();
        let name = format!("monitor-unit-test-{} (deleted)", std::process::id());
        let dir = groups.point.join(&name);
        fs::create_dir(&dir).unwrap();
        let id = fs::metadata(&dir).unwrap().ino();
        let by_id = groups.path_of(id);
        let walked = groups.walk().map(|walk| walk.groups.into_iter().find(|group| group.id == id));
        fs::remove_dir(&dir).unwrap();
        let path = format!("/{name}").into_bytes();
        assert_eq!(by_id.as_ref(), Some(&path));
        assert_eq!(walked.unwrap(), Some(Group { id, path }));
        assert_eq!(groups.path_of(id), None);
        assert_eq!(groups.path_of(groups.walk().unwrap().groups[0].id), Some(b"/".to_vec()));
    }
}
