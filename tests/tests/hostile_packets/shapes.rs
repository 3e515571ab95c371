//! Shapes of datagrams that plain parsers miss, beside some that no stack takes.

use std::net::IpAddr;

use anyhow::Result;
use tests::frames::{
    AUTHENTICATION, DESTINATION, Ends, FRAGMENT, HOP_BY_HOP, IPV4, IPV6, QINQ, ROUTING, UDP, V4, VLAN,
    behind, fragment, pieces,
};

/// How the frames of a datagram are made, given its number.
type Make = fn(&Ends, u16) -> Result<Vec<Vec<u8>>>;

/// A shape of datagrams.
#[derive(Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    /// Whether it is one of those every kernel delivers; of others the control tells.
    pub delivered: bool,
    /// Frames of each datagram whose ports can't be told, by reason.
    pub unparsed: &'static [(&'static str, u64)],
    /// Whom it says it is from, if not from whom it is told.
    pub claims: Option<&'static str>,
    pub make: Make,
}

impl Shape {
    const fn taken(name: &'static str, make: Make) -> Self {
        Self { name, delivered: true, unparsed: &[], claims: None, make }
    }

    const fn doubtful(name: &'static str, make: Make) -> Self {
        Self { name, delivered: false, unparsed: &[], claims: None, make }
    }

    const fn unparsed(self, unparsed: &'static [(&'static str, u64)]) -> Self {
        Self { unparsed, ..self }
    }

    const fn claims(self, source: &'static str) -> Self {
        Self { claims: Some(source), ..self }
    }

    /// Whether what delivers it is charged as unparsed rather than to the port.
    pub fn hides_its_port(&self) -> bool {
        self.unparsed.iter().any(|(reason, _)| *reason != "fragment")
    }
}

/// Nothing in particular; 64 bytes.
const PAYLOAD: &[u8] = &[b'x'; 64];

/// Those of IPv4.
pub const V4_SHAPES: &[Shape] = &[
    Shape::taken("plain", plain),
    Shape::taken("priority tag", |ends, _| tagged(ends, &[(VLAN, 0)])),
    Shape::taken("two priority tags", |ends, _| tagged(ends, &[(VLAN, 0); 2])),
    Shape::taken("sixteen priority tags", |ends, _| tagged(ends, &[(VLAN, 0); 16])),
    Shape::taken("QinQ priority tags", |ends, _| tagged(ends, &[(QINQ, 0), (VLAN, 0)])),
    Shape::taken("eighteen priority tags", |ends, _| tagged(ends, &[(VLAN, 0); 18]))
        .unparsed(&[("too_deep", 1)]),
    Shape::doubtful("a VLAN that nobody has", |ends, _| tagged(ends, &[(VLAN, 5)])),
    Shape::taken("forty bytes of options", |ends, _| v4(ends, &V4 { options: vec![1; 40], ..V4::default() })),
    Shape::doubtful("router alert", |ends, _| v4(ends, &V4 { options: vec![148, 4, 0, 0], ..V4::default() })),
    Shape::taken("fragments", |ends, id| fragments4(ends, id, 24)).unparsed(&[("fragment", 2)]),
    Shape::taken("fragments in reverse", |ends, id| reversed(fragments4(ends, id, 24)))
        .unparsed(&[("fragment", 2)]),
    Shape::taken("fragments of eight bytes", |ends, id| fragments4(ends, id, 8)).unparsed(&[("fragment", 8)]),
    Shape::taken("tagged fragments in reverse", |ends, id| {
        let packets = reversed(fragments4_packets(ends, id, 40))?;
        Ok(packets.iter().map(|packet| ends.ethernet(&[(VLAN, 0)], IPV4, packet)).collect())
    })
    .unparsed(&[("fragment", 1)]),
    Shape::doubtful("the first fragment twice", |ends, id| {
        let mut frames = fragments4(ends, id, 40)?;
        frames.insert(0, frames[0].clone());
        Ok(frames)
    })
    .unparsed(&[("fragment", 1)]),
    Shape::doubtful("two first fragments, the other to another port", |ends, id| {
        let mut frames = fragments4(ends, id, 40)?;
        let innocent = fragments4(&Ends { port: 9, ..*ends }, id, 40)?;
        frames.insert(0, innocent[0].clone());
        Ok(frames)
    })
    .unparsed(&[("fragment", 1)]),
    Shape::doubtful("a fragment without the rest", |ends, id| {
        Ok(fragments4(ends, id, 40)?.drain(..1).collect())
    }),
    Shape::taken("bytes behind the packet", |ends, _| {
        Ok(vec![[plain(ends, 0)?.concat(), vec![0xaa; 300]].concat()])
    }),
    Shape::doubtful("longer than the frame", |ends, _| v4(ends, &V4 { length: Some(1000), ..V4::default() })),
    Shape::doubtful("no length", |ends, _| v4(ends, &V4 { length: Some(0), ..V4::default() })),
    Shape::doubtful("a length within the header", |ends, _| {
        v4(ends, &V4 { length: Some(19), ..V4::default() })
    })
    .unparsed(&[("truncated", 1)]),
    Shape::doubtful("a UDP length of nothing", |ends, _| udp_length(ends, 0)),
    Shape::doubtful("a UDP length that is too short", |ends, _| udp_length(ends, 20)),
    Shape::doubtful("IPv4 said to be IPv6", |ends, _| {
        let packet = ends.ip(UDP, &ends.udp(PAYLOAD)?)?;
        Ok(vec![ends.ethernet(&[], IPV6, &packet)])
    }),
];

