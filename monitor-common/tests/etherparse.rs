//! The packet parser beside somebody else's: ports are found where the other finds them, and nowhere else.

use std::collections::BTreeMap;

use etherparse::{IpNumber, Ipv6FragmentHeaderSlice, LaxNetSlice, LaxSlicedPacket, ether_type};
use monitor_common::{
    count::Unparsed,
    packet::{Link, Packet, Parsed, TCP, UDP, parse},
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    strategy::ValueTree as _,
    test_runner::{Config, TestRunner},
};

/// What a frame says of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Says {
    /// Protocol and destination port.
    Port(u8, u16),
    /// It begins a TCP or UDP payload, but has too little of it.
    Short,
    /// It is a later fragment.
    Later,
    /// No TCP or UDP.
    None,
    /// The two follow different rules, so there is nothing to compare.
    Unlike,
}

/// What the other parser says.
fn theirs(frame: &[u8]) -> Says {
    let Ok(sliced) = LaxSlicedPacket::from_ethernet(frame) else { return Says::Short };
    // It follows further kinds of tags, and only three.
    const TAGS: [u16; 2] = [0x8100, 0x88a8];
    let Some(net) = &sliced.net else { return Says::Unlike };
    let mut kinds = frame[12..].chunks(4).map(|tag| u16::from_be_bytes([tag[0], tag[1]]));
    // And it believes the version that the header says, ours the type in front; stacks take what says both alike.
    let version = if matches!(net, LaxNetSlice::Ipv4(_)) { ether_type::IPV4 } else { ether_type::IPV6 };
    if kinds.find(|kind| !TAGS.contains(kind)) != Some(version.0) {
        return Says::Unlike;
    }
    let (payload, later) = match net {
        LaxNetSlice::Ipv4(ip) => {
            // Behind an authentication header in IPv4 it looks on; no stack without IPsec does.
            let behind = ip.header().protocol() == IpNumber::AUTHENTICATION_HEADER;
            // A length that ends in the header it takes for none; stacks drop such a packet.
            let (length, header) = (usize::from(ip.header().total_len()), ip.header().slice().len());
            if behind || length != 0 && length < header {
                return Says::Unlike;
            }
            (ip.payload(), ip.header().fragments_offset().value() != 0)
        }
        LaxNetSlice::Ipv6(ip) => {
            let extensions = ip.extensions().slice();
            (ip.payload(), has_later_fragment(ip.header().next_header(), extensions))
        }
        LaxNetSlice::Arp(_) => return Says::None,
    };
    if later {
        return Says::Later;
    }
    let protocol = payload.ip_number.0;
    let begins = protocol == TCP || protocol == UDP;
    // It wants hop-by-hop options first, and authentication headers to have a length.
    let unfinished = [0, 43, 44, 51, 60].contains(&protocol) && matches!(net, LaxNetSlice::Ipv6(_));
    match payload.payload {
        _ if unfinished => Says::Unlike,
        [_, _, high, low, ..] if begins => Says::Port(protocol, u16::from_be_bytes([*high, *low])),
        _ if begins => Says::Short,
        _ => Says::None,
    }
}

/// Whether one of the extension headers is that of a later fragment.
fn has_later_fragment(first: IpNumber, mut headers: &[u8]) -> bool {
    let mut next = first;
    while headers.len() >= 8 {
        let length = match next {
            IpNumber::IPV6_FRAGMENTATION_HEADER => {
                let fragment = Ipv6FragmentHeaderSlice::from_slice(headers);
                if fragment.is_ok_and(|header| header.fragment_offset().value() != 0) {
                    return true;
                }
                8
            }
            IpNumber::AUTHENTICATION_HEADER => (usize::from(headers[1]) + 2) * 4,
            _ => (usize::from(headers[1]) + 1) * 8,
        };
        next = IpNumber(headers[0]);
        headers = headers.get(length..).unwrap_or_default();
    }
    false
}

/// What ours says.
fn ours(frame: &[u8]) -> Says {
    let mut packet = Packet::default();
    match parse(&frame, Link::Ethernet, &mut packet) {
        Parsed::Ip if packet.protocol == TCP || packet.protocol == UDP => {
            Says::Port(packet.protocol, packet.port)
        }
        Parsed::Ip | Parsed::Other => Says::None,
        Parsed::Unparsed(Unparsed::Fragment) => Says::Later,
        Parsed::Unparsed(_) => Says::Short,
    }
}

/// Whether both say the same, as far as they can.
fn agree(theirs: Says, ours: Says) -> bool {
    match (theirs, ours) {
        (Says::Unlike, _) => true,
        (theirs, ours) if theirs == ours => true,
        // What is cut off is not known to either; only ports must not come of it.
        (Says::None | Says::Short | Says::Later, Says::None | Says::Short | Says::Later) => true,
        // TCP of which not even the flags are there has a port, and is none that a stack would take.
        (Says::Port(TCP, _), Says::Short) => true,
        _ => false,
    }
}

/// An extension header: its number and its bytes but for the first, which says what follows.
fn extension() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let options = (select(vec![0u8, 43, 60]), 0u8..3).prop_map(|(kind, more)| {
        let mut rest = vec![more];
        rest.resize(7 + usize::from(more) * 8, 0);
        (kind, rest)
    });
    let fragment = (select(vec![0u16, 0, 0, 1, 8, 0xfff8]), any::<[u8; 4]>()).prop_map(|(field, id)| {
        let [high, low] = field.to_be_bytes();
        (44, [&[0, high, low][..], &id].concat())
    });
    let authentication = (1u8..5).prop_map(|words| {
        let mut rest = vec![words];
        rest.resize(usize::from(words) * 4 + 7, 7);
        (51, rest)
    });
    prop_oneof![4 => options, 2 => fragment, 1 => authentication]
}

