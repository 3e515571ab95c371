//! Reads what a rate limit needs out of a frame: one parser for the packet program and for the host.

use crate::{addr::Addr, count::Unparsed};

/// A frame that can be read at an offset. Reads past its end give `None`.
pub trait Frame {
    /// `N` bytes at `at`.
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]>;

    /// The same number. In the kernel program it is one that the verifier knows nothing of, so that the many ways to
    /// get to a place in the parser are one state from there on.
    #[inline(always)]
    fn blur(&self, number: usize) -> usize {
        number
    }
}

impl Frame for &[u8] {
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.get(at..at.checked_add(N)?)?.try_into().ok()
    }
}

/// What a rate limit needs to know of a packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it says it comes from.
    pub source: Addr,
    /// 4 or 6: the version of IP. An IPv6 packet may claim a mapped IPv4 address as its source.
    pub family: u8,
    /// IP protocol number of the payload, past extension headers.
    pub protocol: u8,
    /// Destination port; 0 for a protocol without ports.
    pub port: u16,
    /// 1 for a TCP segment that opens a connection (SYN without ACK), else 0.
    pub opens: u8,
}

impl Packet {
    /// The source that a `per = "source"` limit counts by: IPv4 by /32, IPv6 by /64.
    ///
    /// One IPv6 subscriber holds at least a /64 (RFC 6177), so anything narrower is free to change. An IPv6 packet never
    /// spends what belongs to an IPv4 source.
    #[inline(always)]
    #[must_use]
    pub fn limited_by(&self) -> Addr {
        if self.family == 4 { self.source } else { self.source.network_64() }
    }

    /// Whether the source is an IPv4 address in an IPv6 packet, which no honest host sends (RFC 4942, section 2.2.1).
    #[inline(always)]
    #[must_use]
    pub fn is_disguised(&self) -> bool {
        self.family == 6 && self.source.is_v4()
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// An IP packet.
    Ip(Packet),
    /// Not IP (ARP and the like), or IPv6 neighbour discovery: not for rate limits.
    Other,
    /// An IP packet whose ports can't be told.
    Unparsed(Unparsed),
}

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;
const ICMP6: u8 = 58;

const ETHERNET: usize = 14;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
/// VLAN tags that are followed.
const VLANS: usize = 3;
/// IPv6 extension headers that are followed.
const EXTENSIONS: usize = 8;
/// The furthest a header may begin, so that the verifier sees a bound.
const FURTHEST: usize = 2048;

/// Parses an Ethernet frame.
#[inline(always)]
pub fn parse(frame: &impl Frame) -> Parsed {
    match try_parse(frame) {
        Ok(packet) => packet.map_or(Parsed::Other, Parsed::Ip),
        Err(reason) => Parsed::Unparsed(reason),
    }
}

#[inline(always)]
fn try_parse(frame: &impl Frame) -> Result<Option<Packet>, Unparsed> {
    let mut at = ETHERNET - 2;
    let mut ethertype = be16(frame, at)?;
    let mut tags = 0;
    while tags < VLANS && (ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ) {
        at += 4;
        ethertype = be16(frame, at)?;
        tags += 1;
    }
    let at = frame.blur(at + 2);
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(frame, at).map(Some),
        ETHERTYPE_IPV6 => ipv6(frame, at),
        ETHERTYPE_VLAN | ETHERTYPE_QINQ => Err(Unparsed::TooDeep),
        _ => Ok(None),
    }
}

#[inline(always)]
fn ipv4(frame: &impl Frame, at: usize) -> Result<Packet, Unparsed> {
    let [first] = bytes(frame, at)?;
    let header = (first & 0xf) as usize * 4;
    if header < 20 {
        return Err(Unparsed::Truncated);
    }
    // RFC 791: flags and fragment offset share 16 bits; an offset other than 0 is a later fragment.
    if be16(frame, at + 6)? & 0x1fff != 0 {
        return Err(Unparsed::Fragment);
    }
    let [protocol] = bytes(frame, at + 9)?;
    let source = Addr::v4(bytes(frame, at + 12)?);
    let end = end_of(at, be16(frame, at + 2)?);
    transport(frame, at + header, end, Packet { source, family: 4, protocol, port: 0, opens: 0 })
}

#[inline(always)]
fn ipv6(frame: &impl Frame, at: usize) -> Result<Option<Packet>, Unparsed> {
    let [mut next] = bytes(frame, at + 6)?;
    let source = Addr { bytes: bytes(frame, at + 8)? };
    let end = end_of(at + 40, be16(frame, at + 4)?);
    let mut at = at + 40;
    let mut followed = 0;
    while followed < EXTENSIONS {
        // RFC 8200, section 4: hop-by-hop 0, routing 43, fragment 44, destination 60; RFC 4302: authentication 51.
        let length = match next {
            0 | 43 | 60 => (bytes::<1>(frame, at + 1)?[0] as usize + 1) * 8,
            51 => (bytes::<1>(frame, at + 1)?[0] as usize + 2) * 4,
            44 => {
                if be16(frame, at + 2)? & 0xfff8 != 0 {
                    return Err(Unparsed::Fragment);
                }
                8
            }
            _ => break,
        };
        next = frame.blur(bytes::<1>(frame, at)?[0] as usize) as u8;
        at = frame.blur(at + length);
        if at > FURTHEST {
            return Err(Unparsed::TooDeep);
        }
        followed += 1;
    }
    if matches!(next, 0 | 43 | 44 | 51 | 60) {
        return Err(Unparsed::TooDeep);
    }
    // RFC 4861: router and neighbour solicitation and advertisement, redirect. Without them the link is dead.
    if next == ICMP6 && matches!(bytes::<1>(frame, at)?[0], 133..=137) {
        return Ok(None);
    }
    transport(frame, at, end, Packet { source, family: 6, protocol: next, port: 0, opens: 0 }).map(Some)
}

/// Where a packet ends that is `length` bytes long from `at`. Behind it, a short frame is filled up with bytes that mean
/// nothing. Packets that were merged to more than 64 KiB (BIG TCP) say 0: they end with the frame.
#[inline(always)]
fn end_of(at: usize, length: u16) -> usize {
    if length == 0 { usize::MAX } else { at + length as usize }
}

/// Completes a packet from the header at `at`, of which nothing behind `end` is read.
#[inline(always)]
fn transport(frame: &impl Frame, at: usize, end: usize, mut packet: Packet) -> Result<Packet, Unparsed> {
    const PORTS: usize = 4;
    const FLAGS: usize = 13;
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    if packet.protocol != TCP && packet.protocol != UDP {
        return Ok(packet);
    }
    if at + PORTS > end {
        return Err(Unparsed::Truncated);
    }
    packet.port = be16(frame, at + 2)?;
    if packet.protocol == TCP {
        // A first fragment so short that the flags are in the next one (RFC 1858) may open a connection; nobody who has
        // nothing to hide sends one.
        let opens = at + FLAGS >= end || bytes::<1>(frame, at + FLAGS)?[0] & (SYN | ACK) == SYN;
        packet.opens = u8::from(opens);
    }
    Ok(packet)
}

#[inline(always)]
fn bytes<const N: usize>(frame: &impl Frame, at: usize) -> Result<[u8; N], Unparsed> {
    frame.bytes(at).ok_or(Unparsed::Truncated)
}

#[inline(always)]
fn be16(frame: &impl Frame, at: usize) -> Result<u16, Unparsed> {
    bytes(frame, at).map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests;
