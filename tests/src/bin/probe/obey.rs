//! A process that is led through a life, one line at a time.

use std::{
    ffi::c_long,
    fs::File,
    io::{self, Read, Write},
    mem::ManuallyDrop,
    os::fd::{FromRawFd, OwnedFd},
    process,
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::{Outcomes, launch::turn::Refused, net::check, run, say, words::Words};

/// `obey`: says its pid, then carries out a command for each line of standard input and says what came of it, until that
/// closes. Besides all others there are the commands `fork`, `identity`, `enter` and `pid`. Who goes on after a `fork` and
/// after becoming another `obey` has the same standard input and output, and says its pid.
pub fn obey() -> Result<()> {
    say_pid();
    while let Some(line) = line()? {
        let words = Words::from_line(&line)?;
        let done = match words.command() {
            "fork" => fork(&words),
            "identity" => identity(&words),
            "enter" => enter(&words),
            "pid" => {
                say_pid();
                Ok(())
            }
            _ => run(&words),
        };
        if let Err(error) = done {
            match error.downcast_ref::<Refused>() {
                Some(Refused(error)) => say(&json!({ "refused": crate::error_name(error) })),
                None => bail!("{line}: {error:#}"),
            }
        }
    }
    Ok(())
}

fn say_pid() {
    say(&json!({ "pid": process::id() }));
}

/// A line of standard input, with nothing read ahead: the next one may be for somebody else.
fn line() -> Result<Option<String>> {
    // SAFETY: standard input, which is not closed at the end.
    let mut input = ManuallyDrop::new(unsafe { File::from_raw_fd(libc::STDIN_FILENO) });
    let mut line = Vec::new();
    let mut byte = [0];
    while input.read(&mut byte).context("reading standard input")? == 1 {
        if byte == *b"\n" {
            return Ok(Some(String::from_utf8(line)?));
        }
        line.extend(byte);
    }
    Ok(None)
}

/// `fork [how=plain|double|clone-parent] [pid=N]`: a child goes on in the place of this process, which only stays for as long as
/// somebody does; with that pid if one is given. With `double` the child's parent has ended; with `clone-parent` its parent is this process's own.
fn fork(words: &Words) -> Result<()> {
    let (life, alive) = life()?;
    io::stdout().flush()?;
    let how = words.text("how").unwrap_or("plain");
    let flags = c_long::from(libc::SIGCHLD)
        | if how == "clone-parent" { c_long::from(libc::CLONE_PARENT) } else { 0 };
    let child = match words.number::<i32>("pid")? {
        Some(pid) => clone_as(pid)?,
        None => clone(flags)?,
    };
    if child == 0 {
        drop(life);
        // Open until the last of those who go on ends, over execs too.
        std::mem::forget(alive);
        if how == "double" {
            abandon()?;
        }
        say_pid();
        return Ok(());
    }
    drop(alive);
    File::from(life).read_to_end(&mut Vec::new())?;
    let mut status = 0;
    // SAFETY: a child of this process or of none; the status is an int.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    process::exit(match () {
        () if waited == child && libc::WIFSIGNALED(status) => 128 + libc::WTERMSIG(status),
        () if waited == child => libc::WEXITSTATUS(status),
        () => 0,
    });
}

/// A pipe whose end tells that everybody who goes on has ended.
fn life() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors, which are new and owned once.
    unsafe {
        check(libc::pipe(ends.as_mut_ptr())).context("making a pipe")?;
        check(libc::fcntl(ends[0], libc::F_SETFD, libc::FD_CLOEXEC))?;
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

fn clone(flags: c_long) -> Result<i32> {
    // SAFETY: one thread; the child goes on with a copy of its memory, as after a fork.
    let child = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if child == -1 { Err(io::Error::last_os_error()).context("clone") } else { Ok(child as i32) }
}

/// A child with this pid, which nobody has.
fn clone_as(pid: i32) -> Result<i32> {
    let wanted = [pid];
    // SAFETY: all zeroes is a valid value: no pointers that are used.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.set_tid = wanted.as_ptr() as u64;
    arguments.set_tid_size = 1;
    // SAFETY: the structure is as long as is said; one thread, and the child goes on with a copy of its memory.
    let child =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    if child == -1 { Err(io::Error::last_os_error()).context("clone3") } else { Ok(child as i32) }
}

/// A grandchild goes on when its parent has ended.
fn abandon() -> Result<()> {
    let parent = process::id();
    if clone(libc::SIGCHLD.into())? != 0 {
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(0) };
    }
    while std::os::unix::process::parent_id() == parent {
        std::thread::yield_now();
    }
    Ok(())
}

/// `identity [user=N] [effective-user=N] [group=N] [effective-group=N]`: takes other ids; what isn't named stays.
fn identity(words: &Words) -> Result<()> {
    const SAME: u32 = u32::MAX;
    let id = |key: &str| words.number::<u32>(key).map(|id| id.unwrap_or(SAME));
    let (user, group) = (id("user")?, id("group")?);
    let (effective_user, effective_group) = (id("effective-user")?, id("effective-group")?);
    let mut outcomes = Outcomes::default();
    // SAFETY: neither takes pointers.
    unsafe {
        outcomes.add(&check(libc::setresgid(group, effective_group, SAME)));
        outcomes.add(&check(libc::setresuid(user, effective_user, SAME)));
    }
    say(&outcomes.json());
    Ok(())
}

/// `enter group=PATH`: moves to a cgroup, given by its directory.
fn enter(words: &Words) -> Result<()> {
    let mut outcomes = Outcomes::default();
    outcomes.add(&std::fs::write(words.path("group")?.join("cgroup.procs"), "0"));
    say(&outcomes.json());
    Ok(())
}
