//! Every way a program can open a conversation with a port.

mod compat;
mod uring;

use std::{
    ffi::c_int,
    io::{self, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    ptr,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    hand,
    net::{self, Address, unsupported},
    words::Words,
};

/// Milliseconds until a connection that is neither made nor refused counts as `ETIMEDOUT`.
const PATIENCE: c_int = 10_000;

/// Where to, and what to say there.
pub struct Talk<'a> {
    pub to: SocketAddr,
    pub tag: &'a str,
    pub words: &'a Words,
}

type Way = fn(&Talk<'_>) -> io::Result<()>;

const WAYS: &[(&str, Way)] = &[
    ("tcp", tcp),
    ("bound-mapped", bound_mapped),
    ("nonblocking", nonblocking),
    ("fastopen", fast_open),
    ("fastopen-connect", fast_open_connect),
    ("mptcp", multipath),
    ("uring", |talk| uring::connect(talk, uring::Flavour::Plain)),
    ("uring-sqpoll", |talk| uring::connect(talk, uring::Flavour::Polled)),
    ("uring-async", |talk| uring::connect(talk, uring::Flavour::Worker)),
    ("compat-socketcall", |talk| compat::connect(talk, compat::Entry::SocketCall)),
    ("compat-connect", |talk| compat::connect(talk, compat::Entry::Connect)),
    ("taken", taken),
    ("udp", udp),
    ("sendto", sendto),
    ("sendto-connected", sendto_connected),
    ("sendmsg", sendmsg),
    ("sendmmsg", sendmmsg),
    ("udplite", udp_lite),
    ("raw", raw),
];

/// The way with this name.
pub fn find(name: &str) -> Result<Way> {
    let found = WAYS.iter().find(|(known, _)| *known == name);
    found.map(|(_, way)| *way).with_context(|| format!("no way {name:?}"))
}

fn tcp(talk: &Talk<'_>) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&talk.to, Duration::from_millis(PATIENCE as u64))?;
    stream.write_all(talk.tag.as_bytes())
}

/// A socket for connections over the target's family.
fn stream(talk: &Talk<'_>, protocol: c_int) -> io::Result<(OwnedFd, Address)> {
    let to = Address::ip(talk.to);
    Ok((net::socket(to.family(), libc::SOCK_STREAM, protocol)?, to))
}

/// Says the tag on a connection and closes it.
fn say(socket: OwnedFd, talk: &Talk<'_>) -> io::Result<()> {
    TcpStream::from(socket).write_all(talk.tag.as_bytes())
}

/// From an IPv6 socket with an IPv4 address of its own: the kernel then takes `::` for 127.0.0.1.
fn bound_mapped(talk: &Talk<'_>) -> io::Result<()> {
    let mapped = SocketAddr::from(([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1], 0));
    let socket = net::socket(libc::AF_INET6, libc::SOCK_STREAM, 0)?;
    net::bind(&socket, &Address::ip(mapped))?;
    net::connect(&socket, &Address::ip(talk.to))?;
    say(socket, talk)
}

fn nonblocking(talk: &Talk<'_>) -> io::Result<()> {
    let to = Address::ip(talk.to);
    let socket = net::socket(to.family(), libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    match net::connect(&socket, &to) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        other => other?,
    }
    finish(&socket)?;
    say(socket, talk)
}

/// Waits until a connection is made or refused.
fn finish(socket: &OwnedFd) -> io::Result<()> {
    if !net::poll(socket, libc::POLLOUT, PATIENCE)? {
        return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
    }
    net::pending_error(socket)
}

/// `sendto` opens the connection and says the tag in one call.
fn fast_open(talk: &Talk<'_>) -> io::Result<()> {
    let (socket, to) = stream(talk, 0)?;
    net::send_to(&socket, talk.tag.as_bytes(), libc::MSG_FASTOPEN, &to)
}

/// `connect` may only promise, the first write does it.
fn fast_open_connect(talk: &Talk<'_>) -> io::Result<()> {
    let (socket, to) = stream(talk, 0)?;
    net::set(&socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1).map_err(unsupported)?;
    net::connect(&socket, &to)?;
    say(socket, talk)
}

fn multipath(talk: &Talk<'_>) -> io::Result<()> {
    let (socket, to) = stream(talk, libc::IPPROTO_MPTCP).map_err(unsupported)?;
    net::connect(&socket, &to)?;
    say(socket, talk)
}

/// Over a socket that another process made and handed over before it was connected.
fn taken(talk: &Talk<'_>) -> io::Result<()> {
    let socket = hand::take(talk.words)?;
    net::connect(&socket, &Address::ip(talk.to))?;
    say(socket, talk)
}

/// The address to bind for sending to an address of this family.
pub fn any(to: SocketAddr) -> SocketAddr {
    match to {
        SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
    }
}

fn udp(talk: &Talk<'_>) -> io::Result<()> {
    let socket = UdpSocket::bind(any(talk.to))?;
    socket.connect(talk.to)?;
    socket.send(talk.tag.as_bytes()).map(drop)
}

/// Over a protocol that is much like UDP.
fn udp_lite(talk: &Talk<'_>) -> io::Result<()> {
    let to = Address::ip(talk.to);
    let socket = net::socket(to.family(), libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE).map_err(unsupported)?;
    net::connect(&socket, &to)?;
    // Nobody listens: whether it may be sent is all there is to see.
    net::send_to(&socket, talk.tag.as_bytes(), 0, &to)
}

/// A datagram made by hand, over IPv4.
fn raw(talk: &Talk<'_>) -> io::Result<()> {
    let to = Address::ip(SocketAddr::new(talk.to.ip(), 0));
    let socket = net::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_UDP)?;
    let length = 8 + talk.tag.len() as u16;
    let mut datagram = [40_000_u16, talk.to.port(), length, 0].map(u16::to_be_bytes).concat();
    datagram.extend(talk.tag.as_bytes());
    net::send_to(&socket, &datagram, 0, &to)
}

