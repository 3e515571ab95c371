//! What captured frames begin with, and how they come to begin with an Ethernet header.

use std::borrow::Cow;

use super::capture::Record;

/// A link type (<https://www.tcpdump.org/linktypes.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkType(pub u16);

/// An Ethernet frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What was kept of it, from the Ethernet header on.
    pub data: &'a [u8],
    /// How long it was, with that header.
    pub length: usize,
    /// Whether the host sent it.
    pub outgoing: bool,
}

const ETHERNET: u16 = 1;
const RAW: u16 = 101;
const SLL: u16 = 113;
const IPV4: u16 = 228;
const IPV6: u16 = 229;
const SLL2: u16 = 276;
/// Bytes of an Ethernet header.
const HEADER: usize = 14;
/// The kind of packet that the host sent, in both versions of Linux's own header (`PACKET_OUTGOING`).
const OUTGOING: u8 = 4;

impl LinkType {
    /// Why frames of this type can't be sent through the program; `None` if they can.
    #[must_use]
    pub fn refusal(self) -> Option<String> {
        match self.0 {
            ETHERNET | RAW | 12 | 14 | SLL | SLL2 | IPV4 | IPV6 => None,
            _ => Some(format!(
                "its packets begin with {}, not with Ethernet, IP or Linux' own header (\"cooked\"); capture on the \
                 interface that a rate limit is for, or on `any`",
                self.name()
            )),
        }
    }

    /// What it is called.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        match self.0 {
            ETHERNET => "Ethernet",
            RAW | 12 | 14 => "raw IP",
            SLL => "Linux cooked v1",
            SLL2 => "Linux cooked v2",
            IPV4 => "raw IPv4",
            IPV6 => "raw IPv6",
            0 => "BSD loopback (NULL)",
            108 => "OpenBSD loopback (LOOP)",
            9 => "PPP",
            50 => "PPP in HDLC framing",
            51 => "PPP over Ethernet",
            105 => "802.11",
            119 => "802.11 with a Prism header",
            127 => "802.11 with a radiotap header",
            163 => "802.11 with an AVS header",
            192 => "a PPI header",
            187 | 201 => "Bluetooth HCI",
            189 | 220 => "Linux USB",
            249 => "USBPcap",
            195 | 230 => "802.15.4",
            227 => "SocketCAN",
            239 => "an NFLOG header",
            252 => "Wireshark's exported PDUs",
            253 => "netlink",
            other => return format!("link type {other}").into(),
        }
        .into()
    }
}

/// A record as an Ethernet frame; `None` if its link type is refused or it has no whole header. `buffer` is room for a header.
pub fn ethernet<'a>(record: &Record<'a>, buffer: &'a mut Vec<u8>) -> Option<Frame<'a>> {
    let data = record.data;
    let be16 = |at: usize| Some(u16::from_be_bytes([*data.get(at)?, *data.get(at + 1)?]));
    let (header, ethertype, outgoing) = match record.link.0 {
        ETHERNET => {
            return (data.len() >= HEADER).then_some(Frame {
                data,
                length: record.length,
                outgoing: record.outgoing,
            });
        }
        IPV4 => (0, 0x0800, false),
        IPV6 => (0, 0x86dd, false),
        RAW | 12 | 14 => (0, if data.first()? >> 4 == 6 { 0x86dd } else { 0x0800 }, false),
        SLL => (16, be16(14)?, be16(0)? == u16::from(OUTGOING)),
        SLL2 => (20, be16(0)?, *data.get(10)? == OUTGOING),
        _ => return None,
    };
    buffer.clear();
    buffer.extend([0; HEADER - 2]);
    buffer.extend(ethertype.to_be_bytes());
    buffer.extend(data.get(header..)?);
    let length = record.length - header + HEADER;
    Some(Frame { data: buffer, length, outgoing: record.outgoing || outgoing })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(link: u16, data: &[u8]) -> Record<'_> {
        let link = LinkType(link);
        Record { time_ns: None, data, length: data.len() + 100, link, interface: None, outgoing: false }
    }

    #[test]
    fn an_ethernet_header_takes_the_place_of_others() {
        let ip = [0x45, 0, 0, 40];
        let sll = [&[0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 0x08, 0x00][..], &ip].concat();
        let sll2 = [&[0x86, 0xdd, 0, 0, 0, 0, 0, 2, 0, 1, 4, 6, 2, 0, 0, 0, 0, 1, 0, 0][..], &ip].concat();
        for (link, data, ethertype, outgoing) in [
            (RAW, &ip[..], [0x08, 0], false),
            (RAW, &[0x60, 0, 0, 0][..], [0x86, 0xdd], false),
            (IPV6, &ip[..], [0x86, 0xdd], false),
            (SLL, &sll[..], [0x08, 0], true),
            (SLL2, &sll2[..], [0x86, 0xdd], true),
        ] {
            let mut buffer = Vec::new();
            let frame = ethernet(&record(link, data), &mut buffer).unwrap();
            assert_eq!(frame.data[12..14], ethertype, "{link}");
            assert_eq!(frame.data[14..], data[data.len() - 4..], "{link}");
            assert_eq!((frame.length, frame.outgoing), (14 + 4 + 100, outgoing), "{link}");
        }
    }

    #[test]
    fn a_header_that_is_cut_is_no_frame() {
        for link in [ETHERNET, RAW, SLL, SLL2] {
            assert_eq!(ethernet(&record(link, &[]), &mut Vec::new()), None, "{link}");
        }
    }

    #[test]
    fn other_link_types_are_refused_by_name() {
        assert!(LinkType(127).refusal().unwrap().contains("radiotap"));
        assert!(LinkType(999).refusal().unwrap().contains("link type 999"));
        assert_eq!(LinkType(SLL2).refusal(), None);
    }
}
