//! Files as the kernel identifies them.

mod handle;

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use monitor_common::identity::{ExeId, kernel_dev};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags};

pub use handle::Handle;

use super::mounts::Mounts;

/// The host's tree of files: that of process 1, which may be another than ours when a service manager gave us one.
pub struct Tree {
    root: OwnedFd,
    mounts: Mounts,
}

/// What a path leads to.
#[derive(Clone)]
pub struct Resolved {
    /// The file.
    pub exe: ExeId,
    /// Where it really is, behind all symbolic links.
    pub path: PathBuf,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// To find it again by, where its file system can.
    pub handle: Option<Handle>,
}

impl Tree {
    /// Opens it.
    pub fn open() -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/proc/1/root", flags, Mode::empty())
            .or_else(|_| rustix::fs::open("/", flags, Mode::empty()))
            .context("can't open the root directory")?;
        Ok(Self { root, mounts: Mounts::read()? })
    }

    /// Reads the mounts again; whether they changed is not said.
    pub fn refresh(&mut self) -> Result<()> {
        self.mounts = Mounts::read()?;
        Ok(())
    }

    /// The mounts it is made of.
    #[must_use]
    pub fn mounts(&self) -> &Mounts {
        &self.mounts
    }

    /// Follows a path. Symbolic links are followed inside the tree.
    pub fn resolve(&self, path: &Path) -> rustix::io::Result<Resolved> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let file = rustix::fs::openat2(
            &self.root,
            path,
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )?;
        let (exe, is_dir) = self.identify(file.as_fd())?;
        let path = rustix::fs::readlink(own_link(file.as_fd()), Vec::new())?;
        let handle = Handle::of(file.as_fd());
        Ok(Resolved { exe, path: OsStr::from_bytes(path.as_bytes()).into(), is_dir, handle })
    }

    /// The root of the tree, to look up names from.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens a regular file for reading; none if the path leads to something else, which is never opened: opening a
    /// device or a pipe does something to it.
    pub fn open_regular(&self, path: &Path) -> rustix::io::Result<Option<OwnedFd>> {
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let place = rustix::fs::openat2(&self.root, path, flags, Mode::empty(), how)?;
        if !FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode).is_file() {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        // The very file that was looked at, whatever its path leads to by now.
        rustix::fs::open(own_link(place.as_fd()), flags, Mode::empty()).map(Some)
    }

    /// A file whose name has gone, as it is now; none if it has no name at all any more.
    #[must_use]
    pub fn again(&self, handle: &Handle) -> Option<ExeId> {
        let point = self.mounts.point(handle.mount_id())?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let on = rustix::fs::openat2(&self.root, point, flags, Mode::empty(), ResolveFlags::IN_ROOT).ok()?;
        let file = handle.open(on.as_fd())?;
        let named = rustix::fs::fstat(&file).is_ok_and(|stat| stat.st_nlink > 0);
        named.then(|| self.identify(file.as_fd()).ok())?.map(|(exe, _)| exe)
    }

    /// Identity of the executable of a process, with the path the kernel gives for it as we see it.
    pub fn running(&self, pid: u32) -> rustix::io::Result<(ExeId, Vec<u8>)> {
        let link = format!("/proc/{pid}/exe");
        let path = rustix::fs::readlink(&link, Vec::new())?.into_bytes();
        let file = rustix::fs::open(&link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        Ok((self.identify(file.as_fd())?.0, path))
    }

    /// Identity of an open file, and whether it is a directory.
    pub(super) fn identify(&self, file: BorrowedFd<'_>) -> rustix::io::Result<(ExeId, bool)> {
        let want = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        // What the kernel knows already is what its programs see; asking a server could block.
        let stat = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, want)?;
        let dev = self.mounts.dev(stat.stx_mnt_id);
        let exe = ExeId {
            ino: stat.stx_ino,
            size: stat.stx_size,
            ctime_s: stat.stx_ctime.tv_sec,
            ctime_ns: stat.stx_ctime.tv_nsec,
            dev: dev.unwrap_or(kernel_dev(stat.stx_dev_major, stat.stx_dev_minor)),
        };
        Ok((exe, u32::from(stat.stx_mode) & 0o170_000 == 0o040_000))
    }

    /// The mount points that give files their place, with the identity of the directory that is mounted there. A mount
    /// that is hidden below another has none.
    pub fn places(&self) -> Vec<(ExeId, PathBuf)> {
        let visible = |line: &super::mounts::MountLine| {
            let relative = line.point.strip_prefix("/").unwrap_or(&line.point);
            let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
            let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let point =
                rustix::fs::openat2(&self.root, relative, flags, Mode::empty(), ResolveFlags::IN_ROOT)
                    .ok()?;
            let (exe, _) = self.identify(point.as_fd()).ok()?;
            (exe.dev == line.dev).then(|| (exe, line.point.clone()))
        };
        self.mounts.places().filter_map(visible).collect()
    }
}

/// A name for a file that is open here, by which it can be opened again.
pub(super) fn own_link(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
