//! Messages of rtnetlink, as far as they are needed here.
//!
//! Only the attributes that are used are read. A parser of everything would fail on one attribute that a driver or a newer
//! kernel writes differently, and all interfaces would be out of sight for it.

use std::{collections::BTreeSet, convert::Infallible, ffi::CStr, net::IpAddr};

use netlink_packet_core::{
    NLA_HEADER_SIZE, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, NlaBuffer, NlasIterator,
    parse_u32,
};

/// `struct ifinfomsg`, `struct rtmsg` and `struct tcmsg`.
const LINK_HEADER: usize = 16;
const ROUTE_HEADER: usize = 12;
const TRAFFIC_HEADER: usize = 20;

const IFLA_XDP: u16 = 43;
/// Of the program that is attached; then of the one in the driver, behind it, and in the hardware.
const IFLA_XDP_PROG_IDS: std::ops::RangeInclusive<u16> = 4..=7;
const TCA_BPF_ID: u16 = 11;
const RTA_VIA: u16 = 18;

/// A message, as it is on the wire behind its header.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    pub kind: u16,
    pub payload: Vec<u8>,
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.payload.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.payload);
    }
}

impl NetlinkDeserializable for Message {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Self::Error> {
        Ok(Self { kind: header.message_type, payload: payload.to_vec() })
    }
}

/// An interface as the kernel lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number in this network namespace, for as long as it lives.
    pub index: u32,
    /// Its name, which may change.
    pub name: String,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Whether it is up, as the administrator said.
    pub up: bool,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// Whether frames begin with an Ethernet header; those of tunnels begin with the IP header.
    pub ethernet: bool,
    /// What made it: `veth`, `bridge`, `wireguard`...; none for hardware.
    pub kind: Option<String>,
    /// Ids of the XDP programs on it.
    pub xdp: Vec<u32>,
}

impl Link {
    /// Reads an answer to RTM_GETLINK, or an event.
    pub(super) fn read(message: &Message) -> Option<Self> {
        if message.kind != libc::RTM_NEWLINK {
            return None;
        }
        let (header, attributes) = message.payload.split_at_checked(LINK_HEADER)?;
        let kind = u16::from_ne_bytes([header[2], header[3]]);
        let flags = number(&header[8..12])?;
        let mut link = Self {
            index: number(&header[4..8])?,
            up: flags & libc::IFF_UP as u32 != 0,
            loopback: flags & libc::IFF_LOOPBACK as u32 != 0,
            ethernet: matches!(kind, libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK),
            ..Self::default()
        };
        each(attributes, |kind, value| match kind {
            libc::IFLA_IFNAME => link.name = text(value).unwrap_or_default(),
            libc::IFLA_MTU => link.mtu = number(value).unwrap_or_default(),
            libc::IFLA_LINKINFO => each(value, |kind, value| {
                if kind == libc::IFLA_INFO_KIND {
                    link.kind = text(value);
                }
            }),
            IFLA_XDP => each(value, |kind, value| {
                let id = if IFLA_XDP_PROG_IDS.contains(&kind) { number(value) } else { None };
                if let Some(id) = id.filter(|id| *id != 0 && !link.xdp.contains(id)) {
                    link.xdp.push(id);
                }
            }),
            _ => {}
        });
        (!link.name.is_empty()).then_some(link)
    }

    /// The question for all of them.
    pub(super) fn all() -> Message {
        Message { kind: libc::RTM_GETLINK, payload: vec![0; LINK_HEADER] }
    }
}

/// The question for all routes of a version of IP.
pub(super) fn all_routes(family: libc::c_int) -> Message {
    let mut payload = vec![0; ROUTE_HEADER];
    payload[0] = family as u8;
    Message { kind: libc::RTM_GETROUTE, payload }
}

/// Whether a message is about a route to everywhere, of either version, be it made or removed.
pub(super) fn is_default_route(message: &Message) -> bool {
    matches!(message.kind, libc::RTM_NEWROUTE | libc::RTM_DELROUTE)
        && message.payload.len() >= ROUTE_HEADER
        && message.payload[1] == 0
}

/// Where default routes lead; those that lead nowhere (unreachable, blackhole) are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DefaultRoutes {
    /// Indices of the interfaces that they lead over.
    pub interfaces: BTreeSet<u32>,
    /// Addresses of the gateways that they lead to.
    pub gateways: BTreeSet<IpAddr>,
}

