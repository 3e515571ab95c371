//! Reads what a rate limit needs out of a frame: one parser for the packet program and for the host.

use crate::{addr::Addr, count::Unparsed, limits};

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Where it says it comes from ([`Addr::words`]). Zero for an IPv6 packet that claims a mapped IPv4 address, which no
    /// honest host sends (RFC 4942, section 2.2.1): it mustn't spend what belongs to an IPv4 source.
    pub source: [u64; 2],
    /// 4 or 6: the version of IP.
    pub family: u8,
    /// IP protocol number of the payload, past extension headers.
    pub protocol: u8,
    /// Destination port; 0 for a protocol without ports.
    pub port: u16,
    /// 1 for a TCP segment that opens a connection (SYN without ACK), else 0.
    pub opens: u16,
    /// Where the IP header begins.
    pub network: u16,
    /// Where the header with the ports begins.
    pub transport: u16,
}

impl Packet {
    /// Where it says it comes from.
    #[inline(always)]
    #[must_use]
    pub const fn from(&self) -> Addr {
        Addr::from_words(self.source)
    }

    /// The source as far as a rule tells sources apart.
    #[inline(always)]
    #[must_use]
    pub const fn masked(&self, mask_v4: &[u64; 2], mask_v6: &[u64; 2]) -> [u64; 2] {
        let mask = if self.family == 4 { mask_v4 } else { mask_v6 };
        [self.source[0] & mask[0], self.source[1] & mask[1]]
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// An IP packet.
    Ip,
    /// Not IP (ARP and the like), or IPv6 neighbour discovery: not for rate limits.
    Other,
    /// An IP packet whose ports can't be told. The source is zero where that can't be told either.
    Unparsed(Unparsed),
}

/// What a frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// The IP header.
    None,
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
/// The furthest a header may begin, so that the verifier sees a bound.
const FURTHEST: usize = 2048;
/// What is in front of an IPv4 address in mapped form, in its half.
const MAPPED: [u8; 4] = [0, 0, 0xff, 0xff];

/// Parses a frame.
#[inline(always)]
pub fn parse(frame: &impl Frame, link: Link, packet: &mut Packet) -> Parsed {
    match try_parse(frame, link, packet) {
        Ok(true) => Parsed::Ip,
        Ok(false) => Parsed::Other,
        Err(reason) => Parsed::Unparsed(reason),
    }
}

/// Whether it is for rate limits.
#[inline(always)]
fn try_parse(frame: &impl Frame, link: Link, packet: &mut Packet) -> Result<bool, Unparsed> {
    packet.source = [0; 2];
    packet.port = 0;
    packet.opens = 0;
    packet.protocol = 0;
    packet.family = 0;
    let (at, ethertype) = match link {
        Link::Ethernet => past_tags(frame)?,
        Link::None => (0, if bytes::<1>(frame, 0)?[0] >> 4 == 6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 }),
    };
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(frame, at, packet),
        ETHERTYPE_IPV6 => ipv6(frame, at, packet),
        ETHERTYPE_VLAN | ETHERTYPE_QINQ => Err(Unparsed::TooDeep),
        _ => Ok(false),
    }
}

/// Where the header behind the tags begins, and of what it is.
#[inline(always)]
fn past_tags(frame: &impl Frame) -> Result<(usize, u16), Unparsed> {
    let mut at = ETHERNET - 2;
    let mut ethertype = be16(frame, at)?;
    let mut tags = 0;
    while tags < limits::VLANS && (ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ) {
        at = frame.blur(at + 4);
        ethertype = frame.blur(be16(frame, at)? as usize) as u16;
        tags += 1;
    }
    Ok((at + 2, ethertype))
}

#[inline(always)]
fn ipv4(frame: &impl Frame, at: usize, packet: &mut Packet) -> Result<bool, Unparsed> {
    let [first] = bytes(frame, at)?;
    let header = (first & 0xf) as usize * 4;
    let [a, b, c, d] = bytes(frame, at + 12)?;
    let [e, f, g, h] = MAPPED;
    packet.family = 4;
    packet.source = [0, u64::from_ne_bytes([e, f, g, h, a, b, c, d])];
    packet.network = at as u16;
    if header < 20 {
        return Err(Unparsed::Truncated);
    }
    // RFC 791: flags and fragment offset share 16 bits; an offset other than 0 is a later fragment.
    if be16(frame, at + 6)? & 0x1fff != 0 {
        return Err(Unparsed::Fragment);
    }
    let [protocol] = bytes(frame, at + 9)?;
    packet.protocol = protocol;
    let end = end_of(at, be16(frame, at + 2)?);
    transport(frame, frame.blur(at + header), end, packet)
}

#[inline(always)]
fn ipv6(frame: &impl Frame, at: usize, packet: &mut Packet) -> Result<bool, Unparsed> {
    let [mut next] = bytes(frame, at + 6)?;
    packet.family = 6;
    let source = [u64::from_ne_bytes(bytes(frame, at + 8)?), u64::from_ne_bytes(bytes(frame, at + 16)?)];
    let disguised = source[0] == 0 && source[1] as u32 == u32::from_ne_bytes(MAPPED);
    packet.source = if disguised { [0; 2] } else { source };
    packet.network = at as u16;
    let end = end_of(at + 40, be16(frame, at + 4)?);
    let mut at = at + 40;
    let mut followed = 0;
    while followed < limits::EXTENSIONS {
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
    packet.protocol = next;
    // RFC 4861: router and neighbour solicitation and advertisement, redirect. Without them the link is dead.
    if next == ICMP6 && matches!(bytes::<1>(frame, at)?[0], 133..=137) {
        return Ok(false);
    }
    transport(frame, at, end, packet)
}

/// Where a packet ends that is `length` bytes long from `at`. Behind it, a short frame is filled up with bytes that mean
/// nothing. Packets that were merged to more than 64 KiB (BIG TCP) say 0: they end with the frame.
#[inline(always)]
fn end_of(at: usize, length: u16) -> usize {
    if length == 0 { usize::MAX } else { at + length as usize }
}

/// Completes a packet from the header at `at`, of which nothing behind `end` is read.
#[inline(always)]
fn transport(frame: &impl Frame, at: usize, end: usize, packet: &mut Packet) -> Result<bool, Unparsed> {
    const PORTS: usize = 4;
    const FLAGS: usize = 13;
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    packet.transport = at as u16;
    if packet.protocol != TCP && packet.protocol != UDP {
        return Ok(true);
    }
    if at + PORTS > end {
        return Err(Unparsed::Truncated);
    }
    packet.port = be16(frame, at + 2)?;
    if packet.protocol == TCP {
        // A first fragment so short that the flags are in the next one (RFC 1858) may open a connection; nobody who has
        // nothing to hide sends one.
        let opens = at + FLAGS >= end || bytes::<1>(frame, at + FLAGS)?[0] & (SYN | ACK) == SYN;
        packet.opens = u16::from(opens);
    }
    Ok(true)
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
