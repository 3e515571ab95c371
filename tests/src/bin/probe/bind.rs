//! Sockets that wait for others: `bind` and `listen`; and sockets that see packets as they are.

use std::{ffi::c_int, io, net::SocketAddr, os::fd::OwnedFd};

use anyhow::{Result, bail};
use serde_json::json;

use crate::{
    Outcomes, error_name,
    net::{self, Address, unsupported},
    say,
    words::Words,
};

/// `IP_LOCAL_PORT_RANGE`: which ports the kernel may choose from; since Linux 6.3.
const LOCAL_PORT_RANGE: c_int = 51;

/// `bind to=ADDRESS[,ADDRESS]... [way=tcp|udp|mptcp|family0|listen] [count=N]`: binds with `SO_REUSEPORT`, and listens if
/// that can be; tells the outcome for each address. `family0` gives an IPv4 address without its family, `listen` lets
/// the kernel choose the port, from a range of one.
pub fn bind(words: &Words) -> Result<()> {
    let once: fn(SocketAddr) -> io::Result<()> = match words.text("way").unwrap_or("tcp") {
        "tcp" => |at| serve(at, libc::SOCK_STREAM, 0),
        "udp" => |at| serve(at, libc::SOCK_DGRAM, 0),
        "mptcp" => |at| serve(at, libc::SOCK_STREAM, libc::IPPROTO_MPTCP),
        "family0" => without_family,
        "listen" => only_listen,
        other => bail!("no way {other:?}"),
    };
    let count: u64 = words.number("count")?.unwrap_or(1);
    let mut outcomes = serde_json::Map::new();
    for address in words.addresses("to")? {
        let mut each = Outcomes::default();
        for _ in 0..count {
            each.add(&once(address));
        }
        outcomes.insert(address.to_string(), each.json());
    }
    say(&json!(outcomes));
    Ok(())
}

fn shared(at: &Address, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    let socket = net::socket(at.family(), kind, protocol).map_err(unsupported)?;
    net::set(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    // A wildcard of IPv6 takes both families, as it does by default nearly everywhere.
    if at.family() == libc::AF_INET6 {
        net::set(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0)?;
    }
    Ok(socket)
}

fn serve(at: SocketAddr, kind: c_int, protocol: c_int) -> io::Result<()> {
    let at = Address::ip(at);
    let socket = shared(&at, kind, protocol)?;
    net::bind(&socket, &at)?;
    if kind == libc::SOCK_STREAM { net::listen(&socket) } else { Ok(()) }
}

/// An IPv4 socket takes family 0 for its own, with the wildcard address.
fn without_family(at: SocketAddr) -> io::Result<()> {
    let any = Address::ip(SocketAddr::from(([0, 0, 0, 0], at.port())));
    let socket = shared(&any, libc::SOCK_STREAM, 0)?;
    net::bind(&socket, &any.without_family())?;
    net::listen(&socket)
}

fn only_listen(at: SocketAddr) -> io::Result<()> {
    let socket = shared(&Address::ip(at), libc::SOCK_STREAM, 0)?;
    let port = c_int::from(at.port());
    net::set(&socket, libc::IPPROTO_IP, LOCAL_PORT_RANGE, port << 16 | port).map_err(unsupported)?;
    net::listen(&socket)
}

/// `raw`: tries to open each kind of socket that sees packets as they are, and tells the outcomes.
pub fn raw(_: &Words) -> Result<()> {
    let everything = c_int::from((libc::ETH_P_ALL as u16).to_be());
    let kinds = [
        ("inet raw", libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
        ("inet raw tcp", libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_TCP),
        ("inet6 raw", libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6),
        ("packet raw", libc::AF_PACKET, libc::SOCK_RAW, everything),
        ("packet datagram", libc::AF_PACKET, libc::SOCK_DGRAM, everything),
        ("inet stream", libc::AF_INET, libc::SOCK_STREAM, 0),
        ("unix datagram", libc::AF_UNIX, libc::SOCK_DGRAM, 0),
    ];
    let outcome = |(name, family, kind, protocol)| {
        let outcome = net::socket(family, kind, protocol);
        (name, outcome.map_or_else(|error| error_name(&error), |_| "ok".to_owned()))
    };
    let outcomes: std::collections::BTreeMap<_, _> = kinds.map(outcome).into();
    say(&json!(outcomes));
    Ok(())
}
