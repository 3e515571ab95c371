//! The cgroup v2 tree and the part of it that the policy is for.

mod groups;

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, bail};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

pub use groups::{Group, Groups, Walk};

/// The part of the tree that the policy is for.
#[derive(Debug)]
pub struct Scope {
    /// The root of the tree, where programs are attached.
    pub root: File,
    /// Id of the cgroup.
    pub id: u64,
    /// Its depth; 0 is the root.
    pub level: u32,
}

/// Where the cgroup v2 tree is; hybrid systems have it in unusual places. Where it is mounted nowhere, that is a view of our own,
/// which nobody else sees: every process is in the tree all the same.
pub fn mount_point() -> Result<PathBuf> {
    match mounted()? {
        Some(point) => Ok(point),
        None => view().context(
            "no cgroup v2 tree is mounted, and sockets are watched through it; mount it with \
             `mount -t cgroup2 none /sys/fs/cgroup/unified` (or boot with systemd.unified_cgroup_hierarchy=1)",
        ),
    }
}

/// Where the host has the tree mounted, if anywhere.
pub fn mounted() -> Result<Option<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("can't read /proc/self/mounts")?;
    Ok(mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(point))
    }))
}

/// A mount of the tree that is attached nowhere; it lives as long as we do.
fn view() -> Result<PathBuf> {
    static VIEW: Mutex<Option<OwnedFd>> = Mutex::new(None);
    let mut view = VIEW.lock().unwrap_or_else(PoisonError::into_inner);
    let root = match view.take() {
        Some(root) => root,
        None => {
            let tree = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_create(&tree)?;
            fsmount(&tree, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?
        }
    };
    let path = PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd()));
    *view = Some(root);
    Ok(path)
}

/// Id of the group with this path below the mount; none if there is no such group any more.
#[must_use]
pub fn id_of(path: &[u8]) -> Option<u64> {
    let below = Path::new(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)));
    fs::metadata(mount_point().ok()?.join(below)).ok().map(|meta| meta.ino())
}

impl Scope {
    /// The part of the tree below `path`, which begins with `/`.
    pub fn open(path: &str) -> Result<Self> {
        let mount = mount_point()?;
        let root = File::open(&mount).with_context(|| format!("can't open {}", mount.display()))?;
        let relative = Path::new(path).strip_prefix("/").unwrap_or(Path::new(path));
        let full = mount.join(relative);
        let meta = fs::metadata(&full).with_context(|| {
            format!(
                "there is no cgroup {path} in the cgroup v2 tree ({}): [agent] cgroup must name one",
                full.display()
            )
        })?;
        if !meta.is_dir() {
            bail!(
                "{} is not a cgroup: [agent] cgroup must name a directory of the cgroup v2 tree",
                full.display()
            );
        }
        // On 64-bit kernels since 5.5 the inode number of a cgroup's directory is its id.
        Ok(Self { root, id: meta.ino(), level: relative.components().count() as u32 })
    }
}
