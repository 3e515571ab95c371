//! Asks the kernel by netlink.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context as _, Result, anyhow, bail};
use netlink_packet_core::{
    NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink,
    },
};

/// More than the kernel puts into one answer (`SKB_WITH_OVERHEAD(32768)`).
pub(super) const BUFFER: usize = 64 * 1024;

/// A connection with one subsystem of the kernel, about the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens one.
    pub fn open(protocol: Option<Protocol>) -> Result<Self> {
        let socket = socket(protocol, SocketFlags::CLOEXEC)?;
        // Connected to the kernel, it takes no messages from anybody else.
        rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))
            .context("can't reach the kernel by netlink")?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks, and takes the answer to its end: an error of the kernel's, or none. What can't be read of it is an error.
    pub fn ask<M: NetlinkDeserializable>(
        &mut self,
        question: impl NetlinkSerializable,
        flags: u16,
        found: impl FnMut(M),
    ) -> Result<Option<Errno>> {
        self.send(question, flags)?;
        self.answer(found)
    }

    fn send(&mut self, question: impl NetlinkSerializable, flags: u16) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let payload = NetlinkPayload::InnerMessage(question);
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), payload);
        message.header.flags = flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        rustix::net::send(&self.socket, &bytes, SendFlags::empty()).context("can't ask the kernel")?;
        Ok(())
    }

    fn answer<M: NetlinkDeserializable>(&mut self, mut found: impl FnMut(M)) -> Result<Option<Errno>> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let (size, _) = match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok(received) => received,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error).context("the kernel's answer can't be received"),
            };
            let mut rest = &buffer[..size];
            while !rest.is_empty() {
                let message = NetlinkMessage::<M>::deserialize(rest)
                    .map_err(|error| anyhow!("the kernel's answer makes no sense: {error}"))?;
                rest = after(rest, message.header.length);
                if message.header.sequence_number != self.sequence {
                    // The rest of an answer that was given up.
                    continue;
                }
                match message.payload {
                    NetlinkPayload::InnerMessage(message) => found(message),
                    NetlinkPayload::Done(done) => return Ok(errno(done.code)),
                    NetlinkPayload::Error(error) => {
                        return Ok(error.code.and_then(|code| errno(code.get())));
                    }
                    NetlinkPayload::Overrun(_) => bail!("the kernel's answer is incomplete"),
                    _ => {}
                }
            }
        }
    }
}

/// A socket that is not connected yet. Without a protocol it is for rtnetlink.
pub(super) fn socket(protocol: Option<Protocol>, flags: SocketFlags) -> Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)
        .context("can't open a netlink socket")
}

/// What follows a message of this length: messages begin at multiples of four.
pub(super) fn after(messages: &[u8], length: u32) -> &[u8] {
    messages.get((length as usize).next_multiple_of(4)..).unwrap_or_default()
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The kernel gives errors as negative numbers, and 0 for none.
fn errno(code: i32) -> Option<Errno> {
    (code != 0).then(|| Errno::from_raw_os_error(code.wrapping_neg()))
}