fn transport() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let protocol = select(vec![TCP, TCP, UDP, UDP, 1, 58, 132]);
    (protocol, any::<u16>(), any::<u8>(), 0usize..40).prop_map(|(protocol, port, flags, payload)| {
        let mut bytes = vec![4, 210];
        bytes.extend(port.to_be_bytes());
        bytes.resize(if protocol == TCP { 20 } else { 8 }, 0);
        if protocol == TCP {
            (bytes[12], bytes[13]) = (5 << 4, flags);
        } else {
            bytes[5] = 8 + payload as u8;
        }
        bytes.resize(bytes.len() + payload, 0xee);
        (protocol, bytes)
    })
}

fn ipv4() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let fragment = select(vec![0u16, 0x4000, 0x2000, 1, 0x2001, 0x1fff]);
    (transport(), 0usize..11, fragment).prop_map(|((protocol, payload), options, fragment)| {
        let mut header = vec![0; 20 + options * 4];
        header[0] = 0x45 + options as u8;
        header[6..8].copy_from_slice(&fragment.to_be_bytes());
        (header[8], header[9]) = (64, protocol);
        header[12..20].copy_from_slice(&[192, 0, 2, 1, 192, 0, 2, 2]);
        header.extend(payload);
        let length = header.len() as u16;
        header[2..4].copy_from_slice(&length.to_be_bytes());
        (0x0800, header)
    })
}

fn ipv6() -> impl Strategy<Value = (u16, Vec<u8>)> {
    (transport(), vec(extension(), 0..6)).prop_map(|((protocol, payload), extensions)| {
        let (mut next, mut bytes) = (protocol, payload);
        for (kind, rest) in extensions.into_iter().rev() {
            bytes = [vec![next], rest, bytes].concat();
            next = kind;
        }
        let mut header = vec![0x60, 0, 0, 0];
        header.extend((bytes.len() as u16).to_be_bytes());
        header.extend([next, 64]);
        header.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1].repeat(2));
        (0x86dd, [header, bytes].concat())
    })
}

/// A frame as somebody honest or not so honest builds it, then perhaps damaged, cut, or filled up.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let tags = vec(select(vec![0x8100u16, 0x88a8]), 0..4);
    let network = prop_oneof![ipv4(), ipv6()];
    let changes = prop_oneof![3 => Just(Vec::new()), 2 => vec((0usize..160, any::<u8>()), 1..4)];
    let end = prop_oneof![4 => Just(None), 1 => (0usize..140).prop_map(Some)];
    (tags, network, changes, end).prop_map(|(tags, (ethertype, packet), changes, end)| {
        let mut frame = vec![2; 12];
        for tag in tags {
            frame.extend(tag.to_be_bytes());
            frame.extend([0, 0]);
        }
        frame.extend(ethertype.to_be_bytes());
        frame.extend(packet);
        for (at, by) in changes {
            let at = at % frame.len();
            frame[at] = by;
        }
        frame.resize(end.unwrap_or(frame.len()), 0xaa);
        frame
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn ports_are_found_where_another_parser_finds_them_and_nowhere_else(frame in frame()) {
        let (theirs, ours) = (theirs(&frame), ours(&frame));
        prop_assert!(agree(theirs, ours), "theirs {theirs:?}, ours {ours:?} of {frame:02x?}");
    }

    #[test]
    fn nothing_is_made_of_noise_that_another_parser_does_not_see(
        ethertype in select(vec![0x0800u16, 0x86dd, 0x8100, 0x88a8]),
        noise in vec(any::<u8>(), 0..120),
    ) {
        let frame = [&[2; 12][..], &ethertype.to_be_bytes(), &noise].concat();
        let (theirs, ours) = (theirs(&frame), ours(&frame));
        prop_assert!(agree(theirs, ours), "theirs {theirs:?}, ours {ours:?} of {frame:02x?}");
    }
}

/// As above, of mutations of frames that reach far; `cargo xtask fuzz` does it for longer.
#[test]
fn fuzzed_packets() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/packets");
    let words: &[&[u8]] = &[
        &[8, 0],
        &[0x86, 0xdd],
        &[0x81, 0],
        &[0x88, 0xa8],
        &[6, 0],
        &[17, 0],
        &[44, 0],
        &[51, 4],
        &[0x45, 0],
    ];
    fuzz::run(&corpus, words, |frame| {
        // What is shorter than its own header is nothing to either.
        if frame.len() >= 14 {
            let (theirs, ours) = (theirs(frame), ours(frame));
            assert!(agree(theirs, ours), "theirs {theirs:?}, ours {ours:?} of {frame:02x?}");
        }
    });
}

/// A comparison with nothing to compare would hold, too.
#[test]
fn there_is_something_to_compare() {
    let mut runner = TestRunner::new(Config::default());
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..4000 {
        let frame = frame().new_tree(&mut runner).expect("a frame").current();
        let name = match (theirs(&frame), ours(&frame)) {
            (Says::Port(TCP, _), Says::Port(..)) => "tcp",
            (Says::Port(..), Says::Port(..)) => "udp",
            (Says::Later, Says::Later) => "later",
            (Says::Short, Says::Short) => "short",
            (Says::None, Says::None) => "none",
            _ => "other",
        };
        *seen.entry(name).or_default() += 1;
    }
    println!("{seen:?}");
    for name in ["tcp", "udp", "later", "short", "none"] {
        assert!(seen.get(name).is_some_and(|count| *count >= 40), "{name} of {seen:?}");
    }
}
