//! Connects by io_uring: the caller's thread, a thread of the kernel, or a worker does it.

use std::{io, os::fd::AsRawFd};

use io_uring::{IoUring, opcode, squeue::Flags, types::Fd};

use super::{Talk, say, stream};
use crate::net::unsupported;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// In the call that submits.
    Plain,
    /// A thread of the kernel finds the request (`IORING_SETUP_SQPOLL`).
    Polled,
    /// A worker of the kernel carries it out (`IOSQE_ASYNC`).
    Worker,
}

pub fn connect(talk: &Talk<'_>, flavour: Flavour) -> io::Result<()> {
    let (socket, to) = stream(talk, 0)?;
    let mut builder = IoUring::builder();
    if flavour == Flavour::Polled {
        builder.setup_sqpoll(100);
    }
    let mut ring: IoUring = builder.build(8).map_err(unsupported)?;
    let request = opcode::Connect::new(Fd(socket.as_raw_fd()), to.pointer(), to.length()).build();
    let flags = if flavour == Flavour::Worker { Flags::ASYNC } else { Flags::empty() };
    // SAFETY: socket and address live until the request is complete, which is awaited below.
    let pushed = unsafe { ring.submission().push(&request.flags(flags)) };
    pushed.map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    ring.submit_and_wait(1)?;
    let done = ring.completion().next().ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    if done.result() < 0 {
        return Err(io::Error::from_raw_os_error(-done.result()));
    }
    say(socket, talk)
}