/// Those of IPv6.
pub const V6_SHAPES: &[Shape] = &[
    Shape::taken("plain", plain),
    Shape::taken("three priority tags", |ends, _| tagged(ends, &[(QINQ, 0), (VLAN, 0), (VLAN, 0)])),
    Shape::taken("hop-by-hop options", |ends, _| v6(ends, &[HOP_BY_HOP])),
    Shape::taken("destination options", |ends, _| v6(ends, &[DESTINATION])),
    Shape::taken("60 destination options", |ends, _| v6(ends, &[DESTINATION; 60])),
    Shape::taken("170 destination options", |ends, _| v6(ends, &[DESTINATION; 170])),
    Shape::taken("routing header", |ends, _| v6(ends, &[ROUTING])),
    Shape::taken("fragment header around the whole", |ends, _| v6(ends, &[FRAGMENT])),
    Shape::taken("all kinds of headers", |ends, _| {
        v6(ends, &[HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT, DESTINATION])
    }),
    Shape::taken("fragments", |ends, id| fragments6(ends, id, 24)).unparsed(&[("fragment", 2)]),
    Shape::taken("fragments in reverse", |ends, id| reversed(fragments6(ends, id, 24)))
        .unparsed(&[("fragment", 2)]),
    Shape::taken("fragments of eight bytes", |ends, id| fragments6(ends, id, 8)).unparsed(&[("fragment", 8)]),
    Shape::doubtful("ports in the second fragment", |ends, id| {
        let (next, payload) = behind(&[DESTINATION], UDP, &ends.udp(PAYLOAD)?)?;
        pieces6(ends, id, next, &payload, 8)?.into_iter().map(Ok).collect()
    })
    .unparsed(&[("truncated", 1), ("fragment", 9)]),
    Shape::doubtful("authentication header", |ends, _| {
        let header = [UDP, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
        Ok(vec![ends.plain(&ends.ipv6(AUTHENTICATION, &[&header[..], &ends.udp(PAYLOAD)?].concat())?)])
    }),
    Shape::doubtful("an IPv4 source", |ends, _| {
        let ends = Ends { from: IpAddr::from([10, 93, 0, 200]), ..*ends };
        Ok(vec![ends.plain(&ends.ipv6(UDP, &ends.udp(PAYLOAD)?)?)])
    })
    .claims("::ffff:10.93.0.200"),
    Shape::doubtful("no length", |ends, _| {
        let mut frame = plain(ends, 0)?.concat();
        frame[18..20].fill(0);
        Ok(vec![frame])
    }),
    Shape::doubtful("a jumbo option", |ends, _| {
        // RFC 2675: type 194, the length in four bytes.
        let header = [UDP, 0, 194, 4, 0, 1, 0, 0];
        let mut packet = ends.ipv6(HOP_BY_HOP, &[&header[..], &ends.udp(PAYLOAD)?].concat())?;
        packet[4..6].fill(0);
        Ok(vec![ends.plain(&packet)])
    }),
    Shape::doubtful("a UDP length of nothing", |ends, _| udp_length(ends, 0)),
    Shape::taken("bytes behind the packet", |ends, _| {
        Ok(vec![[plain(ends, 0)?.concat(), vec![0xaa; 300]].concat()])
    }),
    Shape::doubtful("hop-by-hop options that aren't first", |ends, _| v6(ends, &[DESTINATION, HOP_BY_HOP])),
];

fn plain(ends: &Ends, _: u16) -> Result<Vec<Vec<u8>>> {
    Ok(vec![ends.plain(&ends.ip(UDP, &ends.udp(PAYLOAD)?)?)])
}

fn tagged(ends: &Ends, tags: &[(u16, u16)]) -> Result<Vec<Vec<u8>>> {
    let ethertype = if ends.to.is_ipv4() { IPV4 } else { IPV6 };
    Ok(vec![ends.ethernet(tags, ethertype, &ends.ip(UDP, &ends.udp(PAYLOAD)?)?)])
}

fn v4(ends: &Ends, says: &V4) -> Result<Vec<Vec<u8>>> {
    let says = V4 { protocol: UDP, ..says.clone() };
    Ok(vec![ends.plain(&ends.ipv4(&says, &ends.udp(PAYLOAD)?)?)])
}

fn v6(ends: &Ends, kinds: &[u8]) -> Result<Vec<Vec<u8>>> {
    let (next, bytes) = behind(kinds, UDP, &ends.udp(PAYLOAD)?)?;
    Ok(vec![ends.plain(&ends.ipv6(next, &bytes)?)])
}

fn fragments4_packets(ends: &Ends, id: u16, size: usize) -> Result<Vec<Vec<u8>>> {
    let datagram = ends.udp(PAYLOAD)?;
    let packet = |(offset, more, piece): (u16, bool, &[u8])| {
        ends.ipv4(&V4 { protocol: UDP, id, offset, more, ..V4::default() }, piece)
    };
    pieces(&datagram, size)?.into_iter().map(packet).collect()
}

fn fragments4(ends: &Ends, id: u16, size: usize) -> Result<Vec<Vec<u8>>> {
    Ok(fragments4_packets(ends, id, size)?.iter().map(|packet| ends.plain(packet)).collect())
}

fn fragments6(ends: &Ends, id: u16, size: usize) -> Result<Vec<Vec<u8>>> {
    pieces6(ends, id, UDP, &ends.udp(PAYLOAD)?, size)
}

fn pieces6(ends: &Ends, id: u16, next: u8, payload: &[u8], size: usize) -> Result<Vec<Vec<u8>>> {
    let frame = |(offset, more, piece): (u16, bool, &[u8])| {
        let header = fragment(next, offset, more, u32::from(id));
        Ok(ends.plain(&ends.ipv6(FRAGMENT, &[&header[..], piece].concat())?))
    };
    pieces(payload, size)?.into_iter().map(frame).collect()
}

fn reversed(frames: Result<Vec<Vec<u8>>>) -> Result<Vec<Vec<u8>>> {
    let mut frames = frames?;
    frames.reverse();
    Ok(frames)
}

/// A datagram whose UDP header says a length of its own.
fn udp_length(ends: &Ends, length: u16) -> Result<Vec<Vec<u8>>> {
    let mut datagram = ends.udp(PAYLOAD)?;
    datagram[4..6].copy_from_slice(&length.to_be_bytes());
    Ok(vec![ends.plain(&ends.ip(UDP, &datagram)?)])
}
