//! Connections that exist already: what they join, who holds them, and how to end one.
//!
//! The kernel lists sockets by network namespace (`sock_diag(7)`), and says which inode a socket is; who holds that is
//! found by looking at every process's descriptors.

mod diag;
mod holders;

#[cfg(test)]
mod tests;

use std::{collections::HashSet, fmt, fs};

use monitor_common::event::Endpoint;
use netlink_packet_sock_diag::inet::SocketId;

pub use diag::Diag;
pub use holders::{Holders, holders};

/// Most connections of one network namespace that are listed.
pub const MOST: usize = 262_144;
/// Most network namespaces that are told apart.
const NAMESPACES: usize = 4096;

/// A TCP connection through which data can still go, in either direction, or that is being made; or a UDP socket that is
/// connected. Both ends of one on the loopback interface are two of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// This side.
    pub local: Endpoint,
    /// The other side.
    pub remote: Endpoint,
    /// Inode of the socket, by which its holders are found. 0 where no process has one: not accepted yet, closed but not
    /// ended, or the kernel's own.
    pub inode: u64,
    /// The user who made the socket.
    pub uid: u32,
    /// What the kernel calls this socket until the next boot.
    pub cookie: u64,
    /// The kernel's own description, to find it again.
    id: SocketId,
}

/// Connections of one network namespace.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// In no order. While connections come and go, the kernel may leave one out that another listing has.
    pub connections: Vec<Connection>,
    /// How many there were beyond [`MOST`].
    pub left_out: u64,
}

/// Why a connection was not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotClosed {
    /// It is gone, or another connection has its addresses by now.
    Gone,
    /// The kernel can't close other programs' sockets.
    Unsupported,
    /// It refuses to, or something else went wrong.
    Failed(rustix::io::Errno),
}

impl fmt::Display for NotClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("it has ended already"),
            Self::Unsupported => f.write_str(
                "this kernel can't close connections of other programs (it was built without CONFIG_INET_DIAG_DESTROY); \
                 restart the program that holds it",
            ),
            Self::Failed(error @ rustix::io::Errno::PERM) => {
                write!(f, "the kernel refuses: {error}; closing needs CAP_NET_ADMIN in its network namespace")
            }
            Self::Failed(error) => write!(f, "the kernel refuses: {error}"),
        }
    }
}

/// A process in each network namespace other than ours, by which [`Diag::of_process`] gets there; and how many namespaces
/// were left out. One that no process is in any more can't be found.
pub fn other_namespaces() -> (Vec<u32>, u64) {
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let mut seen = HashSet::from([of("self")]);
    let (mut found, mut left_out) = (Vec::new(), HashSet::new());
    for pid in super::processes::pids() {
        let namespace = of(&pid.to_string());
        // None: it has ended, or may not be looked at.
        if namespace.is_none() || seen.contains(&namespace) {
            continue;
        }
        if found.len() < NAMESPACES {
            found.push(pid);
            seen.insert(namespace);
        } else {
            left_out.insert(namespace);
        }
    }
    (found, left_out.len() as u64)
}
