//! Running programs, each with its network namespace, cgroup and user.

mod running;

use std::{
    ffi::{CStr, CString, OsStr, OsString},
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use serde_json::Value;

pub use self::running::{Finished, Running};
use crate::{cgroup::Cgroup, needs, netns::Netns, wait::Deadline};

/// A program to be started.
#[derive(Debug)]
pub struct Program {
    command: Command,
    netns: Option<OwnedFd>,
    cgroup: Option<File>,
    user: Option<u32>,
    group: Option<u32>,
    hidden: Option<CString>,
}

impl Program {
    /// The program in this file.
    pub fn new(path: impl AsRef<OsStr>) -> Self {
        Self { command: Command::new(path), netns: None, cgroup: None, user: None, group: None, hidden: None }
    }

    /// The agent.
    ///
    /// # Errors
    /// When there is none, see [`needs::monitor`].
    pub fn monitor() -> Result<Self> {
        Ok(Self::new(needs::monitor()?))
    }

    /// The program `probe`, see its own documentation.
    ///
    /// # Errors
    /// When there is none, see [`needs::program`].
    pub fn probe() -> Result<Self> {
        Ok(Self::new(needs::program("probe")?))
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Adds an argument `key=value`.
    pub fn with(self, key: &str, value: impl AsRef<OsStr>) -> Self {
        let mut word = OsString::from(format!("{key}="));
        word.push(value);
        self.arg(word)
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    pub fn directory(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Lets it run in a network namespace.
    ///
    /// # Errors
    /// When no file descriptor is left.
    pub fn within(mut self, netns: &Netns) -> Result<Self> {
        self.netns = Some(netns.as_fd().try_clone_to_owned()?);
        Ok(self)
    }

    /// Lets it run in a cgroup, from before its exec.
    ///
    /// # Errors
    /// When the cgroup can't be opened.
    pub fn inside(mut self, cgroup: &Cgroup) -> Result<Self> {
        let path = cgroup.path().join("cgroup.procs");
        let file = File::options().write(true).open(&path);
        self.cgroup = Some(file.with_context(|| format!("opening {}", path.display()))?);
        Ok(self)
    }

    /// Lets it run as another user and group, with no other group.
    pub fn user(mut self, id: u32) -> Self {
        self.user = Some(id);
        self
    }

    /// Gives it one supplementary group.
    pub fn group(mut self, id: u32) -> Self {
        self.group = Some(id);
        self
    }

    /// Lets it see an empty directory in the place of this one.
    ///
    /// # Errors
    /// When the path contains a zero byte.
    pub fn hiding(mut self, directory: &Path) -> Result<Self> {
        self.hidden = Some(CString::new(directory.as_os_str().as_bytes())?);
        Ok(self)
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(mut self) -> Result<Running> {
        let Self { netns, cgroup, user, group, hidden, .. } = self;
        let enter = move || {
            if let Some(netns) = &netns {
                // SAFETY: takes no pointers.
                check(unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) })?;
            }
            if let Some(hidden) = &hidden {
                hide(hidden)?;
            }
            if let Some(mut cgroup) = cgroup.as_ref() {
                cgroup.write_all(b"0")?;
            }
            if let Some(user) = user {
                // SAFETY: the pointer is to as many groups as are said; the others take no pointers.
                unsafe {
                    check(libc::setgroups(
                        usize::from(group.is_some()),
                        group.as_ref().map_or(std::ptr::null(), std::ptr::from_ref),
                    ))?;
                    check(libc::setgid(user))?;
                    check(libc::setuid(user))?;
                }
            }
            Ok(())
        };
        // SAFETY: only system calls, no allocation and no locks, between fork and exec.
        unsafe { self.command.pre_exec(enter) };
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::new(&mut self.command)
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it can't be started or isn't done by the deadline.
    pub fn finish(self, deadline: Deadline) -> Result<Finished> {
        self.start()?.finish(deadline)
    }

    /// Runs it to its end, which must be a good one with nothing but JSON said.
    ///
    /// # Errors
    /// When it can't be started, isn't done by the deadline, fails, or says something else.
    pub fn json(self, deadline: Deadline) -> Result<Value> {
        self.finish(deadline)?.json()
    }
}

/// Mounts an empty file system over a directory, for this process and its children alone.
fn hide(directory: &CStr) -> io::Result<()> {
    let (root, kind, nothing) = (c"/".as_ptr(), c"tmpfs".as_ptr(), std::ptr::null());
    // SAFETY: all strings end with a zero byte, the data pointer may be null.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        let private = libc::MS_REC | libc::MS_PRIVATE;
        check(libc::mount(root, root, std::ptr::null(), private, nothing))?;
        check(libc::mount(kind, directory.as_ptr(), kind, 0, nothing))
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
