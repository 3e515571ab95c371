//! Proves that enforcement works, by doing harmless things that must be refused.
//!
//! "Attached" proves nothing: there are kernels on which hooks attach and never run.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::{fd::AsRawFd as _, unix::process::ExitStatusExt as _},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::fs::{MemfdFlags, memfd_create};

/// Name of the hidden command that does nothing; the kernel programs stop the agent's children from running it.
pub const COMMAND: &str = "canary";

/// What became of an exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Refused before it ran.
    Refused,
    /// Killed.
    Killed,
    /// It ran.
    Ran,
}

/// Starts our own binary as a child, which must be stopped.
pub fn exec() -> Result<Outcome> {
    let mut command = Command::new("/proc/self/exe");
    command.arg(COMMAND).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(status) if status.signal() == Some(libc::SIGKILL) => Ok(Outcome::Killed),
        Ok(_) => Ok(Outcome::Ran),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(Outcome::Refused),
        Err(error) => Err(error).context("can't start our own binary to see whether it is stopped"),
    }
}

/// Starts a file that is no program; whether nobody refused that. It never runs: where it isn't refused, the kernel doesn't know
/// how. There are kernels on which a program that looks at execs refuses them all, and then a refused canary proves nothing.
///
/// # Errors
/// When there can be no such file.
pub fn allowed() -> Result<bool> {
    // A descriptor that stays open over the exec: its path is asked for by the child.
    let file = memfd_create("monitor", MemfdFlags::empty()).context("can't make a file in memory")?;
    rustix::io::write(&file, b"?").context("can't write a file in memory")?;
    let outcome = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd())).status();
    Ok(!matches!(outcome, Err(error) if error.raw_os_error() == Some(libc::EPERM)))
}

/// Asks for a connection to port 0 of the loopback address, where nobody can listen; whether it was refused by a
/// program and not for want of a listener.
#[must_use]
pub fn connect() -> bool {
    let refused = |addr: SocketAddr| {
        let outcome = TcpStream::connect_timeout(&addr, Duration::from_secs(1));
        matches!(outcome, Err(error) if error.raw_os_error() == Some(libc::EPERM))
    };
    // connect_timeout refuses nothing by itself; port 0 reaches the kernel as it is.
    refused((Ipv4Addr::LOCALHOST, 0).into()) && (no_v6() || refused((Ipv6Addr::LOCALHOST, 0).into()))
}

/// Whether IPv6 is switched off.
fn no_v6() -> bool {
    let probe = std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0));
    matches!(probe, Err(error) if error.kind() != io::ErrorKind::PermissionDenied)
}
