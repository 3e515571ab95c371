//! A script with just too many arguments.

use std::{
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};

use crate::{Outcomes, net::check, say, words::Words};

/// More than the kernel takes with a small stack.
const MOST: usize = 131_000;

/// `overfull script=PATH`: executes a script with as many bytes of arguments that they fit, and those that the kernel adds for its
/// interpreter don't. Tells the outcome.
pub fn overfull(words: &Words) -> Result<()> {
    let script = words.path("script")?;
    // The room for arguments is a quarter of the stack's limit, and at least 128 KiB.
    let limit = libc::rlimit { rlim_cur: 512 << 10, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid limit.
    check(unsafe { libc::setrlimit(libc::RLIMIT_STACK, &raw const limit) })?;
    let runs = |size: usize| -> io::Result<bool> {
        let mut child = with(&script, size);
        match child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status() {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::E2BIG) => Ok(false),
            Err(error) => Err(error),
        }
    };
    ensure!(runs(0)? && !runs(MOST)?, "the limit of arguments is somewhere else");
    let (mut fits, mut too_many) = (0, MOST);
    while fits + 1 < too_many {
        let middle = (fits + too_many) / 2;
        if runs(middle)? { fits = middle } else { too_many = middle }
    }
    let mut outcomes = Outcomes::default();
    // In this very thread, and only returns if it failed.
    outcomes.add::<()>(&Err(with(&script, too_many).exec()));
    say(&outcomes.json());
    Ok(())
}

fn with(script: &Path, size: usize) -> Command {
    let mut command = Command::new(script);
    command.env_clear().arg("x".repeat(size));
    command
}
