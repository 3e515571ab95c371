//! Asks the kernel for sockets, and to close one.

use std::{fs::File, os::fd::AsFd as _};

use anyhow::{Context as _, Result, anyhow};
use monitor_common::event::Endpoint;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkSerializable};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SockDiagDestroy, SockDiagMessage,
    inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags},
};
use rustix::{
    io::Errno,
    net::netlink,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use super::{Connection, Listing, MOST, NotClosed};
use crate::host::netlink::Netlink;

/// A way to ask about the sockets of one network namespace, whatever namespace the caller is in.
#[derive(Debug)]
pub struct Diag {
    netlink: Netlink,
}

impl Diag {
    /// For the network namespace of the calling thread.
    pub fn open() -> Result<Self> {
        let netlink = Netlink::open(Some(netlink::SOCK_DIAG));
        Ok(Self { netlink: netlink.context("can't ask the kernel for sockets (NETLINK_SOCK_DIAG)")? })
    }

    /// For the network namespace of a process. Needs `CAP_SYS_ADMIN`.
    pub fn of_process(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/ns/net");
        let namespace = File::open(&path).with_context(|| format!("can't open {path}"))?;
        // Only this thread moves, and it ends here; the socket stays where it was made.
        let there = std::thread::Builder::new().name("netns".to_owned()).spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).with_context(
                || {
                    format!(
                        "can't enter the network namespace of process {pid}; the agent needs CAP_SYS_ADMIN"
                    )
                },
            )?;
            Self::open()
        });
        let there = there.context("can't start a thread for another network namespace")?;
        there.join().map_err(|_| anyhow!("the thread for the network namespace of process {pid} failed"))?
    }

    /// Lists the connections there are.
    pub fn list(&mut self) -> Result<Listing> {
        let mut listing = Listing::default();
        for protocol in [IPPROTO_TCP, IPPROTO_UDP] {
            for family in [AF_INET, AF_INET6] {
                self.dump(family, protocol, &mut listing).with_context(|| {
                    let protocol = if protocol == IPPROTO_TCP { "TCP" } else { "UDP" };
                    let version = if family == AF_INET { 4 } else { 6 };
                    format!("can't list {protocol} connections over IPv{version}")
                })?;
            }
        }
        Ok(listing)
    }

    fn dump(&mut self, family: u8, protocol: u8, listing: &mut Listing) -> Result<()> {
        let states = match protocol {
            IPPROTO_UDP => StateFlags::ESTABLISHED,
            _ => {
                let half_closed = StateFlags::FIN_WAIT1 | StateFlags::FIN_WAIT2 | StateFlags::CLOSE_WAIT;
                StateFlags::ESTABLISHED | StateFlags::SYN_SENT | StateFlags::SYN_RECV | half_closed
            }
        };
        let id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
        let request = request(family, protocol, states, id);
        let found = |response: InetResponseHeader| {
            if listing.connections.len() < MOST {
                listing.connections.push(connection(response, protocol));
            } else {
                listing.left_out += 1;
            }
        };
        match self.ask(request, NLM_F_REQUEST | NLM_F_DUMP, found)? {
            None => Ok(()),
            Some(error @ Errno::NOENT) => Err(error).context(
                "the kernel lacks what lists sockets: load the modules inet_diag, tcp_diag and udp_diag \
                 (CONFIG_INET_DIAG)",
            ),
            Some(error) => Err(error.into()),
        }
    }

    /// Ends a connection: the program gets ECONNABORTED at its next use; the other side of a TCP connection gets a reset. A
    /// UDP socket is disconnected, and may connect anew. Needs `CAP_NET_ADMIN`.
    ///
    /// An MPTCP connection shows as its subflows, and ends with the last of them. Of several UDP sockets with the same two
    /// ends the kernel closes only the one that it finds first, and calls the others gone; so close them in the order in
    /// which they are listed, and list again.
    pub fn close(&mut self, connection: &Connection) -> Result<(), NotClosed> {
        let family = if connection.local.family == 4 { AF_INET } else { AF_INET6 };
        let protocol = connection.local.protocol;
        let request = request(family, protocol, StateFlags::all(), connection.id.clone());
        let failed = |_| NotClosed::Failed(Errno::IO);
        let request = SockDiagDestroy::new(request);
        match self.ask(request, NLM_F_REQUEST | NLM_F_ACK, |_| {}).map_err(failed)? {
            None => Ok(()),
            // By the cookie, a socket that has the same addresses is told from the one that was meant.
            Some(Errno::NOENT | Errno::STALE) => Err(NotClosed::Gone),
            Some(Errno::OPNOTSUPP) => Err(NotClosed::Unsupported),
            Some(error) => Err(NotClosed::Failed(error)),
        }
    }

    /// Asks, and takes the answer to its end.
    fn ask(
        &mut self,
        question: impl NetlinkSerializable,
        flags: u16,
        mut found: impl FnMut(InetResponseHeader),
    ) -> Result<Option<Errno>> {
        self.netlink.ask(question, flags, |message| {
            if let SockDiagMessage::InetResponse(response) = message {
                found(response.header);
            }
        })
    }
}

fn request(family: u8, protocol: u8, states: StateFlags, socket_id: SocketId) -> SockDiagMessage {
    let extensions = ExtensionFlags::empty();
    SockDiagMessage::InetRequest(InetRequest { family, protocol, extensions, states, socket_id })
}

fn connection(response: InetResponseHeader, protocol: u8) -> Connection {
    let id = response.socket_id;
    let family = if response.family == AF_INET { 4 } else { 6 };
    let end = |addr: std::net::IpAddr, port| Endpoint { addr: addr.into(), port, protocol, family, zero: 0 };
    Connection {
        local: end(id.source_address, id.source_port),
        remote: end(id.destination_address, id.destination_port),
        inode: response.inode.into(),
        uid: response.uid,
        cookie: u64::from_ne_bytes(id.cookie),
        id,
    }
}
