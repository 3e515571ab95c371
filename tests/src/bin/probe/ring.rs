//! A ring of `io_uring` that is there, with threads of the kernel behind it, before it is used.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result, bail};
use io_uring::{IoUring, opcode, squeue, squeue::Flags, types::Fd};
use serde_json::json;

use crate::{
    Outcomes,
    net::{self, Address, check, unsupported},
    say, until_stdin_closes, wait_for_line,
    words::Words,
};

/// `ring how=polled|worker to=ADDRESS [tag=TEXT]`: makes a ring that a thread of the kernel polls, or one of which a worker has
/// something to wait for, and says its pid. At a line on standard input it connects over the ring, says its tag there, and
/// tells the outcome; it has the ring until standard input closes. `{"unsupported":1}` if the kernel makes no such ring.
pub fn ring(words: &Words) -> Result<()> {
    let polled = match words.text("how") {
        Some("polled") => true,
        Some("worker") => false,
        other => bail!("no ring {other:?}"),
    };
    let mut builder = IoUring::builder();
    if polled {
        builder.setup_sqpoll(600_000);
    }
    let mut ring: IoUring = match builder.build(8).map_err(unsupported) {
        Ok(ring) => ring,
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            say(&json!({ "unsupported": 1 }));
            return Ok(());
        }
        Err(error) => return Err(error).context("making a ring"),
    };
    // Nothing ever comes out of it.
    let (reader, _writer) = pipe()?;
    let mut byte = [0_u8];
    let wait = opcode::Read::new(Fd(reader.as_raw_fd()), byte.as_mut_ptr(), 1).build().user_data(1);
    push(&mut ring, &wait.flags(Flags::ASYNC))?;
    ring.submit()?;
    say(&json!({ "pid": std::process::id() }));
    wait_for_line()?;
    let to = Address::ip(words.address("to")?);
    let socket = net::socket(to.family(), libc::SOCK_STREAM, 0)?;
    let connect =
        opcode::Connect::new(Fd(socket.as_raw_fd()), to.pointer(), to.length()).build().user_data(2);
    push(&mut ring, &connect.flags(if polled { Flags::empty() } else { Flags::ASYNC }))?;
    ring.submit_and_wait(1)?;
    let done = ring.completion().next().context("nothing is complete")?;
    let mut outcomes = Outcomes::default();
    if done.user_data() != 2 {
        bail!("something else is complete: {}", done.user_data());
    }
    let connected =
        if done.result() < 0 { Err(io::Error::from_raw_os_error(-done.result())) } else { Ok(()) };
    if connected.is_ok() {
        let tag = words.text("tag").unwrap_or("-");
        // SAFETY: the buffer is as long as is said.
        let sent = unsafe { libc::send(socket.as_raw_fd(), tag.as_ptr().cast(), tag.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error()).context("saying the tag");
        }
    }
    outcomes.add(&connected);
    say(&outcomes.json());
    until_stdin_closes()
}

fn push(ring: &mut IoUring, request: &squeue::Entry) -> Result<()> {
    // SAFETY: everything that requests point to lives until the process ends, or until they are complete.
    unsafe { ring.submission().push(request) }.context("the ring is full")
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors, which are new and owned once.
    unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC)).context("making a pipe")?;
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}
