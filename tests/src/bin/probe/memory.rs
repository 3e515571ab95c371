//! The memory of other processes.

use std::{
    fs::{self, File},
    io,
    ptr::null_mut,
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::{error_name, say, words::Words};

/// `memory pid=N way=attach|read|file|look`: tries to get at the memory of another process, and tells the outcome. `look` only looks
/// where its memory lies, which is less.
pub fn memory(words: &Words) -> Result<()> {
    let pid: u32 = words.number("pid")?.context("pid=N is missing")?;
    let outcome = match words.text("way").unwrap_or("attach") {
        "attach" => attach(pid),
        "read" => read(pid, start(pid)?),
        "file" => File::open(format!("/proc/{pid}/mem")).map(drop),
        "look" => start(pid).map(drop).map_err(io::Error::other),
        other => bail!("no way {other:?}"),
    };
    say(&json!(outcome.map_or_else(|error| error_name(&error), |()| "ok".to_owned())));
    Ok(())
}

/// Traces it until this process ends, without stopping it.
fn attach(pid: u32) -> io::Result<()> {
    let nothing = null_mut::<libc::c_void>();
    // SAFETY: takes no memory of ours.
    match unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid as libc::pid_t, nothing, nothing) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Reads four bytes there.
fn read(pid: u32, at: usize) -> io::Result<()> {
    let mut bytes = [0_u8; 4];
    let here = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let there = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: the kernel writes no more than the length of our buffer.
    match unsafe { libc::process_vm_readv(pid as libc::pid_t, &raw const here, 1, &raw const there, 1, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Where something begins that it may read itself.
fn start(pid: u32) -> Result<usize> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).context("looking where its memory lies")?;
    let readable = maps.lines().find(|line| line.contains(" r")).context("nothing that can be read")?;
    let from = readable.split('-').next().unwrap_or_default();
    usize::from_str_radix(from, 16).with_context(|| format!("no address: {from:?}"))
}
