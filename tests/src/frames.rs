//! Frames of any shape, for what honest stacks never send. Headers come from etherparse where it makes them, with right
//! checksums; what it can't make is bytes.

pub mod wire;

use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6Header, TcpHeader, UdpHeader};

/// Ethertype of IPv4.
pub const IPV4: u16 = 0x0800;
/// Ethertype of IPv6.
pub const IPV6: u16 = 0x86dd;
/// Ethertype of a VLAN tag.
pub const VLAN: u16 = 0x8100;
/// Ethertype of an outer VLAN tag.
pub const QINQ: u16 = 0x88a8;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Number of the hop-by-hop options header.
pub const HOP_BY_HOP: u8 = 0;
/// Number of the routing header.
pub const ROUTING: u8 = 43;
/// Number of the fragment header.
pub const FRAGMENT: u8 = 44;
/// Number of the authentication header.
pub const AUTHENTICATION: u8 = 51;
/// Number of the destination options header.
pub const DESTINATION: u8 = 60;

/// Between whom a frame goes.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// Hardware address of the sender.
    pub from_mac: [u8; 6],
    /// And of the receiver.
    pub to_mac: [u8; 6],
    /// Whom it says it is from; of the same family as `to`, unless it lies.
    pub from: IpAddr,
    /// Whom it is to.
    pub to: IpAddr,
    /// To which port.
    pub port: u16,
}

/// What an IPv4 header says beside the usual.
#[derive(Debug, Clone, Default)]
pub struct V4 {
    /// Protocol number.
    pub protocol: u8,
    /// A multiple of four bytes, at most 40.
    pub options: Vec<u8>,
    /// Tells datagrams apart.
    pub id: u16,
    /// Offset of a fragment in units of eight bytes.
    pub offset: u16,
    /// Whether more fragments follow.
    pub more: bool,
    /// Instead of the true length.
    pub length: Option<u16>,
}

