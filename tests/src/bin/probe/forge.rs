//! Frames with sources of somebody's choice, past the kernel's own stack.

use std::{
    ffi::c_int,
    fs, io, mem,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use etherparse::PacketBuilder;
use serde_json::json;

use crate::{say, words::Words};

/// Frames that go out with one system call.
const BATCH: usize = 64;
/// Where the source of an IPv4 packet lies in an Ethernet frame.
const SOURCE: usize = 14 + 12;

/// `forge interface=NAME to=V4ADDRESS kind=udp|syn|ack [from=ADDRESS | sources=N] [rate=R] count=N | seconds=S`: sends frames
/// that claim to come from `from`, or from one of N addresses of 11.0.0.0/8 at random; source ports are random. Tells how
/// many the interface took. Checksums are right for `from`, and left wrong for random sources.
pub fn forge(words: &Words) -> Result<()> {
    let SocketAddr::V4(to) = words.address("to")? else { bail!("to= wants an IPv4 address") };
    let interface = words.text("interface").context("interface=NAME is missing")?;
    let kind = words.text("kind").context("kind= is missing")?;
    let from: Option<Ipv4Addr> = words.number("from")?;
    let sources: u32 = words.number("sources")?.unwrap_or(1);
    let rate: Option<f64> = words.number("rate")?;
    let count: u64 = words.number("count")?.unwrap_or(u64::MAX);
    let seconds = words.seconds("seconds")?.unwrap_or(Duration::MAX);
    if count == u64::MAX && seconds == Duration::MAX {
        bail!("count=N or seconds=S is missing");
    }
    let mac = neighbour(to)?;
    let socket = link(interface)?;
    let mut dice = Dice(u64::from(std::process::id()) << 32 | 0x9e37_79b9);
    let begin = Instant::now();
    let mut sent = 0;
    while sent < count && begin.elapsed() < seconds {
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(sent as f64 / rate);
            thread::sleep(due.saturating_sub(begin.elapsed()));
        }
        let batch = BATCH.min(usize::try_from(count - sent)?);
        let mut frames = Vec::with_capacity(batch);
        for _ in 0..batch {
            let port = 1024 + (dice.next() % 64_000) as u16;
            let mut frame = frame(mac, from.unwrap_or(Ipv4Addr::new(11, 0, 0, 0)), port, to, kind)?;
            if from.is_none() {
                let host = (dice.next() % u64::from(sources)) as u32;
                frame[SOURCE..SOURCE + 4].copy_from_slice(&(11 << 24 | host).to_be_bytes());
            }
            frames.push(frame);
        }
        sent += send(&socket, &mut frames)? as u64;
    }
    say(&json!({ "sent": sent, "seconds": begin.elapsed().as_secs_f64() }));
    Ok(())
}

fn frame(mac: [u8; 6], from: Ipv4Addr, port: u16, to: SocketAddrV4, kind: &str) -> Result<Vec<u8>> {
    let ip = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], mac).ipv4(from.octets(), to.ip().octets(), 64);
    let mut frame = Vec::with_capacity(64);
    match kind {
        "udp" => ip.udp(port, to.port()).write(&mut frame, b"forged")?,
        "syn" => ip.tcp(port, to.port(), 1, 64_000).syn().write(&mut frame, &[])?,
        "ack" => ip.tcp(port, to.port(), 1, 64_000).ack(1).write(&mut frame, &[])?,
        other => bail!("kind={other} is none of udp, syn, ack"),
    }
    Ok(frame)
}

/// The link address of a neighbour, which is asked for it by sending it something.
fn neighbour(to: SocketAddrV4) -> Result<[u8; 6]> {
    const DISCARD: u16 = 9;
    let patience = Instant::now() + Duration::from_secs(5);
    while Instant::now() < patience {
        UdpSocket::bind("0.0.0.0:0")?.send_to(b"", SocketAddrV4::new(*to.ip(), DISCARD))?;
        let table = fs::read_to_string("/proc/thread-self/net/arp").context("reading the neighbours")?;
        let row = table.lines().find(|line| {
            line.split_whitespace().next().and_then(|word| word.parse().ok()) == Some(IpAddr::V4(*to.ip()))
        });
        let mac = row.and_then(|row| row.split_whitespace().nth(3));
        let bytes: Vec<u8> = mac
            .iter()
            .flat_map(|mac| mac.split(':'))
            .filter_map(|byte| u8::from_str_radix(byte, 16).ok())
            .collect();
        if let Ok(mac) = <[u8; 6]>::try_from(bytes)
            && mac != [0; 6]
        {
            return Ok(mac);
        }
        thread::sleep(Duration::from_millis(20));
    }
    bail!("nobody at {} answered who has the address", to.ip())
}

/// A packet socket on an interface, that goes straight to the driver.
fn link(interface: &str) -> Result<OwnedFd> {
    let name = std::ffi::CString::new(interface)?;
    // SAFETY: a string that ends with a zero byte.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        bail!("no interface {interface}");
    }
    // SAFETY: makes a descriptor, which is owned from here on.
    let socket = unsafe {
        let raw = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        if raw == -1 {
            return Err(io::Error::last_os_error()).context("making a packet socket");
        }
        OwnedFd::from_raw_fd(raw)
    };
    let on: c_int = 1;
    // SAFETY: all zeroes is a valid value of this struct of integers.
    let mut at: libc::sockaddr_ll = unsafe { mem::zeroed() };
    at.sll_family = libc::AF_PACKET as u16;
    at.sll_ifindex = index as c_int;
    // SAFETY: both values live during the calls and are as long as they say.
    let failed = unsafe {
        let raw = socket.as_raw_fd();
        let length = size_of::<c_int>() as u32;
        libc::setsockopt(raw, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, (&raw const on).cast(), length)
            == -1
            || libc::bind(raw, (&raw const at).cast(), size_of_val(&at) as u32) == -1
    };
    if failed { Err(io::Error::last_os_error()).context("binding the packet socket") } else { Ok(socket) }
}

/// Sends frames; how many the interface took. One that is full is given a moment.
fn send(socket: &OwnedFd, frames: &mut [Vec<u8>]) -> Result<usize> {
    let mut vectors: Vec<libc::iovec> = frames
        .iter_mut()
        .map(|frame| libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = vectors
        .iter_mut()
        .map(|vector| {
            // SAFETY: all zeroes is a valid value.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect();
    // SAFETY: messages, vectors and frames live during the call.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), messages.len() as u32, 0) };
    if sent >= 0 {
        return Ok(sent as usize);
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENOBUFS) => {
            thread::sleep(Duration::from_micros(50));
            Ok(0)
        }
        error => Err(error).context("sending frames"),
    }
}

/// Numbers that look random (xorshift64*).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}
