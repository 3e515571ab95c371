//! Standard output.

use std::{
    env,
    fs::File,
    io::{self, IsTerminal as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Output;

/// Standard output, without the lock and the buffer of [`std::io::Stdout`].
pub(super) struct Stdout(File);

impl Stdout {
    pub fn open() -> Result<Self> {
        let duplicate = io::stdout().as_fd().try_clone_to_owned();
        Ok(Self::from(
            duplicate.context("can't use standard output for [[sink]] type = \"stdout\"; is it closed?")?,
        ))
    }
}

impl From<OwnedFd> for Stdout {
    fn from(fd: OwnedFd) -> Self {
        Self(File::from(fd))
    }
}

impl Output for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn wait(&mut self) {
        // Whoever shares the file description may have made it non-blocking. If poll fails, the next write says why.
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        let _ = poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], Some(&second));
    }

    fn is_gone(&self, error: &io::Error) -> bool {
        // EIO: the terminal was hung up.
        error.kind() == io::ErrorKind::BrokenPipe
            || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
    }
}

pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether people want colours on their terminal (<https://no-color.org>).
pub(super) fn wants_colour() -> bool {
    let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb")
}