fn sendto(talk: &Talk<'_>) -> io::Result<()> {
    UdpSocket::bind(any(talk.to))?.send_to(talk.tag.as_bytes(), talk.to).map(drop)
}

/// From a socket that is connected to somebody else: to a port of its own.
fn sendto_connected(talk: &Talk<'_>) -> io::Result<()> {
    let local = SocketAddr::new(talk.to.ip(), 0);
    let (other, socket) = (UdpSocket::bind(local)?, UdpSocket::bind(local)?);
    socket.connect(other.local_addr()?)?;
    net::send_to(&socket, talk.tag.as_bytes(), 0, &Address::ip(talk.to))
}

/// A message with the target's address and the tag.
fn with_message<T>(talk: &Talk<'_>, send: impl FnOnce(c_int, libc::msghdr) -> T) -> io::Result<T> {
    let socket = UdpSocket::bind(any(talk.to))?;
    let to = Address::ip(talk.to);
    let mut part = libc::iovec { iov_base: talk.tag.as_ptr().cast_mut().cast(), iov_len: talk.tag.len() };
    // SAFETY: all zeroes is a valid value: no name, no parts, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = to.pointer().cast_mut().cast();
    message.msg_namelen = to.length();
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    Ok(send(socket.as_fd().as_raw_fd(), message))
}

fn sendmsg(talk: &Talk<'_>) -> io::Result<()> {
    with_message(talk, |socket, message| {
        // SAFETY: what the message points at lives until `with_message` returns.
        let sent = unsafe { libc::sendmsg(socket, &raw const message, 0) };
        if sent == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    })?
}

fn sendmmsg(talk: &Talk<'_>) -> io::Result<()> {
    with_message(talk, |socket, message| {
        let mut messages = [libc::mmsghdr { msg_hdr: message, msg_len: 0 }];
        let list = messages.as_mut_ptr();
        // By the bare call: its wrapper sends one message at a time with `sendmsg`.
        // SAFETY: one message; what it points at lives until `with_message` returns.
        let sent = unsafe { libc::syscall(libc::SYS_sendmmsg, socket, list, 1, 0, ptr::null::<u8>()) };
        if sent == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
    })?
}
