//! Clients: connections one after the other, connection attempts at a rate, floods.

use std::{
    collections::VecDeque,
    io::{self, Write},
    mem,
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::{Outcomes, say, wait_for_line, words::Words};

/// `connect to=ADDRESS [count=N] [tag=TEXT] [protocol=tcp|udp|sendto] [wait=1]`: connects N times, says its tag
/// each time, and tells the outcomes. With `wait` it says `ready` and begins at a line on standard input.
pub fn connect(words: &Words) -> Result<()> {
    let to = words.address("to")?;
    let count: u64 = words.number("count")?.unwrap_or(1);
    let tag = words.get("tag").and_then(|tag| tag.to_str()).unwrap_or("-");
    let protocol = words.get("protocol").and_then(|name| name.to_str()).unwrap_or("tcp");
    let once: fn(SocketAddr, &str) -> io::Result<()> = match protocol {
        "tcp" => over_tcp,
        "udp" => over_udp,
        "sendto" => with_sendto,
        other => bail!("no protocol {other:?}"),
    };
    if words.get("wait").is_some() {
        say(&json!({ "ready": std::process::id() }));
        wait_for_line()?;
    }
    let mut outcomes = Outcomes::default();
    for _ in 0..count {
        outcomes.add(&once(to, tag));
    }
    say(&outcomes.json());
    Ok(())
}

fn over_tcp(to: SocketAddr, tag: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(10))?;
    stream.write_all(tag.as_bytes())
}

fn over_udp(to: SocketAddr, tag: &str) -> io::Result<()> {
    let socket = UdpSocket::bind(any(to))?;
    socket.connect(to)?;
    socket.send(tag.as_bytes()).map(drop)
}

fn with_sendto(to: SocketAddr, tag: &str) -> io::Result<()> {
    UdpSocket::bind(any(to))?.send_to(tag.as_bytes(), to).map(drop)
}

/// The address to bind for sending to an address of this family.
fn any(to: SocketAddr) -> SocketAddr {
    match to {
        SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
    }
}

/// `attempt to=ADDRESS [from=ADDRESS] count=N rate=R [patience=SECONDS]`: N connection attempts, R a second, each with one
/// SYN: given up (`timeout`) before the kernel would send a second one.
pub fn attempt(words: &Words) -> Result<()> {
    let to = words.address("to")?;
    let count: u64 = words.number("count")?.context("count=N is missing")?;
    let rate: f64 = words.number("rate")?.context("rate=R is missing")?;
    let from = words.addresses("from")?.first().copied();
    let patience = words.seconds("patience")?.unwrap_or(Duration::from_millis(300));
    let mut outcomes = Outcomes::default();
    let mut waiting: VecDeque<(Instant, OwnedFd)> = VecDeque::new();
    let begin = Instant::now();
    for number in 0..count {
        pace(begin, number, rate);
        settle(&mut waiting, patience, &mut outcomes);
        match begin_connect(from, to) {
            Ok(socket) => waiting.push_back((Instant::now(), socket)),
            Err(error) => outcomes.add::<()>(&Err(error)),
        }
    }
    while let Some((since, _)) = waiting.front() {
        thread::sleep(patience.saturating_sub(since.elapsed()));
        settle(&mut waiting, patience, &mut outcomes);
    }
    say(&outcomes.json());
    Ok(())
}

/// Closes the attempts older than `patience` and notes what became of them.
fn settle(waiting: &mut VecDeque<(Instant, OwnedFd)>, patience: Duration, outcomes: &mut Outcomes) {
    while let Some((_, socket)) = waiting.pop_front_if(|(since, _)| since.elapsed() >= patience) {
        let mut state = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: one valid pollfd, no waiting.
        match unsafe { libc::poll(&raw mut state, 1, 0) } {
            0 => outcomes.count("timeout"),
            _ => outcomes.add(&pending_error(&socket)),
        }
    }
}

fn pending_error(socket: &OwnedFd) -> io::Result<()> {
    let mut error: libc::c_int = 0;
    let mut length = size_of_val(&error) as libc::socklen_t;
    // SAFETY: the option writes one int; its size is given.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut error).cast(),
            &raw mut length,
        )
    };
    match (result, error) {
        (0, 0) => Ok(()),
        (0, error) => Err(io::Error::from_raw_os_error(error)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends the first packet of a connection and doesn't wait for the answer.
fn begin_connect(from: Option<SocketAddr>, to: SocketAddr) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no pointers; the result is checked before it is owned.
    let socket = unsafe {
        match libc::socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) {
            -1 => return Err(io::Error::last_os_error()),
            socket => OwnedFd::from_raw_fd(socket),
        }
    };
    if let Some(from) = from {
        let (address, length) = raw_address(from);
        // SAFETY: `address` is a socket address of `length` bytes.
        if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    let (address, length) = raw_address(to);
    // SAFETY: `address` is a socket address of `length` bytes.
    if unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) } == -1 {
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINPROGRESS) {
            return Err(error);
        }
    }
    Ok(socket)
}

fn raw_address(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zeroes is a valid value of this struct of integers.
    let mut raw: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let length = match address {
        SocketAddr::V4(address) => {
            let raw = (&raw mut raw).cast::<libc::sockaddr_in>();
            // SAFETY: `sockaddr_storage` is large enough and aligned for every kind of address.
            let raw = unsafe { &mut *raw };
            raw.sin_family = libc::AF_INET as libc::sa_family_t;
            raw.sin_port = address.port().to_be();
            raw.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            let raw = (&raw mut raw).cast::<libc::sockaddr_in6>();
            // SAFETY: as above.
            let raw = unsafe { &mut *raw };
            raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            raw.sin6_port = address.port().to_be();
            raw.sin6_addr.s6_addr = address.ip().octets();
            size_of::<libc::sockaddr_in6>()
        }
    };
    (raw, length as libc::socklen_t)
}

/// `flood to=ADDRESS [count=N] [seconds=S] [rate=R] [size=BYTES]`: datagrams as fast as possible, or R a
/// second, until either bound is reached; tells how many the kernel took.
pub fn flood(words: &Words) -> Result<()> {
    let to = words.address("to")?;
    let count: u64 = words.number("count")?.unwrap_or(u64::MAX);
    let seconds = words.seconds("seconds")?.unwrap_or(Duration::MAX);
    let rate: Option<f64> = words.number("rate")?;
    let payload = vec![b'x'; words.number("size")?.unwrap_or(32)];
    if count == u64::MAX && seconds == Duration::MAX {
        bail!("count=N or seconds=S is missing");
    }
    let socket = UdpSocket::bind(any(to)).context("binding")?;
    socket.connect(to).with_context(|| format!("connecting to {to}"))?;
    let mut outcomes = Outcomes::default();
    let begin = Instant::now();
    for number in 0..count {
        if begin.elapsed() >= seconds {
            break;
        }
        if let Some(rate) = rate {
            pace(begin, number, rate);
        }
        outcomes.add(&socket.send(&payload));
    }
    say(&outcomes.json());
    Ok(())
}

/// Holds back the send number `number` until it is due at `rate` a second.
fn pace(begin: Instant, number: u64, rate: f64) {
    let due = Duration::from_secs_f64(number as f64 / rate);
    let early = due.saturating_sub(begin.elapsed());
    // A finer step than a sleep can keep only makes small bursts.
    if early > Duration::from_millis(1) {
        thread::sleep(early);
    }
}
