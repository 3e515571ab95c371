//! A cgroup of one's own.

use std::{
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result, bail};

use crate::wait::{deadline, eventually};

/// A cgroup of the version 2 hierarchy. Dropping it kills what is in it and below it, and removes all of that.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    scope: String,
}

impl Cgroup {
    /// Makes an empty cgroup right below the mount.
    ///
    /// # Errors
    /// When no cgroup v2 hierarchy is mounted, or the kernel refuses.
    pub fn new() -> Result<Self> {
        Self::unique("")
    }

    /// Makes an empty cgroup right below the mount that is called as a service manager calls its slices.
    ///
    /// # Errors
    /// As [`Cgroup::new`].
    pub fn slice() -> Result<Self> {
        Self::unique(".slice")
    }

    fn unique(suffix: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("monitor-test-{}-{number}{suffix}", std::process::id());
        Self::make(mount()?.join(&name), format!("/{name}"))
    }

    /// Makes an empty cgroup below this one, with those between them; it must be dropped first.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn below(&self, name: &str) -> Result<Self> {
        Self::make(self.path.join(name), format!("{}/{name}", self.scope))
    }

    fn make(path: PathBuf, scope: String) -> Result<Self> {
        fs::create_dir_all(&path).with_context(|| format!("creating the cgroup {}", path.display()))?;
        Ok(Self { path, scope })
    }

    /// The path below the mount, as `[agent] cgroup` wants it.
    pub fn scope(&self) -> String {
        self.scope.clone()
    }

    /// The path in the file system.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves a process here.
    ///
    /// # Errors
    /// When it has ended, or the kernel refuses.
    pub fn take(&self, pid: u32) -> Result<()> {
        fs::write(self.path.join("cgroup.procs"), pid.to_string())
            .with_context(|| format!("moving {pid} to the cgroup {}", self.scope))
    }

    /// Processes in the cgroup.
    ///
    /// # Errors
    /// When the kernel refuses to list them.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let text = fs::read_to_string(self.path.join("cgroup.procs"))?;
        text.lines().map(|line| line.parse().context("a pid in cgroup.procs")).collect()
    }

    /// Kills what is in the cgroup and removes it.
    ///
    /// # Errors
    /// When something in it doesn't die, or the kernel refuses to remove it.
    pub fn remove(self) -> Result<()> {
        self.clear()
    }

    fn clear(&self) -> Result<()> {
        eventually(&format!("the end of cgroup {}", self.scope), deadline(10.0), || {
            match remove(&self.path) {
                Ok(()) => Ok(Some(())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(())),
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    self.kill()?;
                    Ok(None)
                }
                Err(error) => Err(error.into()),
            }
        })
    }

    fn kill(&self) -> Result<()> {
        // Since 5.14 in one step; before that one by one.
        if fs::write(self.path.join("cgroup.kill"), "1").is_ok() {
            return Ok(());
        }
        for pid in self.processes()? {
            // SAFETY: sends a signal to a process of this cgroup, which this guard owns.
            unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            eprintln!("cleaning up: {error:#}");
        }
    }
}

/// Removes a cgroup and those below it.
fn remove(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

/// Where the version 2 hierarchy is mounted; beside version 1 that isn't /sys/fs/cgroup. Where it is mounted nowhere, a view of it
/// that only this process has, so that the host stays as it is.
///
/// # Errors
/// When the kernel has no such hierarchy.
pub fn mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
    let mut points = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (point, kind) = (words.nth(1)?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(point))
    });
    if let Some(point) = points.next() {
        return Ok(point);
    }
    static VIEW: OnceLock<io::Result<OwnedFd>> = OnceLock::new();
    match VIEW.get_or_init(view) {
        Ok(root) => Ok(PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd()))),
        Err(error) => bail!("no cgroup v2 hierarchy is mounted, and there can be no view of it: {error}"),
    }
}

/// A mount of the hierarchy that is attached nowhere.
fn view() -> io::Result<OwnedFd> {
    const CREATE: libc::c_long = 6;
    let made = |code: libc::c_long| if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code as i32) };
    // SAFETY: the name is NUL-terminated; the descriptor is new and nobody else's.
    let tree =
        unsafe { OwnedFd::from_raw_fd(made(libc::syscall(libc::SYS_fsopen, c"cgroup2".as_ptr(), 1_u32))?) };
    let nothing = std::ptr::null::<u8>();
    // SAFETY: this command takes neither a key nor a value.
    made(unsafe { libc::syscall(libc::SYS_fsconfig, tree.as_raw_fd(), CREATE, nothing, nothing, 0) })?;
    // SAFETY: takes no pointers; the descriptor is new and nobody else's.
    Ok(unsafe {
        OwnedFd::from_raw_fd(made(libc::syscall(libc::SYS_fsmount, tree.as_raw_fd(), 1_u32, 0_u32))?)
    })
}