impl Ends {
    /// A frame: its tags, each as ethertype and VLAN number, and what they are in front of.
    pub fn ethernet(&self, tags: &[(u16, u16)], ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = [self.to_mac, self.from_mac].concat();
        for (kind, vlan) in tags {
            frame.extend(kind.to_be_bytes());
            frame.extend(vlan.to_be_bytes());
        }
        frame.extend(ethertype.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// A frame without tags of an IP packet.
    pub fn plain(&self, packet: &[u8]) -> Vec<u8> {
        let ethertype = if self.to.is_ipv4() { IPV4 } else { IPV6 };
        self.ethernet(&[], ethertype, packet)
    }

    /// An IPv4 packet.
    ///
    /// # Errors
    /// When the ends aren't IPv4 or a field doesn't fit.
    pub fn ipv4(&self, says: &V4, payload: &[u8]) -> Result<Vec<u8>> {
        let (source, destination) = self.v4()?;
        let length = u16::try_from(payload.len())?;
        let mut header = Ipv4Header::new(length, 64, IpNumber(says.protocol), source, destination)?;
        header.options = Ipv4Options::try_from(&says.options[..])?;
        header.identification = says.id;
        header.dont_fragment = false;
        header.more_fragments = says.more;
        header.fragment_offset = IpFragOffset::try_new(says.offset)?;
        header.total_len = says.length.unwrap_or(header.total_len + u16::try_from(says.options.len())?);
        header.header_checksum = header.calc_header_checksum();
        Ok([&header.to_bytes()[..], payload].concat())
    }

    /// An IPv6 packet.
    ///
    /// # Errors
    /// When the ends aren't IPv6 or it is too long.
    pub fn ipv6(&self, next: u8, payload: &[u8]) -> Result<Vec<u8>> {
        let (source, destination) = self.v6()?;
        let header = Ipv6Header {
            payload_length: u16::try_from(payload.len())?,
            next_header: IpNumber(next),
            hop_limit: 255,
            source,
            destination,
            ..Ipv6Header::default()
        };
        Ok([&header.to_bytes()[..], payload].concat())
    }

    /// A packet of either version with nothing unusual.
    ///
    /// # Errors
    /// As of the two above.
    pub fn ip(&self, protocol: u8, payload: &[u8]) -> Result<Vec<u8>> {
        match self.to {
            IpAddr::V4(_) => self.ipv4(&V4 { protocol, ..V4::default() }, payload),
            IpAddr::V6(_) => self.ipv6(protocol, payload),
        }
    }

    /// A UDP datagram with its header.
    ///
    /// # Errors
    /// When it is too long.
    pub fn udp(&self, payload: &[u8]) -> Result<Vec<u8>> {
        const FROM: u16 = 40_000;
        let header = match self.to {
            IpAddr::V4(_) => {
                let (source, destination) = self.v4()?;
                let ip = Ipv4Header { source, destination, ..Ipv4Header::default() };
                UdpHeader::with_ipv4_checksum(FROM, self.port, &ip, payload)?
            }
            IpAddr::V6(_) => {
                let (source, destination) = self.v6()?;
                let ip = Ipv6Header { source, destination, ..Ipv6Header::default() };
                UdpHeader::with_ipv6_checksum(FROM, self.port, &ip, payload)?
            }
        };
        Ok([&header.to_bytes()[..], payload].concat())
    }

    /// A TCP segment that asks for a connection from a port, changed by `change` before its checksum is made.
    ///
    /// # Errors
    /// When the ends are of different families.
    pub fn syn(&self, from: u16, payload: &[u8], change: impl FnOnce(&mut TcpHeader)) -> Result<Vec<u8>> {
        let mut header = TcpHeader::new(from, self.port, 1, 64_000);
        header.syn = true;
        change(&mut header);
        header.checksum = match self.to {
            IpAddr::V4(_) => {
                let (source, destination) = self.v4()?;
                header.calc_checksum_ipv4_raw(source, destination, payload)?
            }
            IpAddr::V6(_) => {
                let (source, destination) = self.v6()?;
                header.calc_checksum_ipv6_raw(source, destination, payload)?
            }
        };
        Ok([&header.to_bytes()[..], payload].concat())
    }

    fn v4(&self) -> Result<([u8; 4], [u8; 4])> {
        let (IpAddr::V4(from), IpAddr::V4(to)) = (self.from, self.to) else { bail!("{self:?} is not IPv4") };
        Ok((from.octets(), to.octets()))
    }

    fn v6(&self) -> Result<([u8; 16], [u8; 16])> {
        let IpAddr::V6(to) = self.to else { bail!("{self:?} is not IPv6") };
        let from = match self.from {
            IpAddr::V4(from) => from.to_ipv6_mapped(),
            IpAddr::V6(from) => from,
        };
        Ok((from.octets(), to.octets()))
    }
}

/// An options header (hop-by-hop, destination, routing) of eight bytes that asks for nothing.
pub fn options(next: u8, kind: u8) -> [u8; 8] {
    match kind {
        // Type 0, no segments left.
        ROUTING => [next, 0, 0, 0, 0, 0, 0, 0],
        // Filled up with one option of six bytes.
        _ => [next, 0, 1, 4, 0, 0, 0, 0],
    }
}

/// A fragment header; the offset in units of eight bytes.
pub fn fragment(next: u8, offset: u16, more: bool, id: u32) -> [u8; 8] {
    let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
    let [a, b, c, d] = id.to_be_bytes();
    [next, 0, high, low, a, b, c, d]
}

/// Headers in front of a payload, outermost first; the number of the first, and all bytes.
///
/// # Errors
/// Never, with kinds that [`options`] makes.
pub fn behind(kinds: &[u8], protocol: u8, payload: &[u8]) -> Result<(u8, Vec<u8>)> {
    let (mut next, mut bytes) = (protocol, payload.to_vec());
    for kind in kinds.iter().rev() {
        let header = match *kind {
            FRAGMENT => fragment(next, 0, false, 7),
            HOP_BY_HOP | ROUTING | DESTINATION => options(next, *kind),
            other => bail!("no header of kind {other} here"),
        };
        bytes = [&header[..], &bytes].concat();
        next = *kind;
    }
    Ok((next, bytes))
}

/// Cuts a payload in pieces of `size` bytes, a multiple of eight: each with its offset in units of eight bytes, and whether
/// more follow.
///
/// # Errors
/// When the size is none.
pub fn pieces(payload: &[u8], size: usize) -> Result<Vec<(u16, bool, &[u8])>> {
    let last = payload.len().div_ceil(size.max(1)).checked_sub(1).context("nothing to cut")?;
    let cut = payload.chunks(size).enumerate();
    cut.map(|(index, piece)| Ok((u16::try_from(index * size / 8)?, index < last, piece))).collect()
}
