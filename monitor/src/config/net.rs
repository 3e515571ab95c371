//! Addresses, prefixes and ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use super::model::Protocol;
use super::pattern::Wrong;
use super::raw::Port;
use super::source::quoted;

/// An entry of `protect`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Protected {
    Prefix(IpAddr, u8),
    Port(Protocol, u16),
}

/// Reads an address, a prefix, `tcp/22` or `udp/53`. The second value is a warning with its help.
pub(crate) fn protected(text: &str) -> Result<(Protected, Option<Wrong>), Wrong> {
    let (before, after) = match text.split_once('/') {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    };
    let protocol = match before {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        _ => None,
    };
    if let Some(protocol) = protocol {
        return match after.map(str::parse::<u16>) {
            Some(Ok(port)) if port > 0 => Ok((Protected::Port(protocol, port), None)),
            _ => {
                let help = format!("write `{before}/` and a port from 1 to 65535, for example `{before}/22`");
                Err((format!("{} is no local port", quoted(text)), help))
            }
        };
    }
    let help = "write an address (`192.0.2.7`), a prefix (`10.0.0.0/24`, `2001:db8::/32`) or a local port (`tcp/22`)";
    let (network, warning) = network(text, "address, prefix or port", help)?;
    let (address, length) = network;
    if length == 0 {
        let message = format!("{} protects every address: nothing would ever be dropped", quoted(text));
        let help = "protect only the addresses from which the host is managed";
        return Ok((Protected::Prefix(address, length), Some((message, help.into()))));
    }
    Ok((Protected::Prefix(address, length), warning))
}

/// A network: its address without bits beyond the prefix, never IPv4 in IPv6 form; and the length of the prefix.
pub(crate) type Network = (IpAddr, u8);

/// Reads an address or a prefix. The second value is a warning with its help.
pub(crate) fn prefix(text: &str) -> Result<(Network, Option<Wrong>), Wrong> {
    network(
        text,
        "address or prefix",
        "write an address (`192.0.2.7`) or a prefix (`10.0.0.0/24`, `2001:db8::/32`)",
    )
}

fn network(text: &str, kind: &str, help: &str) -> Result<(Network, Option<Wrong>), Wrong> {
    let (before, after) = match text.split_once('/') {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    };
    let Ok(address) = before.parse::<IpAddr>() else {
        return Err((format!("{} is no {kind}", quoted(text)), help.into()));
    };
    let width = if address.is_ipv4() { 32 } else { 128 };
    let length = match after {
        None => width,
        Some(after) => match after.parse::<u8>() {
            Ok(length) if length <= width && !after.starts_with('+') => length,
            _ => {
                let message = format!("the prefix length of {} is not from 0 to {width}", quoted(text));
                return Err((message, help.into()));
            }
        },
    };
    let (network, length) = canonical(address, length);
    let warning = (network != address.to_canonical()).then(|| {
        let message = format!("{} has bits set beyond its prefix", quoted(text));
        (message, format!("it is read as `{network}/{length}`; write that, or a longer prefix"))
    });
    Ok(((network, length), warning))
}

/// Clears the bits beyond the prefix, and makes IPv4 of IPv4 in IPv6 form.
fn canonical(address: IpAddr, length: u8) -> Network {
    match address {
        IpAddr::V6(v6) if length >= 96 && v6.to_ipv4_mapped().is_some() => {
            let v4 = v6.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED);
            (IpAddr::V4(mask_v4(v4, length - 96)), length - 96)
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            (IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask)), length)
        }
        IpAddr::V4(v4) => (IpAddr::V4(mask_v4(v4, length)), length),
    }
}

fn mask_v4(address: Ipv4Addr, length: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

/// Reads the address of `listen`.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, Wrong> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let message = format!("{} is no address with a port", quoted(text));
    let is_port = |text: &str| text.parse::<u16>().is_ok();
    let help = match text.rsplit_once(':') {
        _ if is_port(text) => format!("write `127.0.0.1:{text}`"),
        Some(("localhost", port)) if is_port(port) => {
            format!("names aren't looked up; write `127.0.0.1:{port}`")
        }
        Some(("" | "*", port)) if is_port(port) => {
            format!("write `127.0.0.1:{port}`, or `0.0.0.0:{port}` for every address of the host")
        }
        _ if text.parse::<Ipv6Addr>().is_ok() => format!("write `[{text}]:9469`"),
        _ if text.parse::<Ipv4Addr>().is_ok() => format!("write `{text}:9469`"),
        _ => "write an address and a port, for example `127.0.0.1:9469` or `[::1]:9469`".into(),
    };
    Err((message, help))
}

/// Reads a port or a range of ports.
pub(crate) fn port(port: &Port) -> Result<RangeInclusive<u16>, Wrong> {
    let help = "write a port from 1 to 65535, or a range such as `\"6000-6010\"`";
    match port {
        Port::Number(number) => match u16::try_from(*number) {
            Ok(port) if port > 0 => Ok(port..=port),
            _ => Err((format!("the port {number} is not from 1 to 65535"), help.into())),
        },
        Port::Range(text) => {
            let parse = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
            let Some((first, last)) = text.split_once('-') else {
                let help = match parse(text) {
                    Some(port) => format!("write the number without quotes: `{port}`"),
                    None => help.into(),
                };
                return Err((format!("{} is no range of ports", quoted(text)), help));
            };
            match (parse(first), parse(last)) {
                (Some(first), Some(last)) if first <= last => Ok(first..=last),
                (Some(first), Some(last)) => Err((
                    format!("the range {} is backwards", quoted(text)),
                    format!("write `\"{last}-{first}\"`"),
                )),
                _ => Err((format!("{} is no range of ports", quoted(text)), help.into())),
            }
        }
    }
}
