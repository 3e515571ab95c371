//! Hears of changes of interfaces and default routes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context as _, Result};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use rustix::{
    io::Errno,
    net::{RecvFlags, SocketFlags, netlink::SocketAddrNetlink, sockopt},
};

use super::route::{Message, is_default_route};
use crate::host::netlink::{BUFFER, after, socket};

/// Bytes of events that the kernel keeps for us: some thousands.
const ROOM: usize = 1 << 20;
/// Most events that are taken per call; the rest stays, and wakes up again.
const EVENTS: usize = 10_000;

/// A queue of events.
#[derive(Debug)]
pub struct Changes {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// What has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// An interface came, went, or is another now.
    pub links: bool,
    /// A default route came or went.
    pub routes: bool,
    /// Events were lost: anything may have changed.
    pub lost: bool,
}

impl Changes {
    /// Hears of the network namespace of the calling thread from now on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open() -> Result<Self> {
        let socket = socket(None, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        // More than the limit of the host; as root only, and it is no failure without.
        let _ = sockopt::set_socket_recv_buffer_size_force(&socket, ROOM);
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_ROUTE | libc::RTMGRP_IPV6_ROUTE;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups as u32))
            .context("can't hear of changes of interfaces (rtnetlink)")?;
        Ok(Self { socket, buffer: vec![0; BUFFER] })
    }

    /// Takes what has happened. Never waits.
    pub fn drain(&mut self) -> Changed {
        let mut changed = Changed::default();
        for _ in 0..EVENTS {
            match rustix::net::recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((size, _)) => changed.hear(&self.buffer[..size]),
                Err(Errno::INTR) => {}
                // So the kernel says that it had no room.
                Err(Errno::NOBUFS) => changed = Changed { links: true, routes: true, lost: true },
                Err(_) => break,
            }
        }
        changed
    }
}

impl Changed {
    fn hear(&mut self, mut messages: &[u8]) {
        while !messages.is_empty() {
            let Ok(message) = NetlinkMessage::<Message>::deserialize(messages) else { return };
            messages = after(messages, message.header.length);
            if let NetlinkPayload::InnerMessage(message) = message.payload {
                self.links |= matches!(message.kind, libc::RTM_NEWLINK | libc::RTM_DELLINK);
                self.routes |= is_default_route(&message);
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
