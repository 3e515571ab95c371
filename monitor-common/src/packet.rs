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
    /// IP protocol number of the payload, past extension headers.
    pub protocol: u8,
    /// Destination port; 0 for a protocol without ports.
    pub port: u16,
    /// 1 for a TCP segment that opens a connection (SYN without ACK), else 0.
    pub opens: u8,
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
    transport(frame, at + header, protocol, source)
}

#[inline(always)]
fn ipv6(frame: &impl Frame, at: usize) -> Result<Option<Packet>, Unparsed> {
    let [mut next] = bytes(frame, at + 6)?;
    let source = Addr { bytes: bytes(frame, at + 8)? };
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
    transport(frame, at, next, source).map(Some)
}

#[inline(always)]
fn transport(frame: &impl Frame, at: usize, protocol: u8, source: Addr) -> Result<Packet, Unparsed> {
    let mut packet = Packet { source, protocol, port: 0, opens: 0 };
    if protocol == TCP || protocol == UDP {
        packet.port = be16(frame, at + 2)?;
    }
    if protocol == TCP {
        const SYN: u8 = 0x02;
        const ACK: u8 = 0x10;
        let [flags] = bytes(frame, at + 13)?;
        packet.opens = u8::from(flags & (SYN | ACK) == SYN);
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