impl DefaultRoutes {
    /// Adds what an answer to RTM_GETROUTE says, if it is about a default route.
    pub(super) fn read(&mut self, message: &Message) {
        let Some((header, attributes)) = message.payload.split_at_checked(ROUTE_HEADER) else { return };
        if is_default_route(message) && header[7] == libc::RTN_UNICAST {
            each(attributes, |kind, value| match kind {
                libc::RTA_OIF => self.interfaces.extend(number(value)),
                libc::RTA_MULTIPATH => self.read_hops(value),
                kind => self.gateways.extend(gateway(kind, value)),
            });
        }
    }

    /// Reads a row of `struct rtnexthop`, each with its length at the front, its interface at the end, and attributes after it.
    fn read_hops(&mut self, mut rest: &[u8]) {
        const HEADER: usize = 8;
        while let Some(hop) = rest.get(..HEADER) {
            self.interfaces.extend(number(&hop[4..8]));
            let length = usize::from(u16::from_ne_bytes([hop[0], hop[1]])).max(HEADER);
            let attributes = rest.get(HEADER..length).unwrap_or_default();
            each(attributes, |kind, value| self.gateways.extend(gateway(kind, value)));
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// The address in an attribute that names a gateway: of the route's own version of IP, or with the version in front
/// (`struct rtvia`).
fn gateway(kind: u16, value: &[u8]) -> Option<IpAddr> {
    let address = match kind {
        libc::RTA_GATEWAY => value,
        RTA_VIA => value.get(2..)?,
        _ => return None,
    };
    let v4 = || <[u8; 4]>::try_from(address).map(IpAddr::from);
    let address = v4().or_else(|_| <[u8; 16]>::try_from(address).map(IpAddr::from)).ok()?;
    (!address.is_unspecified()).then_some(address)
}

/// A filter of traffic control that is a BPF program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The id of the program.
    pub program: u32,
    handle: u32,
    info: u32,
}

impl Filter {
    /// Where programs that see packets come in are attached: `TC_H_CLSACT`, `TC_H_MIN_INGRESS`.
    const INGRESS: u32 = 0xffff_fff2;

    /// Its place: lower ones are asked first, and the older of two that are equal.
    #[must_use]
    pub fn priority(self) -> u16 {
        (self.info >> 16) as u16
    }

    pub(super) fn read(message: &Message) -> Option<Self> {
        if message.kind != libc::RTM_NEWTFILTER {
            return None;
        }
        let (header, attributes) = message.payload.split_at_checked(TRAFFIC_HEADER)?;
        let (mut bpf, mut program) = (false, None);
        each(attributes, |kind, value| match kind {
            libc::TCA_KIND => bpf = text(value).as_deref() == Some("bpf"),
            libc::TCA_OPTIONS => each(value, |kind, value| {
                if kind == TCA_BPF_ID {
                    program = number(value);
                }
            }),
            _ => {}
        });
        let program = program.filter(|_| bpf)?;
        Some(Self { program, handle: number(&header[8..12])?, info: number(&header[16..20])? })
    }

    /// The question for all of an interface.
    pub(super) fn all(index: u32) -> Message {
        Self { program: 0, handle: 0, info: 0 }.message(libc::RTM_GETTFILTER, index)
    }

    /// The request to take it out.
    pub(super) fn removal(self, index: u32) -> Message {
        self.message(libc::RTM_DELTFILTER, index)
    }

    fn message(self, kind: u16, index: u32) -> Message {
        let fields = [0, index, self.handle, Self::INGRESS, self.info];
        Message { kind, payload: fields.iter().flat_map(|field: &u32| field.to_ne_bytes()).collect() }
    }
}

/// Goes through attributes; ends early where they make no sense.
fn each(attributes: &[u8], mut found: impl FnMut(u16, &[u8])) {
    // The iterator makes nothing of what is shorter than a header.
    if attributes.len() < NLA_HEADER_SIZE {
        return;
    }
    for attribute in NlasIterator::new(attributes) {
        let Ok(attribute) = attribute else { return };
        let attribute: NlaBuffer<&[u8]> = attribute;
        found(attribute.kind(), attribute.value());
    }
}

fn number(value: &[u8]) -> Option<u32> {
    parse_u32(value).ok()
}

fn text(value: &[u8]) -> Option<String> {
    let text = CStr::from_bytes_until_nul(value).ok()?;
    Some(text.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn route(length: u8, kind: u8, attributes: &[u8]) -> Message {
        let mut payload = vec![0; ROUTE_HEADER];
        (payload[1], payload[7]) = (length, kind);
        payload.extend(attributes);
        Message { kind: libc::RTM_NEWROUTE, payload }
    }

    #[test]
    fn a_link_is_read_whatever_else_is_said_of_it() {
        let mut payload = vec![0; LINK_HEADER];
        payload[2] = libc::ARPHRD_ETHER as u8;
        payload[4] = 7;
        payload[8] = libc::IFF_UP as u8;
        payload.extend(attribute(99, &[1, 2, 3]));
        payload.extend(attribute(libc::IFLA_IFNAME, b"veth1\0"));
        payload.extend(attribute(libc::IFLA_LINKINFO, &attribute(libc::IFLA_INFO_KIND, b"veth\0")));
        let xdp = [attribute(2, &[1]), attribute(4, &9u32.to_ne_bytes()), attribute(5, &9u32.to_ne_bytes())];
        payload.extend(attribute(IFLA_XDP, &xdp.concat()));
        // Cut off in the middle: what came before still holds.
        payload.extend([200, 0, 4, 0]);
        let link = Link::read(&Message { kind: libc::RTM_NEWLINK, payload }).unwrap();
        assert_eq!((link.index, &*link.name, link.kind.as_deref()), (7, "veth1", Some("veth")));
        assert_eq!((link.up, link.ethernet, link.loopback), (true, true, false));
        assert_eq!(link.xdp, [9]);
        for payload in [vec![], vec![0; 15], vec![0; 16]] {
            assert_eq!(Link::read(&Message { kind: libc::RTM_NEWLINK, payload }), None);
        }
    }

    fn read(message: &Message) -> (Vec<u32>, Vec<String>) {
        let mut found = DefaultRoutes::default();
        found.read(message);
        (found.interfaces.into_iter().collect(), found.gateways.iter().map(IpAddr::to_string).collect())
    }

    #[test]
    fn a_default_route_names_every_interface_and_gateway_that_it_leads_to() {
        let nowhere = (vec![], vec![]);
        let oif = attribute(libc::RTA_OIF, &3u32.to_ne_bytes());
        assert_eq!(read(&route(0, libc::RTN_UNICAST, &oif)), (vec![3], vec![]));
        let via = [oif.clone(), attribute(libc::RTA_GATEWAY, &[10, 0, 0, 1])].concat();
        assert_eq!(read(&route(0, libc::RTN_UNICAST, &via)), (vec![3], vec!["10.0.0.1".into()]));
        assert_eq!(read(&route(24, libc::RTN_UNICAST, &via)), nowhere);
        assert_eq!(read(&route(0, libc::RTN_UNREACHABLE, &via)), nowhere);
        let v6: std::net::Ipv6Addr = "fe80::1".parse().unwrap();
        let via = attribute(libc::RTA_GATEWAY, &v6.octets());
        assert_eq!(read(&route(0, libc::RTN_UNICAST, &via)).1, ["fe80::1"]);
        // An IPv4 route by an IPv6 gateway.
        let via = attribute(RTA_VIA, &[&(libc::AF_INET6 as u16).to_ne_bytes()[..], &v6.octets()].concat());
        assert_eq!(read(&route(0, libc::RTN_UNICAST, &via)).1, ["fe80::1"]);
        let hop = |index: u32| {
            let mut hop = vec![16, 0, 0, 0];
            hop.extend(index.to_ne_bytes());
            hop.extend(attribute(libc::RTA_GATEWAY, &[10, 0, 0, index as u8]));
            hop
        };
        let several = attribute(libc::RTA_MULTIPATH, &[hop(4), hop(5)].concat());
        let gateways = vec!["10.0.0.4".into(), "10.0.0.5".into()];
        assert_eq!(read(&route(0, libc::RTN_UNICAST, &several)), (vec![4, 5], gateways));
        // A length of nothing must not go on for ever, and what makes no sense names nobody.
        let broken = attribute(libc::RTA_MULTIPATH, &[0; 20]);
        assert_eq!(read(&route(0, libc::RTN_UNICAST, &broken)), (vec![0], vec![]));
        for value in [&[][..], &[1, 2, 3], &[0; 4], &[0; 16], &[9; 17]] {
            for kind in [libc::RTA_GATEWAY, RTA_VIA] {
                assert_eq!(read(&route(0, libc::RTN_UNICAST, &attribute(kind, value))), nowhere);
            }
        }
        assert!(is_default_route(&Message { kind: libc::RTM_DELROUTE, payload: vec![0; ROUTE_HEADER] }));
        assert!(!is_default_route(&Message { kind: libc::RTM_DELROUTE, payload: vec![0; 3] }));
    }
}
